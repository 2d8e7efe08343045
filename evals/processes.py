"""Workers that are processes of this machine, each at the other end of a pipe."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

from gedanken.evals.work import Gone, Message, Order, Piece, Worker, messages, portable


class Processes:
    """See `Crew`."""

    def __init__(self, order: Order, workers: int) -> None:
        self.order, self.threads = order, max(1, (os.cpu_count() or 1) // workers)

    def begin(self) -> Worker:
        """See `Crew`."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(self.order, self.threads, theirs, os.getpid()), daemon=True)
        process.start()
        theirs.close()  # so that this end hears when the other is gone
        return _Process(process, ours)

    def speaking(self, busy: Sequence[Worker]) -> list[Worker]:
        """See `Crew`."""
        pipes = {worker.pipe: worker for worker in cast(Sequence[_Process], busy)}
        return [pipes[cast(Connection, pipe)] for pipe in wait(list(pipes))]

    def close(self) -> None:
        """See `Crew`; processes share nothing."""


class _Process:
    """This end of a process; see `Worker`."""

    def __init__(self, process: BaseProcess, pipe: Connection) -> None:
        self.process, self.pipe = process, pipe

    def take(self, piece: Piece) -> None:
        """See `Worker`."""
        with contextlib.suppress(OSError):  # it has been ended: heard later
            self.pipe.send(piece)

    def hear(self) -> Message:
        """See `Worker`."""
        try:
            message: Message = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise Gone from error
        return message

    def end(self) -> None:
        """See `Worker`."""
        self.process.terminate()
        self.pipe.close()
        self.process.join()


# ---- in the process --------------------------------------------------------------------------------------------------


def _work(order: Order, threads: int, pipe: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever wanted the samples ends this
    import torch

    torch.set_num_threads(threads)
    with contextlib.suppress(_Left):
        try:
            parts = order.make_parts()
            while True:
                for message in messages(order, parts, _heard(pipe)):
                    if os.getppid() != parent:  # whoever wanted them was killed
                        return
                    _told(pipe, message)
        except Exception as error:
            _told(pipe, ("raised", portable(error)))


class _Left(BaseException):
    """Nobody is at the other end any more."""


def _heard(pipe: Connection) -> Piece:
    try:
        piece: Piece = pipe.recv()
    except (EOFError, OSError) as error:
        raise _Left from error
    return piece


def _told(pipe: Connection, message: Message) -> None:
    try:
        pipe.send(message)
    except OSError as error:
        raise _Left from error
