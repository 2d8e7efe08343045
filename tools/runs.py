"""The queue of runs: what acts is done alone, what only imagines side by side. Knows no agent and no protocol.

They begin in the order in which they were asked for. Who finds no room stands in line for as long as he has patience,
and comes in before those who ask later: else those just served, who ask again when room is made, would take it every
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol, Self

from gedanken.tools.answers import Answer, Dream, Report, Result, State, Worlds
from gedanken.tools.refusals import RETRY_AFTER, Asleep, Full, Refused, UnknownRun, explained, log
from gedanken.tools.requests import Request
from gedanken.tools.run import Run

KEPT = 100
"""Runs that are remembered; the oldest that are over go first."""

WAITING = 32
"""Runs that may wait."""

TOGETHER = 8
"""Runs that only imagine, side by side; what they ask of the models is answered in batches."""


class Workplace(Protocol):
    """An agent in its environment, as the threads that work there use it."""

    def about(self) -> Worlds:
        """Describe the place as it is now."""
        ...

    def check(self, request: Request) -> None:
        """Raise Refused for a request that makes no sense here."""
        ...

    def do(self, request: Request, run: Run) -> Result | None:
        """Work, let `run` hear of it, end when it is `stopping`; raise Refused for what can be helped.

        Called by several threads at once, but for requests that act.
        """
        ...

    def dream(self, id: str) -> Dream:
        """Return a dream as it is now. Raises Refused for one that there is not."""
        ...

    def wake_from(self, id: str) -> Dream:
        """End a dream. Raises Refused for one that there is not."""
        ...


class _Asking:
    """Somebody in line: what is asked, and the run when there was room for it."""

    def __init__(self, request: Request, call: Callable[[], object]) -> None:
        self.request, self.call = request, call
        self.run: Run | None = None


class Runs:
    """All runs of a server: a bounded queue, the thread that opens the workplace and acts there, and its helpers.

    `waiting` bounds the queue; `limit` the seconds of one run, noticed whenever something happens in it; `together` how
    many runs that only imagine go on at once.
    """

    def __init__(
        self,
        opening: Callable[[], AbstractContextManager[Workplace]],
        *,
        waiting: int = WAITING,
        limit: float = 600.0,
        together: int = TOGETHER,
    ) -> None:
        self._opening, self._waiting, self._limit, self._together = opening, waiting, limit, together
        self._change = threading.Condition()
        self._line, self._queue, self._runs = deque[_Asking](), deque[Run](), dict[str, Run]()
        self._now: set[Run] = set()
        self._place: Workplace | None = None
        self._about: Worlds | None = None
        self._failure: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._live, name="gedanken-runs", daemon=True)

    def start(self) -> None:
        """Begin to open the workplace, once."""
        with self._change:
            if self._thread.ident is None and not self._closed:
                self._thread.start()

    def close(self) -> None:
        """End the runs in progress, drop those that wait, and leave the workplace."""
        with self._change:
            self._closed = True
            while self._queue:
                self._queue.popleft().end("stopped", error="the server is shutting down")
            for run in self._now:
                run.stop("the server is shutting down")
            self._changed()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- asking ------------------------------------------------------------------------------------------------------

    def wake(self, seconds: float | None = None) -> Worlds:
        """Wait until the workplace is open, and describe it. Raises Asleep where it isn't."""
        with self._change:
            self._change.wait_for(lambda: self._about or self._failure, seconds)
            if self._failure:
                raise Asleep(self._failure)
            if self._about is None:
                raise Asleep("still waking up (loading the models); ask again in a few seconds")
            return self._about

    def place(self, seconds: float | None = None) -> Workplace:
        """Wait until the workplace is open, and return it. Raises Asleep where it isn't."""
        self.wake(seconds)
        assert self._place
        return self._place

    def submit(self, request: Request) -> Run:
        """Queue a run. Raises Refused for one that makes no sense, Busy when too many wait, and Asleep."""
        with self._change:
            if self._failure or self._closed:
                raise Asleep(self._failure or "the server is shutting down")
            if self._place:
                self._place.check(request)
            if len(self._queue) >= self._waiting:
                raise Full(f"{len(self._queue)} runs are waiting already; ask again in {RETRY_AFTER} s")
            return self._enter(request)

    async def admit(self, request: Request, seconds: float) -> Run:
        """Queue a run, as `submit` does, but stand in line for so many seconds where too many wait."""
        loop, called = asyncio.get_running_loop(), asyncio.Event()
        with self._change:
            try:
                return self.submit(request)
            except Full:
                asking = _Asking(request, lambda: loop.call_soon_threadsafe(called.set))
                self._line.append(asking)
        try:
            async with asyncio.timeout(seconds):
                await called.wait()
        except TimeoutError:
            pass
        except asyncio.CancelledError:  # the caller is gone
            if asking.run:
                self.stop(asking.run)
            raise
        finally:
            with self._change, contextlib.suppress(ValueError):
                self._line.remove(asking)
        return asking.run or self.submit(request)

    def _enter(self, request: Request) -> Run:
        run = Run(request, self._limit)
        self._queue.append(run)
        self._remember(run)
        self._change.notify_all()
        return run

    def _changed(self) -> None:
        """Let those in line in while there is room, or out where there will be none, and wake the threads."""
        gone = self._closed or self._failure
        while self._line and (gone or len(self._queue) < self._waiting):
            asking = self._line.popleft()
            asking.run = None if gone else self._enter(asking.request)
            asking.call()
        self._change.notify_all()

    def find(self, id: str) -> Run:
        """Return a run. Raises UnknownRun."""
        with self._change:
            if id not in self._runs:
                raise UnknownRun(f"no run has the id {id[:40]!r}; the last {KEPT} are remembered until the server ends")
            return self._runs[id]

    def report(self, run: Run) -> Report:
        """Return how a run stands."""
        with self._change:
            ahead = self._queue.index(run) + len(self._now) if run in self._queue else 0
            return run.report(ahead)

    def stop(self, run: Run) -> None:
        """End a run: at once where it waits, at the next opportunity where it is in progress."""
        with self._change:
            if run in self._queue:
                self._queue.remove(run)
                run.end("stopped", error="stopped before it began, as was asked")
                self._changed()
            elif not run.over:
                run.stop("stopped, as was asked")

    def _remember(self, run: Run) -> None:
        self._runs[run.id] = run
        spare = [id for id, known in self._runs.items() if known.over][: max(0, len(self._runs) - KEPT)]
        for id in spare:
            del self._runs[id]

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            with self._opening() as place, ThreadPoolExecutor(self._together, "gedanken-imagine") as helpers:
                with self._change:
                    self._place, self._about = place, place.about()
                    self._change.notify_all()
                while run := self._next():
                    if run.request.acts:
                        self._do(place, run)
                    else:
                        helpers.submit(self._do, place, run)
        except Exception as error:
            with self._change:
                self._place, self._failure = None, explained(error)
                while self._queue:
                    self._queue.popleft().end("failed", error=self._failure)
                self._changed()

    def _next(self) -> Run | None:
        with self._change:
            self._change.wait_for(lambda: self._closed or self._ready())
            if self._closed:
                return None
            run = self._queue.popleft()
            run.begin()
            self._now.add(run)
            self._changed()
            return run

    def _ready(self) -> bool:
        """Whether the first run that waits may begin."""
        if not self._queue:
            return False
        return not self._now if self._queue[0].request.acts else len(self._now) < self._together

    def _do(self, place: Workplace, run: Run) -> None:
        try:
            place.check(run.request)
            result = place.do(run.request, run)
            about = place.about() if run.request.acts else None
        except BaseException as error:  # in a helper nobody else would hear of it, and the run would never be over
            run.refused = error if isinstance(error, Refused) else None
            self._end(run, "failed", error=explained(error), about=_seen(place) if run.request.acts else None)
            return
        cut = result is None or (isinstance(result, Answer) and result.status == "interrupted")
        self._end(run, "stopped" if cut else "done", result, run.stopping if cut else None, about)

    def _end(
        self,
        run: Run,
        state: State,
        result: Result | None = None,
        error: str | None = None,
        about: Worlds | None = None,
    ) -> None:
        with self._change:
            self._about = about or self._about
            self._now.discard(run)
            self._change.notify_all()
        run.end(state, result, error)


def _seen(place: Workplace) -> Worlds | None:
    """Describe the workplace after a run that failed midway; None where that fails, too."""
    try:
        return place.about()
    except Exception as error:
        log.error("the environment can't be described any more", exc_info=error)
        return None
