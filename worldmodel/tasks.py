"""What is to be done at one step of a plan in a world that shows numbers, and who says what to do next for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gedanken.worldmodel.protocol import Belief
from gedanken.worlds.objectives import Avoid, Objective, objective_of, standing
from gedanken.worlds.spec import Plan, WorldSpec


@dataclass(frozen=True)
class Task:
    """An objective, `spent` actions after it began, and what must never happen meanwhile."""

    objective: Objective
    standing: tuple[Avoid, ...] = ()
    spent: int = 0


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

    def __call__(
        self, belief: Belief, tasks: Sequence[Task], memory: Tensor | None, generator: torch.Generator
    ) -> Found:
        """Say what to do in B beliefs for as many tasks; `memory` is the last answer's, None for the first."""
        ...


def tasks_of(spec: WorldSpec, plan: Plan) -> list[Task]:
    """Return what has to be done at each step of a plan, before its first action."""
    steps = plan.steps
    return [Task(objective_of(spec, step), standing(spec, steps[: k + 1])) for k, step in enumerate(steps)]
