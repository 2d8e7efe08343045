"""What a world may offer to train and to measure whoever plans: its goals in many words, with the plans that are right.

Knows no environment and no language model.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np

from gedanken.worlds.protocol import Wording, World
from gedanken.worlds.spec import Plan


class SpokenGoal(Protocol):
    """A goal in words whose right plans are known."""

    @property
    def text(self) -> str:
        """Return the goal as it was said."""
        ...

    @property
    def traits(self) -> tuple[str, ...]:
        """Return what is unusual about its words."""
        ...

    @property
    def plan(self) -> Plan:
        """Return the first right plan, from `spoken_goal` the one that follows from all there is to know."""
        ...

    @property
    def facts(self) -> tuple[str, ...]:
        """Return what one has to know so that the plan follows from it, in the order in which it matters.

        A scene that shows a fact holds its words: ``locked red door``.
        """
        ...

    def within(self, seen: Collection[str], met: Collection[str] = ()) -> SpokenGoal | None:
        """Return the goal with the plan that follows from the facts that are `seen`, and those `met` in trying.

        None where no plan does.
        """
        ...

    def right(self, plan: Plan) -> bool:
        """Return whether a plan is right, from where the environment stood when the goal was said."""
        ...


@runtime_checkable
class SpeakingWorld(World, Protocol):
    """A world that says its own goals in words for training and in words for testing."""

    def spoken_goal(
        self, env: gymnasium.Env[Any, Any], rng: np.random.Generator, wording: Wording
    ) -> SpokenGoal | None:
        """Say the environment's own goal; None where no plan of what it names will do."""
        ...

    def unmet_goal(self, rng: np.random.Generator, wording: Wording) -> str:
        """Draw a goal that no plan of this world meets, in words for training or for testing."""
        ...
