"""Several processes measure one run: each takes a task and an arm at a time. Knows no particular suite."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from gedanken.evals.errors import EvalError
from gedanken.evals.run_folder import Key
from gedanken.evals.suite import Options, Parts, Suite

WAIT_S = 0.2
"""How long the reader waits for a sample before it looks after the workers."""

_own: dict[str, Any] = {}
"""What a worker keeps from one piece of work to the next."""


def measure(
    suite: Suite,
    make_suite: Callable[[str], Suite],
    make_parts: Callable[[], Parts],
    options: Options,
    done: AbstractSet[Key],
    workers: int,
) -> Iterator[dict[str, Any]]:
    """Yield the samples of a suite as they come; each process loads its own parts, and the cores are shared out.

    `make_suite` makes the suite for one task. Raises what a worker raises, and EvalError when one was killed.
    """
    context = multiprocessing.get_context("spawn")
    samples = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, context, _begin, (make_parts, samples, threads)) as pool:
        # the first arm is the costliest, and the last tasks are the longest: they begin first
        pieces = [(task, arm) for arm in options.arms for task in reversed(suite.tasks)]
        work = [
            pool.submit(_measure, make_suite, task, replace(options, arms=(arm,)), frozenset(done))
            for task, arm in pieces
        ]
        try:
            yield from _read(samples, work)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read(samples: Any, work: list[Future[int]]) -> Iterator[dict[str, Any]]:
    """Yield until every piece is done and as many samples have come as were sent."""
    came = 0
    while True:
        try:
            yield samples.get(timeout=WAIT_S)
            came += 1
        except queue.Empty:
            try:
                sent = [future.result() for future in work if future.done()]
            except BrokenProcessPool as error:
                raise EvalError(
                    "a worker was ended from outside, perhaps for want of memory; go on with fewer --workers"
                ) from error
            if len(sent) == len(work) and came == sum(sent):
                return


def _begin(make_parts: Callable[[], Parts], samples: Any, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    _own.update(parts=make_parts(), samples=samples, parent=os.getppid())


def _measure(make_suite: Callable[[str], Suite], task: str, options: Options, done: frozenset[Key]) -> int:
    sent = 0
    for sample in make_suite(task).measure(_own["parts"], options, done):
        if os.getppid() != _own["parent"]:  # whoever wanted them was killed
            os._exit(1)
        _own["samples"].put(sample)
        sent += 1
    return sent
