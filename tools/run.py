"""One piece of work: what was asked, what happened so far, how it ended; followed from anywhere. Knows no queue."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable

from gedanken.agent.events import Event
from gedanken.tools.answers import Report, Result, State, tell
from gedanken.tools.refusals import Refused
from gedanken.tools.requests import Request

LONG = 3600.0
"""Seconds of patience of those who follow a run to its end."""


class Run:
    """One piece of work: what was asked, what happened so far, how it ended."""

    def __init__(self, request: Request, limit: float) -> None:
        self.id, self.request = secrets.token_hex(8), request
        self.state: State = "queued"
        self.result: Result | None = None
        self.error: str | None = None
        self.refused: Refused | None = None
        self._limit, self._events = limit, list[Event]()
        self._began, self._ended = time.monotonic(), 0.0
        self._stop: str | None = None
        self._lock, self._bells = threading.Lock(), set[Callable[[], object]]()

    # ---- the thread that works ---------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The time limit counts from now on."""
        self.state, self._began = "running", time.monotonic()

    def hear(self, event: Event) -> None:
        """Note what happened and tell those who follow."""
        with self._lock:
            self._events.append(event)
            self._ring()

    def end(self, state: State, result: Result | None = None, error: str | None = None) -> None:
        """Note how it ended and tell those who follow."""
        with self._lock:
            self.result, self.error, self.state, self._ended = result, error, state, time.monotonic()
            self._ring()

    @property
    def stopping(self) -> str | None:
        """Why the run should end at the next opportunity, or None."""
        if self._stop is None and self.state == "running" and time.monotonic() - self._began > self._limit:
            self._stop = f"stopped after {self._limit:.0f} s, the limit of a run; ask for less, or raise --limit"
        return self._stop

    def _ring(self) -> None:
        for bell in self._bells:
            bell()

    # ---- everybody else ----------------------------------------------------------------------------------------------

    def stop(self, why: str) -> None:
        """Ask the run to end at the next opportunity."""
        self._stop = self._stop or why

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in ("queued", "running")

    def events(self, since: int = 0) -> list[Event]:
        """Return what happened, without the first `since` events."""
        with self._lock:
            return self._events[since:]

    async def changed(self, seen: int, seconds: float) -> None:
        """Wait until more than `seen` events have happened or the run is over, but no longer than `seconds`."""
        loop, bell = asyncio.get_running_loop(), asyncio.Event()

        def ring() -> None:
            loop.call_soon_threadsafe(bell.set)

        with self._lock:
            if len(self._events) > seen or self.over:
                return
            self._bells.add(ring)
        try:
            async with asyncio.timeout(seconds):
                await bell.wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._bells.discard(ring)

    async def follow(self, since: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Yield events with their numbers, counted from 1, as they happen, until the run is over."""
        while True:
            over = self.over
            for event in self.events(since):
                since += 1
                yield since, event
            if over:
                return
            await self.changed(since, LONG)

    async def settled(self, seconds: float) -> None:
        """Wait until the run is over, but no longer than `seconds`."""
        until = time.monotonic() + seconds
        while not self.over and (left := until - time.monotonic()) > 0:
            await self.changed(len(self.events()), left)

    def report(self, ahead: int) -> Report:
        """Return how it stands, with `ahead` runs to come first."""
        with self._lock:
            news = tell(self._events[-1]) if self._events else self.state
            until = self._ended if self.over else time.monotonic()
            return Report(
                run_id=self.id,
                work=self.request.work,
                goal=getattr(self.request, "goal", None),
                state=self.state,
                ahead=ahead,
                news=self.error or news,
                events=len(self._events),
                seconds=round(until - self._began, 3),
                result=self.result,
                error=self.error,
            )
