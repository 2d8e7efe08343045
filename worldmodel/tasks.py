"""What is to be done at one step of a plan in a world that shows numbers, and who says what to do next for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from gedanken.worldmodel.protocol import Belief
from gedanken.worlds.objectives import Avoid, Keep, Objective, Optimize, Reach, objective_of, standing
from gedanken.worlds.spec import Plan, WorldSpec

EVER = 1_000_000
"""Actions that no step takes."""


@dataclass(frozen=True)
class Task:
    """An objective, `spent` actions after it began, and what must never happen meanwhile.

    What is to be avoided begins with an action, too: what that is done for, says the next task, `then`.
    """

    objective: Objective
    standing: tuple[Avoid, ...] = ()
    spent: int = 0
    then: Task | None = None

    @property
    def practised(self) -> Task:
        """Return the task for whose sake one acts, however long it lasts: what there are policies for."""
        return self.then.practised if self.then else Task(_for_ever(self.objective), self.standing)


@dataclass(frozen=True)
class Found:
    """What was found for B tasks; `memory` is for the next question about them, one action on."""

    action: Tensor  # [B] int64, or [B, A] controls in their units
    memory: Tensor  # [B, …]


class Finder(Protocol):
    """Says what to do next, for many beliefs and tasks at once."""

    def fresh(self, problems: int) -> Tensor:
        """Return what is remembered of tasks that begin, [B, …]."""
        ...

    def knows(self, task: Task) -> bool:
        """Return whether a task can be done at once, without practising it first."""
        ...

    def practise(self, task: Task) -> None:
        """Learn what a task takes; seconds, for one that is not known."""
        ...

    def __call__(
        self, belief: Belief, tasks: Sequence[Task], memory: Tensor | None, generator: torch.Generator
    ) -> Found:
        """Say what to do in B beliefs for as many tasks; `memory` is the last answer's, None for the first."""
        ...


def _for_ever(objective: Objective) -> Objective:
    """Return an objective that takes or lasts as long as can be: policies know no clock."""
    if isinstance(objective, Reach):
        return replace(objective, within=EVER)
    return replace(objective, duration=EVER) if isinstance(objective, Keep | Optimize) else objective


def tasks_of(spec: WorldSpec, plan: Plan) -> list[Task]:
    """Return what has to be done at each step of a plan, before its first action."""
    steps, tasks, after = plan.steps, list[Task](), None
    for k in reversed(range(len(steps))):
        objective = objective_of(spec, steps[k])
        after = Task(objective, standing(spec, steps[: k + 1]), then=after if isinstance(objective, Avoid) else None)
        tasks.append(after)
    return tasks[::-1]


def practised_for(spec: WorldSpec, plan: Plan) -> list[Task]:
    """Return what has to be practised for a plan, each task once, in the order of its steps."""
    return list(dict.fromkeys(task.practised for task in tasks_of(spec, plan)))
