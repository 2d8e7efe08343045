"""Ctrl-C while a goal is pursued: no action is cut in two. Knows events and signals only."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from gedanken.agent.events import Event

HELD = frozenset({"goal", "resumed", "step_started", "acted", "outcome"})
"""Events after which something is under way that has to be finished: a note in the journal, an action, the storing."""

LATER = frozenset({"goal", "resumed", "outcome"})
"""Events at which it is too early to end what was interrupted."""


class Interrupts:
    """Ctrl-C ends a run at once while the agent thinks or learns, and after the action under way while it acts.

    So the environment, the session and the journal agree afterwards. A second Ctrl-C ends it at once in any case.
    """

    def __init__(self) -> None:
        self._held, self._asked, self._raised = True, False, False
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def __call__(self, event: Event) -> None:
        """Hear of an event; raise KeyboardInterrupt where it had been asked for and nothing is under way."""
        self._held = event.kind in HELD
        if self._asked and event.kind not in LATER and not self._raised:
            self._raise()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._held and not self._asked:
            self._asked = True
        else:
            self._raise()

    def _raise(self) -> None:
        self._asked, self._raised = False, True
        raise KeyboardInterrupt


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Do all of the block before Ctrl-C counts, as looking around in a new world; a second one counts at once."""
    with Interrupts() as interrupts:
        yield
    if interrupts._asked:
        raise KeyboardInterrupt
