"""A task as a world: a goal in somebody's words for the world's own, and a scorer for its reward. Knows no arm.

Whoever plays in it sees a world as any other, and success is what it is everywhere: a reward above 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gedanken.evals.errors import EvalError
from gedanken.worlds.expressions import Expression, ExpressionError, parse
from gedanken.worlds.fields import VectorField
from gedanken.worlds.protocol import (
    DemonstratedWorld,
    Expert,
    Observation,
    SayingWorld,
    WaryWorld,
    Watch,
    Wording,
    World,
    WorldError,
)
from gedanken.worlds.spec import Plan, SpecError, Step, WorldSpec
from gedanken.worlds.spoken import SpeakingWorld

Scorer = Literal["reward", "steps", "condition"]
Env = gymnasium.Env[Any, Any]

MOST_ACTIONS = 200
"""Actions that a goal may take where the world's own end does not count and nobody said."""

COUNTED = ("total_reward", "actions")
"""Numbers that every condition may name, besides the world's own."""


class TaskWorld:
    """One task of a suite, see the module; implements `DemonstratedWorld` as far as the world behind it does.

    Without a `goal` the world's own mission is said, in other words where `words` is not "own". The scorer `reward`
    leaves the world's reward and its end as they are; `steps` asks that steps be achieved in their order, `condition`
    that an expression over `COUNTED` and the world's numbers be true once: then the world's own mission and limit are
    taken away. Raises EvalError for what can't be asked of this world.
    """

    def __init__(
        self,
        world: World,
        id: str,
        *,
        goal: str | None = None,
        words: Wording = "own",
        scorer: Scorer = "reward",
        steps: str = "",
        condition: str = "",
        max_actions: int | None = None,
    ) -> None:
        self.world, self.id, self.goal, self.words, self.scorer = world, id, goal, words, scorer
        self.max_actions = max_actions or (None if scorer == "reward" else MOST_ACTIONS)
        self.steps = self._plan(steps).steps if steps else ()
        self.condition = self._condition(condition) if condition else None
        if words != "own" and goal is not None:
            raise EvalError(f"task {id}: say goal or words, not both")
        if words != "own" and not isinstance(world, SpeakingWorld):
            raise EvalError(f"task {id}: {world.id} can't say its goals in other words; give a goal")
        if scorer == "reward" and isinstance(world.spec.observation, VectorField):
            raise EvalError(
                f'task {id}: the reward of {world.id} says not yes or no; write scorer = "condition" and, for example,'
                ' condition = "total_reward >= 100"'
            )
        if scorer != "reward" and goal is None:
            raise EvalError(f"task {id}: the scorer {scorer!r} takes the world's own mission away; give a goal")
        if scorer == "steps" and not steps or scorer == "condition" and not condition:
            raise EvalError(f"task {id}: the scorer {scorer!r} needs {scorer!r}")

    @property
    def spec(self) -> WorldSpec:
        """Return the spec of the world behind the task."""
        return self.world.spec

    @property
    def examples(self) -> tuple[tuple[str, str, str], ...]:
        """Return the examples of the world behind the task."""
        return self.world.examples

    def make(self, render_mode: str | None = None, *, free: bool = False) -> Env:
        """Make the environment, with the task's reward."""
        return TaskEnv(self, self.world.make(render_mode, free=free or self.scorer != "reward"))

    def observation(self, raw: Any) -> Observation:
        """See `World.observation`."""
        return self.world.observation(raw)

    def mission(self, raw: Any) -> str:
        """Return the goal."""
        return self.goal if self.goal is not None else self.world.mission(raw)

    def begin_goal(self, env: Env) -> None:
        """See `World.begin_goal`."""
        self.world.begin_goal(inner(env))

    def watch(self, env: Env, steps: Sequence[Step]) -> Sequence[Watch]:
        """See `World.watch`."""
        return self.world.watch(inner(env), steps)

    def describe(self, observation: Observation, agent: tuple[int, ...]) -> str:
        """See `World.describe`."""
        return self.world.describe(observation, agent)

    def barred(self, step: Step, seen: Observation) -> str | None:
        """See `WaryWorld.barred`; a world that is not wary sees nothing."""
        return self.world.barred(step, seen) if isinstance(self.world, WaryWorld) else None

    def aim(self, plan: Plan) -> Plan:
        """See `SayingWorld.aim`; all of a plan where the world has no words for it."""
        return self.world.aim(plan) if isinstance(self.world, SayingWorld) else plan

    def say(self, plan: Plan) -> str:
        """See `SayingWorld.say`; a plan's own text where the world has no words for it."""
        return self.world.say(plan) if isinstance(self.world, SayingWorld) else plan.line()

    # ---- where somebody demonstrates -------------------------------------------------------------------------------

    def mission_steps(self, env: Env) -> tuple[Step, ...]:
        """Return the task's steps where it has some, else those of the world's own mission."""
        return self.steps or self._demonstrated().mission_steps(inner(env))

    def sample_steps(self, env: Env, rng: np.random.Generator) -> tuple[Step, ...]:
        """See `DemonstratedWorld.sample_steps`."""
        return self._demonstrated().sample_steps(inner(env), rng)

    def prerequisites(self, env: Env, step: Step) -> tuple[Step, ...]:
        """See `DemonstratedWorld.prerequisites`."""
        return self._demonstrated().prerequisites(inner(env), step)

    def expert(self, env: Env, step: Step, known: NDArray[np.bool_] | None = None) -> Expert:
        """See `DemonstratedWorld.expert`."""
        return self._demonstrated().expert(inner(env), step, known)

    def _demonstrated(self) -> DemonstratedWorld:
        if not isinstance(self.world, DemonstratedWorld):
            raise EvalError(
                f"task {self.id}: nobody demonstrates {self.world.id}; leave out the arms oracle-plan and bot"
            )
        if self.goal is not None and self.scorer != "reward" and not self.steps:
            raise EvalError(
                f"task {self.id}: which plan is right is not known; give steps, or leave out oracle-plan and bot"
            )
        return self.world

    # ---- what was asked --------------------------------------------------------------------------------------------

    def _plan(self, text: str) -> Plan:
        try:
            return self.spec.parse_plan(text)
        except SpecError as error:
            raise EvalError(f"task {self.id}, steps: {error}") from error

    def _condition(self, text: str) -> Expression:
        field = self.spec.observation
        names = (*COUNTED, *(field.names if isinstance(field, VectorField) else ()))
        try:
            found = parse(text, names)
        except ExpressionError as error:
            raise EvalError(f"task {self.id}, condition: {error}") from error
        if not found.condition:
            raise EvalError(f"task {self.id}, condition: {text!r} is a number; compare it with one")
        return found


class TaskEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that pays 1 when its task is done, and ends then; with the scorer `reward` it pays as ever."""

    def __init__(self, task: TaskWorld, env: Env) -> None:
        super().__init__(env)
        self.task = task
        self.taken, self.total, self._next = 0, 0.0, 0
        self._watched: Watch | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, and say the world's own mission in the words that the task asks for."""
        raw, info = self.env.reset(seed=seed, options=options)
        self.taken, self.total, self._next = 0, 0.0, 0
        self.task.world.begin_goal(self.env)
        self._watch()
        if self.task.words != "own":
            raw = {**raw, "mission": self._said(seed)}
        return raw, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take an action."""
        raw, reward, terminated, truncated, info = self.env.step(action)
        self.taken, self.total = self.taken + 1, self.total + float(reward)
        limit = self.task.max_actions
        truncated = bool(truncated) or (limit is not None and self.taken >= limit)
        if self.task.scorer == "reward":
            return raw, reward, bool(terminated), truncated, info
        met = self._achieved(action) if self.task.scorer == "steps" else self._holds()
        return raw, float(met), bool(terminated) or met, truncated, info

    def _achieved(self, action: Any) -> bool:
        if self._watched is not None and self._watched.achieved(action):
            self._next += 1
            self._watch()
        return self._next == len(self.task.steps)

    def _holds(self) -> bool:
        values: Mapping[str, Any] = getattr(self.env, "values", {})
        counted = {"total_reward": np.asarray(self.total), "actions": np.asarray(float(self.taken))}
        assert self.task.condition is not None
        return bool(self.task.condition({**values, **counted}))

    def _watch(self) -> None:
        if self.task.scorer == "steps" and self._next < len(self.task.steps):  # earlier steps may say what to avoid
            self._watched = self.task.world.watch(self.env, self.task.steps[: self._next + 1])[-1]

    def _said(self, seed: int | None) -> str:
        world, rng = self.task.world, np.random.default_rng((seed or 0, 23))
        goal = world.spoken_goal(self.env, rng, self.task.words) if isinstance(world, SpeakingWorld) else None
        if goal is None:
            raise WorldError(f"{world.id} with seed {seed} has no goal that can be said in other words")
        return goal.text


def inner(env: Env) -> Env:
    """Return the environment that the world behind a task has made."""
    if not isinstance(env, TaskEnv):
        raise EvalError(f"{env!r} was not made by TaskWorld.make")
    return env.env
