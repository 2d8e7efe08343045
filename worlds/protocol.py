"""The World contract: a Gymnasium environment bound to language. Knows no model and no language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gedanken.worlds.spec import Step, WorldSpec

Observation = NDArray[np.uint8]
"""One named observation as integers ``[height, width, channels]``, row 0 farthest from the agent."""


class Watch(Protocol):
    """Tells from real transitions whether one step has been achieved."""

    def achieved(self, action: int) -> bool:
        """Return whether the transition that `action` just caused achieved the step; call after every env.step."""
        ...


class Expert(Protocol):
    """A demonstrator for one step: knows the environment's state, serves training and ceilings only."""

    gave_up: bool

    @property
    def known(self) -> NDArray[np.bool_]:
        """Cells ``[x, y]`` that have been in sight; not to be asked of one that has given up."""
        ...

    def advise(self, action_taken: int | None) -> int | None:
        """Return the action it would take now, told the last one taken; None when it gives up."""
        ...


class PracticeGoal(Protocol):
    """A goal in words whose fulfilment the environment itself can tell."""

    text: str
    met: bool

    @property
    def steps(self) -> tuple[Step, ...]:
        """Steps that meet it."""
        ...

    def update(self, action: int) -> None:
        """Look at the last transition; `met` tells whether the goal has been met since the beginning."""
        ...


class World(Protocol):
    """A real environment bound to language."""

    @property
    def id(self) -> str:
        """Name of this environment, for example ``BabyAI-GoToLocal-v0``."""
        ...

    @property
    def spec(self) -> WorldSpec:
        """What a model trained on this kind of world depends on."""
        ...

    @property
    def examples(self) -> tuple[tuple[str, str, str], ...]:
        """Few-shot examples for the language model: (scene, goal, plan text)."""
        ...

    def make(self, render_mode: str | None = None, *, free: bool = False) -> gymnasium.Env[Any, Any]:
        """Make the environment; `free` takes its own mission and step limit away, for a person's goals."""
        ...

    def observation(self, raw: Any) -> Observation:
        """Pick the named observation out of what the environment returned."""
        ...

    def mission(self, raw: Any) -> str:
        """Return the environment's own goal as plain text."""
        ...

    def begin_goal(self, env: gymnasium.Env[Any, Any]) -> None:
        """Note where the agent stands: places in plans ("behind you") speak of this moment until the next call."""
        ...

    def watch(self, env: gymnasium.Env[Any, Any], steps: Sequence[Step]) -> list[Watch]:
        """Return one watch per step."""
        ...

    def sample_steps(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> tuple[Step, ...]:
        """Draw a few steps that can be pursued from here, for practice."""
        ...

    def practice_goals(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator, n: int) -> Sequence[PracticeGoal]:
        """Draw goals in words that can be spoken of from here, close to each other; for training only."""
        ...

    def foreign_goal(self, rng: np.random.Generator) -> str:
        """Draw a goal in words that no plan of this world meets."""
        ...

    def prerequisites(self, env: gymnasium.Env[Any, Any], step: Step) -> tuple[Step, ...]:
        """Return the steps that must come first from here (the key of a locked door), read from the simulator."""
        ...

    def mission_steps(self, env: gymnasium.Env[Any, Any]) -> tuple[Step, ...]:
        """Return steps that meet the environment's own goal, read from the simulator: for training and ceilings."""
        ...

    def expert(self, env: gymnasium.Env[Any, Any], step: Step, known: NDArray[np.bool_] | None = None) -> Expert:
        """Return a demonstrator of `step` from the present state."""
        ...

    def describe(self, grid: Observation, agent: tuple[int, int]) -> str:
        """Say in one or two sentences what an egocentric grid shows; `agent` is the (row, column) where it stands."""
        ...
