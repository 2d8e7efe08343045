"""BabyAI levels in which something is otherwise than where a model learned: the same views and words, other effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
from minigrid.core.actions import Actions
from numpy.typing import NDArray

from gedanken.worlds.babyai import BabyAIWorld
from gedanken.worlds.babyai_env import BabyAIEnv
from gedanken.worlds.protocol import Expert
from gedanken.worlds.spec import SpecError, Step

Env = gymnasium.Env[Any, Any]

NOISE = 0.1
"""Chance that an action is replaced by a random one."""

STICKY = 0.25
"""Chance that the last action is taken again instead. Machado et al., "Revisiting the ALE", JAIR 2018."""


class SwappedTurns(gymnasium.ActionWrapper[Any, Any, Any]):
    """Left turns right, and right turns left."""

    def action(self, action: Any) -> Any:
        """Return the action that is really taken."""
        return {Actions.left: Actions.right, Actions.right: Actions.left}.get(action, action)


class Noisy(gymnasium.ActionWrapper[Any, Any, Any]):
    """Now and then another action is taken."""

    def action(self, action: Any) -> Any:
        """Return the action that is really taken."""
        return int(self.np_random.integers(6)) if self.np_random.random() < NOISE else action


class Sticky(gymnasium.ActionWrapper[Any, Any, Any]):
    """Now and then the last action is taken again."""

    _last: Any = None

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Reset; nothing has been taken yet."""
        self._last = None
        return super().reset(**options)

    def action(self, action: Any) -> Any:
        """Return the action that is really taken."""
        again = self._last is not None and self.np_random.random() < STICKY
        self._last = self._last if again else action
        return self._last


SHIFTS: dict[str, Callable[[Env], Env]] = {"swapped-turns": SwappedTurns, "noisy": Noisy, "sticky": Sticky}
"""What may be otherwise, by name."""


SHIFTED = "+"
"""What stands between a level and its shift."""


class ShiftedWorld(BabyAIWorld):
    """A level with a shift, ``LEVEL+SHIFT``. Raises SpecError for either unknown."""

    def __init__(self, id: str) -> None:
        level, _, shift = id.partition(SHIFTED)
        if shift not in SHIFTS:
            raise SpecError(f"unknown shift {shift!r} of {level}; there are {', '.join(SHIFTS)}")
        super().__init__(level)
        self.level, self.shift, self.id = level, shift, id

    def expert(self, env: Env, step: Step, known: NDArray[Any] | None = None) -> Expert:
        """Raise SpecError: minigrid's bot knows the levels as they are."""
        raise SpecError(f"nobody demonstrates in {self.id}: its actions do something else than minigrid's bot thinks")

    def make(self, render_mode: str | None = None, *, free: bool = False) -> BabyAIEnv:
        """Make the level, its actions shifted; see `BabyAIWorld.make`."""
        env = gymnasium.make(self.level, render_mode=render_mode, disable_env_checker=True)
        return BabyAIEnv(SHIFTS[self.shift](env), free=free)
