"""The World contract: a Gymnasium environment bound to language. Knows no model and no language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gedanken.worlds.spec import Plan, Step, WorldSpec

Observation = NDArray[Any]
"""What a world shows: a grid of integers ``[height, width, channels]``, uint8, row 0 farthest from the agent, or named
numbers ``[variables]``, float32."""

Wording = Literal["own", "training", "test"]
"""In whose words a goal is said: the environment's, or those of one of two lists that share nothing."""


class WorldError(RuntimeError):
    """A real environment can't be used, or does not do what it promised; the message says what to do."""


class Watch(Protocol):
    """Tells from real transitions whether one step has been achieved."""

    def achieved(self, action: Any) -> bool:
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

    def watch(self, env: gymnasium.Env[Any, Any], steps: Sequence[Step]) -> Sequence[Watch]:
        """Return one watch per step."""
        ...

    def describe(self, observation: Observation, agent: tuple[int, ...]) -> str:
        """Say in one or two sentences what an observation shows.

        `agent` is the (row, column) where the agent stands in an egocentric grid, and empty where there is no grid.
        """
        ...


@runtime_checkable
class TimedWorld(World, Protocol):
    """A world whose actions take time, of which goals may speak."""

    def in_actions(self, goal: str) -> str:
        """Return a goal whose spans of time are said in actions. Raises SpecError where that can't be."""
        ...


@runtime_checkable
class DemonstratedWorld(World, Protocol):
    """A world with a demonstrator, for training and ceilings; it may read the simulator's state."""

    def sample_steps(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> tuple[Step, ...]:
        """Draw a few steps that can be pursued from here, for practice."""
        ...

    def prerequisites(self, env: gymnasium.Env[Any, Any], step: Step) -> tuple[Step, ...]:
        """Return the steps that must come first from here (the key of a locked door)."""
        ...

    def mission_steps(self, env: gymnasium.Env[Any, Any]) -> tuple[Step, ...]:
        """Return steps that meet the environment's own goal."""
        ...

    def expert(self, env: gymnasium.Env[Any, Any], step: Step, known: NDArray[np.bool_] | None = None) -> Expert:
        """Return a demonstrator of `step` from the present state."""
        ...


@runtime_checkable
class WaryWorld(World, Protocol):
    """A world that sees what a plan has to provide for."""

    def barred(self, step: Step, seen: Observation) -> str | None:
        """Say what in view keeps a step from being achieved as things stand, ``locked red door``; None for nothing."""
        ...


LOST = 12
"""Moments at which something bars a step that the plan had prepared, before that is news."""


class News:
    """Watches one step for what bars it that whoever planned it in `scene` could not know.

    Where steps before it have `prepared` it, what the scene told of was not to bar it any more: what was fetched for it
    may have been put down. Who does that may take it up again soon, so that is news after `LOST` such moments only.
    """

    def __init__(self, world: object, step: Step, scene: str, *, prepared: bool) -> None:
        self.world, self.step, self.scene, self.prepared = world, step, scene, prepared
        self.moments = 0

    def of(self, seen: Observation) -> str | None:
        """Say what bars the step, as seen now; None for nothing new."""
        bar = self.world.barred(self.step, seen) if isinstance(self.world, WaryWorld) else None
        if bar and bar in self.scene:
            self.moments += 1
            if not self.prepared or self.moments < LOST:
                return None
        return in_the_way(self.step, bar) if bar else None


def in_the_way(step: object, bar: str) -> str:
    """Put into words that a step is barred."""
    return f"{step}: a {bar} is in the way, and the plan has nothing for it"


@runtime_checkable
class SayingWorld(World, Protocol):
    """A world that says plans in its own words, as goals that they would meet."""

    def aim(self, plan: Plan) -> Plan:
        """Return a plan without the steps that only prepare the next one: what it is for."""
        ...

    def say(self, plan: Plan) -> str:
        """Say what a plan is for as a goal."""
        ...


@runtime_checkable
class PracticeWorld(DemonstratedWorld, Protocol):
    """A world that also knows goals in words and can tell which are met: what goals mean is learned there."""

    def practice_goals(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator, n: int) -> Sequence[PracticeGoal]:
        """Draw goals in words that can be spoken of from here, close to each other."""
        ...

    def unmet_goal(self, rng: np.random.Generator, wording: Wording) -> str:
        """Draw a goal that no plan of this world meets, in words for training or for testing."""
        ...
