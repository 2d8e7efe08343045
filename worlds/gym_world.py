"""Any Gymnasium environment that shows numbers or a picture as a World, its skills objectives.

Names come from its spaces, or from an adapter. An exogenous variable is a number of the observation, too: read from the
environment's attribute, set at the reset.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gedanken.worlds.adapter import Adapter
from gedanken.worlds.durations import in_actions, seconds, spans
from gedanken.worlds.fields import VectorField
from gedanken.worlds.guard import Guard
from gedanken.worlds.objectives import Avoid, Objective, objective_of, outcome, shortfall, standing
from gedanken.worlds.pictures import resized, told
from gedanken.worlds.protocol import Observation, WorldError
from gedanken.worlds.sayings import code_of
from gedanken.worlds.spaces import (
    actions_of,
    flat,
    image_in,
    native,
    picture_of,
    said_in,
    spec_of,
    texts_of,
    variables_of,
)
from gedanken.worlds.spec import SpecError, Step, WorldSpec

PROBES, ACTIONS = 5, 40
"""Episodes and most actions of each with which `check` tries an environment."""

REPEATED = 10
"""Actions that have to lead to the same twice."""

_NUMBERS = (int, float, np.integer, np.floating, np.bool_)


class GymEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """An environment that takes a discrete action's number or controls ``[A]``, and shows ``[variables]`` as float32.

    Where there is a picture, its pixels come after those (`Picture`).

    `values` names what was seen last, and `said` what was said in words, shortened. `heard` is what was said since the
    reset: after how many actions, in which part, and what, where it is not what was said before. Every call is guarded:
    WorldError says what the environment did wrong.
    """

    def __init__(self, world: GymWorld, render_mode: str | None, *, free: bool) -> None:
        self.world, self.guard = world, Guard(world.id, world.adapter.limit)
        self.inner: gymnasium.Env[Any, Any] = _make(self.guard, world.adapter, render_mode, free)
        self.picture = world.spec.vector.picture
        self.frames: deque[NDArray[np.uint8]] = deque(maxlen=self.picture.frames if self.picture else 0)
        shown = len(world.spec.vector.variables) + (self.picture.pixels if self.picture else 0)
        self.observation_space = spaces.Box(-np.inf, np.inf, (shown,))
        discrete = not world.spec.controls
        self.action_space = spaces.Discrete(len(world.spec.actions)) if discrete else self.inner.action_space
        self.render_mode = render_mode
        self.values: Mapping[str, Any] = {}
        self.seen: NDArray[np.float32] | None = None
        self.said: dict[str, str] = {}
        self.heard: list[tuple[int, str, str]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Reset; the option `exogenous` gives values to some of the inputs, the others take their usual ones again."""
        given = dict((options or {}).get("exogenous", {}))
        if unknown := sorted(given.keys() - self.world.adapter.exogenous.keys()):
            raise WorldError(f"{self.world.id} has no exogenous variable {', '.join(unknown)}")
        for name, value in {**self.world.usual, **given}.items():
            setattr(self.inner.unwrapped, self.world.adapter.exogenous[name].attribute, float(value))
        answer = self.guard("reset", lambda: self.inner.reset(seed=seed))
        raw, info = _parts(self.world.id, "reset", answer, 2)
        self.frames.clear()
        self.said, self.heard, self._taken = {}, [], 0
        return self._see(raw, 0.0, info), info

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one action."""
        taken = native(self.inner.action_space, action)
        answer = self.guard("step", lambda: self.inner.step(taken))
        raw, reward, terminated, truncated, info = _parts(self.world.id, "step", answer, 5)
        paid, *over = (
            _number(self.world.id, what, value)
            for what, value in (("reward", reward), ("terminated", terminated), ("truncated", truncated))
        )
        self._taken += 1
        return self._see(raw, paid, info), paid, bool(over[0]), bool(over[1]), info

    def _see(self, raw: Any, reward: float, info: Any) -> NDArray[np.float32]:
        try:
            numbers = flat(self.inner.observation_space, raw)
            image = image_in(self.inner.observation_space, raw)
            said = said_in(self.inner.observation_space, raw)
        except WorldError as error:
            raise WorldError(f"{self.world.id}: {error}") from error
        numbers += self._hear(said)
        numbers += [self._told(name, read.source, info) for name, read in self.world.adapter.read.items()]
        exogenous = self.world.adapter.exogenous.values()
        numbers += [self._input(e.attribute) for e in exogenous]
        with np.errstate(over="ignore"):
            seen = np.array(numbers, np.float32)
        field = self.world.spec.vector
        for variable, number, value in zip(field.variables, numbers, seen, strict=True):
            if not np.isfinite(value):
                raise WorldError(f"{self.world.id}: {variable.name} is {number}; it must be a finite number")
        self.values = field.values(seen.astype(np.float64), np.asarray(reward))
        if self.picture and image is not None:
            frame = resized(image, self.picture.size)
            self.frames.extend([frame] * (1 if self.frames else self.picture.frames))
            seen = self.picture.joined(seen, np.stack(self.frames))
        self.seen = seen
        return seen

    def _hear(self, said: list[str]) -> list[float]:
        """Note what is said, and return its categories."""
        sayings = self.world.spec.vector.sayings
        for (name, _), text in zip(sayings, said, strict=True):
            if self.said.get(name) != text:
                self.heard.append((self._taken, name, text))
        self.said = {name: text for (name, _), text in zip(sayings, said, strict=True)}
        return [float(code_of(text, known)) for (_, known), text in zip(sayings, said, strict=True)]

    @property
    def saying(self) -> str:
        """Return what was said last, between quotation marks; nothing where nothing is ever said."""
        return " ".join(f'{name} says: "{text}".' for name, text in self.said.items())

    def _told(self, name: str, source: str, info: Any) -> float:
        value = told(source, info, self.inner.unwrapped)
        if not isinstance(value, _NUMBERS):
            raise WorldError(
                f"{self.world.id}: {name} is read from {source}, where there is {value!r:.40}; let reset and every step"
                " put a number there"
            )
        return float(value)

    def _input(self, attribute: str) -> float:
        value = getattr(self.inner.unwrapped, attribute, None)
        return float(value) if isinstance(value, _NUMBERS) else np.nan

    def render(self) -> Any:
        """Render as the environment does."""
        return self.guard("render", self.inner.render)

    def close(self) -> None:
        """Release the environment; one that hangs is left to itself."""
        if not self.guard.stuck:
            self.guard("close", self.inner.close)
        self.guard.close()


class ObjectiveWatch:
    """Tells from real observations when a step is achieved, and when it, or what stands beside it, has failed.

    `broken` says that something to be avoided happened: no other plan can undo that.
    """

    def __init__(self, env: GymEnv, objective: Objective, standing: Sequence[Avoid]) -> None:
        self.env, self.objective, self.standing = env, objective, standing
        self.spent, self.failed, self.broken = 0, False, False

    @property
    def most(self) -> int:
        """Return after how many actions it is achieved or has failed at the latest."""
        return max(self.objective.earliest, self.objective.grace)

    def achieved(self, action: object) -> bool:
        """Return whether the last transition achieved the step; one that has failed is never achieved."""
        self.spent += 1
        achieved, failed = outcome(self.objective, self.spent, self.env.values)
        broken = not all(bool(condition.holds(self.env.values)) for condition in self.standing)
        self.broken = self.broken or broken or (bool(failed) and isinstance(self.objective, Avoid))
        self.failed = self.failed or bool(failed) or self.broken
        return bool(achieved) and not self.failed

    def why(self) -> str:
        """Say, where it has failed, what is as it should not be, in units."""
        return shortfall(self.env.world.spec.vector, self.objective, self.standing, self.env.values)


class GymWorld:
    """One environment, known by an adapter or by its spaces alone.

    Making one makes the environment once. Raises SpecError for what is not supported, and WorldError for an environment
    that can't be made.
    """

    def __init__(self, adapter: Adapter | str, id: str | None = None) -> None:
        self.adapter = adapter if isinstance(adapter, Adapter) else Adapter(environment=adapter)
        self.id = id or self.adapter.environment
        guard = Guard(self.id, self.adapter.limit)
        env = _make(guard, self.adapter, None, False)
        try:
            self.usual = {name: self._usual(env, name) for name in self.adapter.exogenous}
            variables, actions = variables_of(env.observation_space), actions_of(env.action_space)
            picture, texts = picture_of(env.observation_space) is not None, texts_of(env.observation_space)
            self.spec = spec_of(self.id, self.adapter, variables, actions, picture=picture, texts=texts)
        finally:
            guard("close", env.close)
            guard.close()

    @staticmethod
    def speaking(adapter: Adapter, id: str) -> tuple[str, ...]:
        """Name the parts of an environment's observations that are words, as the adapter does."""
        guard = Guard(id, adapter.limit)
        env = _make(guard, adapter, None, False)
        try:
            texts, numbers = texts_of(env.observation_space), len(variables_of(env.observation_space))
        finally:
            guard("close", env.close)
            guard.close()
        return adapter.names[numbers : numbers + len(texts)] or texts

    def _usual(self, env: gymnasium.Env[Any, Any], name: str) -> float:
        attribute = self.adapter.exogenous[name].attribute
        value = getattr(env.unwrapped, attribute, None)
        if not isinstance(value, int | float | np.number) or isinstance(value, bool):
            there = f"is {value!r:.40}" if hasattr(env.unwrapped, attribute) else "is not there"
            raise SpecError(
                f"exogenous {name}: the environment's attribute {attribute!r} {there}; give it a number as soon as the"
                " environment is made, in the class or in __init__"
            )
        return float(value)

    @property
    def examples(self) -> tuple[tuple[str, str, str], ...]:
        """Few-shot examples for the language model: (scene, goal, plan text), of made-up worlds and then the adapter's.

        The scene of the adapter's own is left open.
        """
        from gedanken.worlds.schema_goals import examples  # which describes made-up worlds as this module does

        return (*examples(), *(("", example.goal, example.plan) for example in self.adapter.examples))

    def in_actions(self, goal: str) -> str:
        """Return a goal with its spans of time in actions. Raises SpecError where nobody knows how long one takes."""
        if self.adapter.lasts is None:
            if spoken := spans(goal):
                raise SpecError(
                    f"{self.id} does not say how long an action takes, so {spoken[0]!r} means nothing to it; say it in "
                    "actions, or give its adapter a key such as lasts = '30 min'"
                )
            return goal
        try:
            return in_actions(goal, seconds(self.adapter.lasts))
        except ValueError as error:
            raise SpecError(f"{self.id}: {error}") from error

    def make(self, render_mode: str | None = None, *, free: bool = False) -> GymEnv:
        """Make the environment; `free` takes its step limit away."""
        return GymEnv(self, render_mode, free=free)

    def observation(self, raw: Any) -> Observation:
        """Return the numbers ``[variables]``, and after them the pixels where there is a picture."""
        return np.asarray(raw, np.float32)

    def mission(self, raw: Any) -> str:
        """Return nothing: a reward is no mission in words."""
        return ""

    def begin_goal(self, env: gymnasium.Env[Any, Any]) -> None:
        """Do nothing: objectives speak of no places."""

    def watch(self, env: gymnasium.Env[Any, Any], steps: Sequence[Step]) -> Sequence[ObjectiveWatch]:
        """Return one watch per step; what the steps before it ask to avoid is watched with it."""
        if not isinstance(env, GymEnv):
            raise SpecError(f"{env!r} was not made by GymWorld.make")
        return [
            ObjectiveWatch(env, objective_of(self.spec, step), standing(self.spec, steps[: k + 1]))
            for k, step in enumerate(steps)
        ]

    def describe(self, observation: Observation, agent: tuple[int, ...] = ()) -> str:
        """Say the value of every variable and named expression that is told of, with its unit."""
        return describe(self.spec.vector, observation, self.adapter.told)

    def check(self) -> None:
        """Try the environment for some episodes. Raises WorldError for what it does wrong.

        It must replay from its seed, show finite numbers of its space's shape, go on for more than one action, and
        leave the inputs that nobody controls as they were set.
        """
        env = self.make()
        try:
            first, again = self._life(env), self._life(env)
            if not np.array_equal(first, again):
                does = "go on" if np.array_equal(first[0], again[0]) else "begin"
                raise WorldError(
                    f"{self.id} does not {does} the same way twice with one seed, so nothing can be done again; let its"
                    " reset(seed=…) call super().reset(seed=seed), set back all that changes, and draw from"
                    " self.np_random only"
                )
            for name, given in self.adapter.exogenous.items():
                env.reset(seed=0, options={"exogenous": {name: given.high}})
                if not np.isclose(env.values[name], given.high):
                    raise WorldError(
                        f"{self.id}: {name} was set to {given.high:g}, and is {env.values[name]:g} after the reset; let"
                        f" reset leave {given.attribute} as it is: episodes draw it from low to high"
                    )
            longest, rng = 0, np.random.default_rng(0)
            for seed in range(PROBES):
                env.reset(seed=seed)
                for taken in range(1, ACTIONS + 1):
                    over = any(env.step(random_action(self.spec, rng))[2:4])
                    longest = max(longest, taken)
                    if over:
                        break
            if longest == 1:
                raise WorldError(f"{self.id} ends after its first action, {PROBES} times out of {PROBES}")
        finally:
            env.close()

    def _life(self, env: GymEnv) -> list[NDArray[np.float32]]:
        """Return what a seed and some actions, always the same, lead to."""
        rng, seen = np.random.default_rng(0), [env.reset(seed=0)[0]]
        for _ in range(REPEATED):
            view, _, terminated, truncated, _ = env.step(random_action(self.spec, rng))
            seen.append(view)
            if terminated or truncated:
                break
        return seen


