"""Workers that are actors of Ray, on this machine or on those of a cluster. Needs ray.

Ray is joined at `RAY_ADDRESS`, where that is set, or else begun on this machine. Every machine needs this package, the
folder that the run is begun in, and what it reads by name; variables named GEDANKEN_… are handed on.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, redirect_stdout
from typing import Any, cast

from gedanken.evals.errors import EvalError
from gedanken.evals.suite import Parts
from gedanken.evals.work import Gone, Message, Order, Piece, Worker, messages, portable

ADDRESS = "RAY_ADDRESS"
ALONE = {"address": "local", "include_dashboard": False}
"""How a Ray of one's own is begun, whatever others there may be here."""


def need_ray() -> None:
    """Raise EvalError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise EvalError("--ray needs Ray: pip install 'gedanken[ray]'; without it, --workers takes processes")


class OnRay:
    """See `Crew`."""

    def __init__(self, order: Order, workers: int) -> None:
        need_ray()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        self.open = ExitStack()
        self.open.enter_context(redirect_stdout(sys.stderr))  # where Ray says what befalls workers
        self.ray: Any = importlib.import_module("ray")
        if not self.ray.is_initialized():
            try:
                self.ray.init(log_to_driver=False, logging_level="ERROR", **({} if ADDRESS in os.environ else ALONE))
            except (ConnectionError, RuntimeError, ValueError) as error:
                where = f"the Ray at {ADDRESS}={os.environ[ADDRESS]}" if ADDRESS in os.environ else "Ray here"
                self.close()
                raise EvalError(f"can't begin with {where}: {error}; see to it, or leave out --ray") from error
            self.open.callback(self.ray.shutdown)
        cores = int(self.ray.cluster_resources().get("CPU", 0))
        if workers > cores:
            self.close()
            raise EvalError(f"{workers} workers, and Ray has {cores} cores; choose fewer --workers")
        home = {name: value for name, value in os.environ.items() if name.startswith("GEDANKEN_")}
        self.arguments = order, max(1, cores // workers), os.getcwd(), home

    def begin(self) -> Worker:
        """See `Crew`."""
        return _Actor(self.ray, self.ray.remote(num_cpus=1)(_Measurer).remote(*self.arguments))

    def speaking(self, busy: Sequence[Worker]) -> list[Worker]:
        """See `Crew`."""
        streams = {worker.stream: worker for worker in cast(Sequence[_Actor], busy)}
        return [streams[stream] for stream in self.ray.wait(list(streams), num_returns=1)[0]]

    def close(self) -> None:
        """See `Crew`."""
        self.open.close()


class _Actor:
    """An actor and the messages of the piece it has; see `Worker`."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self.ray, self.actor, self.stream = ray, actor, None

    def take(self, piece: Piece) -> None:
        """See `Worker`."""
        one_by_one = {"num_returns": "streaming", "_generator_backpressure_num_objects": 1}  # what was said is heard
        self.stream = self.actor.measure.options(**one_by_one).remote(piece)

    def hear(self) -> Message:
        """See `Worker`."""
        try:
            message: Message = self.ray.get(next(cast(Iterator[Any], self.stream)))
        except (self.ray.exceptions.RayError, StopIteration) as error:
            raise Gone(str(error).strip().rpartition("\n")[2].partition(". ")[0]) from error
        return message

    def end(self) -> None:
        """See `Worker`."""
        self.ray.kill(self.actor)


class _Measurer:
    """What an actor is; its parts are loaded for its first piece."""

    def __init__(self, order: Order, threads: int, folder: str, variables: dict[str, str]) -> None:
        import torch

        os.environ.update(variables)
        os.chdir(folder)
        torch.set_num_threads(threads)
        self.order, self.parts = order, cast(Parts | None, None)

    def measure(self, piece: Piece) -> Iterator[Message]:
        """Yield what is to be said of a piece."""
        try:
            parts = self.parts = self.parts or self.order.make_parts()
            yield from messages(self.order, parts, piece)
        except Exception as error:
            yield "raised", portable(error)
