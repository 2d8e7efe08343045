"""Calls into somebody else's environment: with a time limit, and with every failure as one WorldError that names it."""

from __future__ import annotations

import contextlib
import queue
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gedanken.worlds.protocol import WorldError

Result = TypeVar("Result")

_INSTALLED = (*(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")), Path(__file__).parent)
"""Where nothing is a person's own: Python's library, what is installed in it, and these modules."""


class Guard:
    """A thread of its own in which an environment is called, one call after the other.

    A call that takes longer than `limit` seconds is given up, and so is the environment: nothing can stop it, so its
    thread is left to itself and does not keep the program alive; `stuck` names the call. What it prints goes to stderr:
    stdout is for answers.
    """

    def __init__(self, name: str, limit: float) -> None:
        self.name, self.limit = name, limit
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self.stuck: str | None = None
        threading.Thread(target=_serve, args=(self._calls, self._answers), daemon=True, name=name).start()

    def __call__(self, what: str, function: Callable[[], Result]) -> Result:
        """Call a function. Raises WorldError when it raises, or does not return in time."""
        if self.stuck:
            raise WorldError(f"{self.name} did not come back from {self.stuck}; make it anew")
        try:
            with contextlib.redirect_stdout(sys.stderr):
                self._calls.put(function)
                fine, answer = self._answers.get(timeout=self.limit)
        except queue.Empty:
            self.stuck = what
            raise WorldError(f"{self.name}: {what} took more than {self.limit:g} s; it may hang") from None
        if not fine:
            where = _line(answer)
            raise WorldError(f"{self.name}: {what} failed with {type(answer).__name__}: {answer}{where}") from answer
        result: Result = answer
        return result

    def close(self) -> None:
        """Let the thread end."""
        self._calls.put(None)


def _line(error: BaseException) -> str:
    """Name the last line of somebody's own file that led to an error; nothing where only installed code did."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and not any(folder in path.parents for folder in _INSTALLED):
            return f" ({path.name}, line {frame.lineno})"
    return ""


def _serve(calls: queue.SimpleQueue[Callable[[], Any] | None], answers: queue.SimpleQueue[tuple[bool, Any]]) -> None:
    while (call := calls.get()) is not None:
        try:
            answer = True, call()
        except BaseException as error:  # who calls sys.exit() ends no more than this call
            answer = False, error
        answers.put(answer)
