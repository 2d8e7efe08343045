"""What workers are given and what they say: pieces of a run, and messages. Knows no process."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gedanken.evals import careful
from gedanken.evals.errors import EvalError
from gedanken.evals.run_folder import Key
from gedanken.evals.suite import Options, Parts, Suite, keys

Message = tuple[str, Any]
"""("at", key) before each sample that is measured alone, ("sample", …), ("raised", error), ("done", None)."""


class Gone(Exception):
    """A worker has been ended from outside; the message says more where more is known."""


@dataclass
class Piece:
    """A task, some arms and an epoch; `alone` says that its samples are measured one by one."""

    task: str
    arms: tuple[str, ...]
    epoch: int
    done: set[Key]
    alone: bool = False


@dataclass(frozen=True)
class Order:
    """What a worker needs to begin."""

    make_suite: Callable[[str], Suite]
    make_parts: Callable[[], Parts]
    options: Options
    fail_on_error: bool


class Worker(Protocol):
    """Measures a piece at a time, with parts of its own."""

    def take(self, piece: Piece) -> None:
        """Begin with a piece; whether it lives to do so is heard afterwards."""
        ...

    def hear(self) -> Message:
        """Return the next message, waiting for it. Raises Gone."""
        ...

    def end(self) -> None:
        """End it, whatever it does; once it has ended, this returns."""
        ...


class Crew(Protocol):
    """Where workers come from, made of an order and how many of them share the cores."""

    def begin(self) -> Worker:
        """Begin a worker."""
        ...

    def speaking(self, busy: Sequence[Worker]) -> list[Worker]:
        """Wait until some of the busy workers say something, or are gone; return those."""
        ...

    def close(self) -> None:
        """Give back what all workers shared."""
        ...


def messages(order: Order, parts: Parts, piece: Piece) -> Iterator[Message]:
    """Yield, in a worker, what is to be said of a piece."""
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


def portable(error: Exception) -> Exception:
    """Return an error that can be sent, with its trace."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # some that can be packed can't be unpacked
    except Exception:
        return EvalError(f"{type(error).__name__}: {error}")
    return error
