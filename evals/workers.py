"""Several workers measure one run: each takes a piece at a time, a task and an arm. Knows no particular suite.

One that the system ends, perhaps for want of memory, is replaced: what it had not measured is done by another one by
one, and a sample that ends that one, too, is recorded as an error.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from gedanken.evals import careful
from gedanken.evals.errors import EvalError
from gedanken.evals.processes import Processes
from gedanken.evals.run_folder import EpochKey, Key, key_of
from gedanken.evals.suite import Options, Parts, Suite, keys
from gedanken.evals.work import Crew, Gone, Order, Piece, Worker

ENDED = "a worker was ended from outside, perhaps for want of memory"


@dataclass
class _Job:
    """A worker, the piece it has, whether samples came of it, and which it measures alone."""

    worker: Worker
    piece: Piece
    began: bool = False
    at: Key | None = None


def measure(
    suite: Suite,
    make_suite: Callable[[str], Suite],
    make_parts: Callable[[], Parts],
    options: Options,
    done: AbstractSet[EpochKey],
    workers: int,
    *,
    fail_on_error: bool = False,
    make_crew: Callable[[Order, int], Crew] = Processes,
) -> Iterator[dict[str, Any]]:
    """Yield the samples of a suite as they come; each worker loads its own parts, and the cores are shared out.

    `make_suite` makes the suite for one task. Raises what a worker raises, and EvalError when the system ends one
    before it has begun.
    """
    waiting = deque(_pieces(suite, options, done))
    crew = make_crew(Order(make_suite, make_parts, options, fail_on_error), workers)
    busy: list[_Job] = []
    idle = [crew.begin() for _ in range(min(workers, len(waiting)))]
    try:
        while waiting or busy:
            while idle and waiting:
                busy.append(job := _Job(idle.pop(), waiting.popleft()))
                job.worker.take(job.piece)
            for worker in crew.speaking([job.worker for job in busy]):
                job = next(job for job in busy if job.worker is worker)
                try:
                    kind, value = worker.hear()
                except Gone as error:
                    busy.remove(job)
                    worker.end()
                    yield from _mourned(make_suite, job, options, error)
                    waiting.appendleft(job.piece)
                    idle.append(crew.begin())
                    continue
                if kind == "sample":
                    job.began, job.at = True, None
                    job.piece.done.add(key_of(value)[:3])
                    yield value
                elif kind == "at":
                    job.at = value
                elif kind == "raised":
                    raise value
                else:
                    busy.remove(job)
                    idle.append(worker)
    finally:
        for worker in (*(job.worker for job in busy), *idle):
            worker.end()
        crew.close()


def _pieces(suite: Suite, options: Options, done: AbstractSet[EpochKey]) -> Iterator[Piece]:
    """Yield the pieces: the first arm is the costliest and the last tasks are the longest, they begin first."""
    arms = [options.arms] if getattr(suite, "arms_share", False) else [(arm,) for arm in options.arms]
    for epoch in range(1, options.epochs + 1):
        there = [key[:3] for key in done if key[3] == epoch]
        for some in arms:
            for task in reversed(suite.tasks):
                mine = {key for key in there if key[0] == task or key[0] not in suite.tasks}
                yield Piece(task, some, epoch, mine)


def _mourned(make_suite: Callable[[str], Suite], job: _Job, options: Options, error: Gone) -> Iterator[dict[str, Any]]:
    """Say that a worker was ended; yield the sample that ended it, where that is known. The piece is done again."""
    piece = job.piece
    suite = make_suite(piece.task)
    mine = keys(suite, replace(options, arms=piece.arms))
    if job.at is None and (not mine or (piece.alone and not job.began)):
        said = f" ({error})" if str(error) else ""
        raise EvalError(f"{ENDED}, before it measured anything{said}; go on with fewer --workers") from error
    if job.at is not None:
        print(f"{ENDED}, again: {' '.join(map(str, job.at))} is recorded as an error", file=sys.stderr)
        piece.done.add(job.at)
        yield {**careful.failed(suite, job.at, f"{ENDED}, twice"), "epoch": piece.epoch}
        return
    print(f"{ENDED}; what it had not measured of {piece.task} is done again, one by one", file=sys.stderr)
    piece.alone = True
