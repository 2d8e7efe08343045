"""How far a run is and how long it still takes, on stderr. Knows nothing of what is measured."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, TextIO

EVERY_S = 20.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """A bar where `stream` is a terminal, else a line at the beginning, at the end and now and then; a context."""

    def __init__(self, title: str, total: int, done: int = 0, stream: TextIO | None = None) -> None:
        self.title, self.total, self.done, self.first = title, total, done, done
        self.stream = stream or sys.stderr
        self.began = self.told = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Progress:
        if not self.stream.isatty():
            already = f", {self.done} of them there already" if self.done else ""
            self._say(f"{self.total} samples{already}")
            return self
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        left = (TextColumn("left"), TimeRemainingColumn(compact=True))
        self.bar = Bar(*columns, *left, console=Console(file=self.stream), transient=True)
        self.bar.start()
        self.task = self.bar.add_task(self.title, total=self.total, completed=self.done)
        return self

    def advance(self, what: str) -> None:
        """Count one sample."""
        self.done += 1
        if self.bar is not None:
            self.bar.update(self.task, advance=1, description=what)
            return
        now = time.monotonic()
        if now - self.told >= EVERY_S or self.done == self.total:
            self.told = now
            left = (self.total - self.done) * (now - self.began) / (self.done - self.first)
            self._say(f"{self.done} of {self.total}, {duration(left)} left, {what}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _say(self, text: str) -> None:
        print(f"{self.title}: {text}", file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Write a time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
