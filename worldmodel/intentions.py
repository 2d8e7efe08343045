"""What a controller meant its actions to do, and which actions do that now: a teacher for when the dynamics changed.

A policy learned where "left" turned to the left. Its own world model of then tells what it wants to happen, the world
model of now tells what has to be done for it. Nobody demonstrates anything. What a
model compares of its actions' effects is all that can be told apart. Knows no episodes and no training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.protocol import Belief

MEANT = 0.1
"""Chance with which some action has to do what was meant; else the action that was meant is kept."""

SHARP, KEPT = 4, 10.0
"""Chances of the same effect count to this power; of actions that do the same, the one that was meant so much more."""


class Comparable(Protocol):
    """A world model that can say which of its actions do what actions do in another model of its family."""

    def counterparts(self, other: Any, belief: Belief) -> Tensor:
        """Return the chance that an action here and one there have the same effect, [B, A there, A here]."""
        ...


@dataclass(frozen=True)
class Teacher:
    """A controller as it was, with the world model that it was learned with, and the world model as it is now."""

    before: Controller
    now: Comparable

    @torch.no_grad()
    def act(self, belief: Belief, step: Tensor) -> Tensor:
        """Return probabilities of the actions, [B, A], that do what the controller meant to happen, steps [B, G]."""
        meant = self.before.act(belief, step).exp()
        same = self.now.counterparts(self.before.model, belief)
        own = torch.eye(same.shape[1], device=same.device)
        nothing = same.amax(2, keepdim=True) < MEANT
        same = torch.where(nothing, own, same.pow(SHARP) * (1 + (KEPT - 1) * own))
        wanted = (meant[:, :, None] * same / same.sum(2, keepdim=True)).sum(1)
        return wanted / wanted.sum(1, keepdim=True)


def teacher(before: Controller, now: Any) -> Teacher | None:
    """Return a teacher, or None where the world model's family can't compare what actions do."""
    return Teacher(before, cast(Comparable, now)) if hasattr(now, "counterparts") else None


__all__ = ["Comparable", "Teacher", "teacher"]