def describe(field: VectorField, observation: Observation, names: Sequence[str] = ()) -> str:
    """Say the value of every variable ``[variables]`` and named expression, or of those named, with its unit."""
    units = {variable.name: variable.unit for variable in field.variables}
    values = field.values(np.asarray(observation, np.float64), np.asarray(0.0))
    words = [
        f"{name} {field.spelled(name, values[name])} {units.get(name, '')}".strip()
        for name in names or field.names[:-1]
    ]
    return f"{', '.join(words)}." if words else "A picture, of which nothing is told in numbers."


def random_action(spec: WorldSpec, rng: np.random.Generator) -> Any:
    """Draw a discrete action's number, or controls ``[A]`` within their bounds."""
    if not spec.controls:
        return int(rng.integers(len(spec.actions)))
    low, high = (np.array([getattr(axis, side) for axis in spec.controls]) for side in ("low", "high"))
    return rng.uniform(low, high).astype(np.float32)


def _make(guard: Guard, adapter: Adapter, render_mode: str | None, free: bool) -> gymnasium.Env[Any, Any]:
    more: dict[str, Any] = {"max_episode_steps": -1} if free else {}
    if render_mode is not None:  # who draws nothing need not know of it
        more["render_mode"] = render_mode

    def make() -> gymnasium.Env[Any, Any]:
        made: gymnasium.Env[Any, Any] = gymnasium.make(
            adapter.environment, disable_env_checker=True, **more, **adapter.arguments
        )
        return made

    try:
        return guard(f"making {adapter.environment!r}", make)
    except WorldError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise WorldError(f"{error} Run this where the module lies, with PYTHONPATH=. set") from error
        raise


def _parts(id: str, what: str, answer: Any, want: int) -> tuple[Any, ...]:
    if not isinstance(answer, tuple) or len(answer) != want:
        got = f"{len(answer)} values" if isinstance(answer, tuple) else f"a {type(answer).__name__}"
        raise WorldError(f"{id}: {what} returned {got}; in Gymnasium's interface it returns {want} values")
    return answer


def _number(id: str, what: str, value: Any) -> float:
    one = np.ravel(value)[0] if np.size(value) == 1 else None
    if not isinstance(one, _NUMBERS) or not np.isfinite(one):
        raise WorldError(f"{id}: {what} is {value!r:.40}; it must be a finite number")
    return float(one)
