"""What the loop's nodes work with besides the state: models, environment, stores, a sink. Knows no graph."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from gedanken.agent.config import LoopConfig
from gedanken.agent.events import ApprovalAsked, Event, Grid, Outcome, View
from gedanken.agent.llm.protocol import LanguageModel
from gedanken.agent.readings import Reading
from gedanken.agent.session import Session
from gedanken.agent.verdict import Verdict
from gedanken.worldmodel.checkpoint import Trained, TrainedDynamics
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worlds.protocol import Observation, World

if TYPE_CHECKING:
    from gedanken.agent.state import State

Sink = Callable[[Event], None]
Describe = Callable[[Observation, tuple[int, ...]], str]
Approver = Callable[[ApprovalAsked], bool]


class Judge(Protocol):
    """What the loop asks of a critic."""

    def judge(
        self,
        goal: str,
        rehearsal: Rehearsal,
        describe: Describe | None = None,
        readings: Sequence[Reading] = (),
    ) -> list[Verdict]:
        """Return one verdict a plan; `describe` puts a view into words, `readings` say what the goal may mean."""
        ...


class Stopped(BaseException):
    """Whoever reads the events has gone: end at the next action. No Exception, so that nothing swallows it."""


def _nowhere(event: Event) -> None:
    """Drop an event."""


@dataclass
class Mind:
    """The runtime context of one run: everything that can't be written into the graph's state."""

    world: World
    llm: LanguageModel
    trained: Trained | TrainedDynamics
    critic: Judge
    session: Session
    config: LoopConfig
    store: ExperienceStore | None = None
    emit: Sink = _nowhere
    approve: Approver | None = None
    cut_off: str | None = None  # the node in which a run that now goes on had been killed
    doing: State | None = None  # the state in which acting began, for a run that is interrupted
    ended: Outcome | None = None  # how the goal ended, once that is stored and only learning is left
    stop: threading.Event = field(default_factory=threading.Event)

    def heed(self) -> None:
        """Raise Stopped when the run was told to end."""
        if self.stop.is_set():
            raise Stopped


def grid_of(view: object) -> Grid:
    """Return an array or a tensor ``[height, width, C]`` as nested lists."""
    nested: Sequence[Sequence[Sequence[int]]] = view.tolist()  # type: ignore[attr-defined]
    return [[list(cell) for cell in row] for row in nested]


def view_of(view: NDArray[Any] | Tensor) -> View:
    """Return what is seen, a grid ``[height, width, C]`` or numbers ``[variables]``, as lists."""
    numbers: list[float] = view.tolist()
    return grid_of(view) if view.ndim > 1 else numbers
