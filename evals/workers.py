"""Several processes measure one run: each takes a piece at a time, a task and an arm. Knows no particular suite.

One that the system ends, perhaps for want of memory, is replaced: what it had not measured is done by another one by
one, and a sample that ends that one, too, is recorded as an error.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from gedanken.evals import careful
from gedanken.evals.errors import EvalError
from gedanken.evals.run_folder import EpochKey, Key, key_of
from gedanken.evals.suite import Options, Parts, Suite, keys

ENDED = "a worker was ended from outside, perhaps for want of memory"


@dataclass
class _Piece:
    """A task, some arms and an epoch; `alone` says that its samples are measured one by one."""

    task: str
    arms: tuple[str, ...]
    epoch: int
    done: set[Key]
    alone: bool = False


@dataclass
class _Worker:
    """A process, this end of its pipe, the piece it has, whether samples came of it, and which it measures alone."""

    process: BaseProcess
    pipe: Connection
    piece: _Piece | None = None
    began: bool = False
    at: Key | None = None


@dataclass(frozen=True)
class _Order:
    """What a worker needs to begin."""

    make_suite: Callable[[str], Suite]
    make_parts: Callable[[], Parts]
    options: Options
    fail_on_error: bool
    threads: int = field(default=1)


def measure(
    suite: Suite,
    make_suite: Callable[[str], Suite],
    make_parts: Callable[[], Parts],
    options: Options,
    done: AbstractSet[EpochKey],
    workers: int,
    *,
    fail_on_error: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the samples of a suite as they come; each process loads its own parts, and the cores are shared out.

    `make_suite` makes the suite for one task. Raises what a worker raises, and EvalError when the system ends one
    before it has begun.
    """
    waiting = deque(_pieces(suite, options, done))
    order = _Order(make_suite, make_parts, options, fail_on_error, max(1, (os.cpu_count() or 1) // workers))
    busy: list[_Worker] = []
    idle = [_begin(order) for _ in range(min(workers, len(waiting)))]
    try:
        while waiting or busy:
            while idle and waiting:
                worker = idle.pop()
                worker.piece = waiting.popleft()
                with contextlib.suppress(OSError):  # it has been ended: seen below
                    worker.pipe.send(worker.piece)
                busy.append(worker)
            for pipe in wait([worker.pipe for worker in busy]):
                worker = next(worker for worker in busy if worker.pipe is pipe)
                piece = worker.piece
                assert piece is not None
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError) as error:
                    busy.remove(worker)
                    yield from _mourned(make_suite, worker, piece, options, error)
                    waiting.appendleft(piece)
                    idle.append(_begin(order))
                    continue
                if kind == "sample":
                    worker.began, worker.at = True, None
                    piece.done.add(key_of(value)[:3])
                    yield value
                elif kind == "at":
                    worker.at = value
                elif kind == "raised":
                    raise value
                else:
                    busy.remove(worker)
                    idle.append(_Worker(worker.process, worker.pipe))
    finally:
        for worker in (*busy, *idle):
            worker.process.terminate()
            worker.pipe.close()
        for worker in (*busy, *idle):
            worker.process.join()


def _pieces(suite: Suite, options: Options, done: AbstractSet[EpochKey]) -> Iterator[_Piece]:
    """Yield the pieces: the first arm is the costliest and the last tasks are the longest, they begin first."""
    arms = [options.arms] if getattr(suite, "arms_share", False) else [(arm,) for arm in options.arms]
    for epoch in range(1, options.epochs + 1):
        there = [key[:3] for key in done if key[3] == epoch]
        for some in arms:
            for task in reversed(suite.tasks):
                mine = {key for key in there if key[0] == task or key[0] not in suite.tasks}
                yield _Piece(task, some, epoch, mine)


def _mourned(
    make_suite: Callable[[str], Suite], worker: _Worker, piece: _Piece, options: Options, error: Exception
) -> Iterator[dict[str, Any]]:
    """Say that a worker was ended; yield the sample that ended it, where that is known. The piece is done again."""
    worker.process.join()
    worker.pipe.close()
    suite = make_suite(piece.task)
    mine = keys(suite, replace(options, arms=piece.arms))
    if worker.at is None and (not mine or (piece.alone and not worker.began)):
        raise EvalError(f"{ENDED}, before it measured anything; go on with fewer --workers") from error
    if worker.at is not None:
        print(f"{ENDED}, again: {' '.join(map(str, worker.at))} is recorded as an error", file=sys.stderr)
        piece.done.add(worker.at)
        yield {**careful.failed(suite, worker.at, f"{ENDED}, twice"), "epoch": piece.epoch}
        return
    print(f"{ENDED}; what it had not measured of {piece.task} is done again, one by one", file=sys.stderr)
    piece.alone = True


# ---- in the worker ---------------------------------------------------------------------------------------------------


def _begin(order: _Order) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(order, theirs, os.getpid()), daemon=True)
    process.start()
    theirs.close()  # so that this end hears when the other is gone
    return _Worker(process, ours)


def _work(order: _Order, pipe: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever wanted the samples ends this
    import torch

    torch.set_num_threads(order.threads)
    with contextlib.suppress(_Left):
        try:
            parts = order.make_parts()
            while True:
                for message in _messages(order, parts, _heard(pipe)):
                    if os.getppid() != parent:  # whoever wanted them was killed
                        return
                    _told(pipe, message)
        except Exception as error:
            _told(pipe, ("raised", _portable(error)))


class _Left(BaseException):
    """Nobody is at the other end any more."""


def _heard(pipe: Connection) -> _Piece:
    try:
        piece: _Piece = pipe.recv()
    except (EOFError, OSError) as error:
        raise _Left from error
    return piece


def _told(pipe: Connection, message: tuple[str, Any]) -> None:
    try:
        pipe.send(message)
    except OSError as error:
        raise _Left from error


def _messages(order: _Order, parts: Parts, piece: _Piece) -> Iterator[tuple[str, Any]]:
    """Yield what is to be sent of a piece: ("at", key) before each sample that is measured alone, samples, "done"."""
    suite, options = order.make_suite(piece.task), replace(order.options, arms=piece.arms)
    if piece.alone:
        for key in [key for key in keys(suite, options) if key not in piece.done]:
            yield "at", key
            for sample in careful.alone(suite, parts.in_epoch(piece.epoch), options, key):
                yield "sample", {**sample, "epoch": piece.epoch}
    else:
        there = {(*key, piece.epoch) for key in piece.done}
        for sample in careful.epoch(suite, parts, options, piece.epoch, there, fail_on_error=order.fail_on_error):
            yield "sample", sample
    yield "done", None


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent, with its trace."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # some that can be packed can't be unpacked
    except Exception:
        return EvalError(f"{type(error).__name__}: {error}")
    return error
