"""The part of a terminal that moves: what is waited for, and what is seen meanwhile. In a pipe it is not there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

PATIENT = 2.0
"""Seconds after which a wait also says how long it has lasted."""


class Waiting:
    """What is waited for, with a spinner."""

    def __init__(self, what: str) -> None:
        self.what, self._began = what, time.monotonic()
        self._spinner = Spinner("dots", style="cyan")

    @property
    def seconds(self) -> float:
        """Return how long it has lasted."""
        return time.monotonic() - self._began

    def __rich__(self) -> Spinner:
        """Say how long it has lasted, too, where that is long."""
        lasted = f" {self.seconds:.0f} s" if self.seconds >= PATIENT else ""
        self._spinner.update(text=Text(f"{self.what}…{lasted}", style="dim"))
        return self._spinner


class Window:
    """One moving region at the end of a console; nothing may be printed while it is open."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def show(self, *parts: RenderableType) -> None:
        """Show parts below each other, in place of what was shown."""
        if not self._console.is_terminal:
            return
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=10)
            self._live.start()
        self._live.update(Group(*parts), refresh=True)

    def close(self, *, keep: bool = False) -> None:
        """End what moves; `keep` leaves the last picture where it is."""
        if self._live:
            if not keep:  # its last picture is drawn whole, and what scrolls out above can't be taken back
                self._live.update(Text(""))
            self._live.transient = not keep
            self._live.stop()
            self._live = None


@contextlib.contextmanager
def waiting(console: Console, what: str) -> Iterator[Callable[[str], None]]:
    """Show what is waited for until the end of the block, which may say what else; in a pipe as lines."""
    window = Window(console)

    def say(what: str) -> None:
        if not console.is_terminal:
            console.print(Text(f"{what}…"))
        window.show(Waiting(what))

    say(what)
    try:
        yield say
    finally:
        window.close()


class Stages:
    """Work that takes long, told stage by stage: in a terminal with how long each takes, in a pipe as lines."""

    def __init__(self, console: Console) -> None:
        self._console, self._window = console, Window(console)
        self._waiting: Waiting | None = None

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def begin(self, what: str) -> None:
        """End the stage under way and begin another."""
        self._end()
        if self._console.is_terminal:
            self._waiting = Waiting(what)
            self._window.show(self._waiting)
        else:
            self._console.print(Text(f"{what} …"), soft_wrap=True)

    def note(self, line: str) -> None:
        """Say something that the stage under way has brought."""
        self._window.close()
        self._console.print(Text(line), soft_wrap=True)
        if self._waiting:
            self._window.show(self._waiting)

    def _end(self) -> None:
        self._window.close()
        if self._waiting:
            done = f"{self._waiting.what}: {self._waiting.seconds:.0f} s"
            self._console.print(Text(done, style="dim"), soft_wrap=True)
        self._waiting = None
