"""Practice episodes: a demonstrator pursues random steps, now and then jostled by random actions. Knows no model."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gedanken.worldmodel.episode import EXPERT, STANDSTILL, Episode
from gedanken.worlds.protocol import DemonstratedWorld, Expert, Observation
from gedanken.worlds.spec import Step

FIRST_TRAINING_SEED = 1 << 30
"""Training seeds start here; evaluation seeds lie below, so that the two never meet."""


@dataclass(frozen=True)
class Practice:
    """How practice episodes are made.

    Attributes:
        missions: share of episodes that pursue the environment's own mission and end with it.
        steps: most practice steps pursued in the others.
        patience: most actions per step.
        jostled: share of episodes in which actions are replaced by random ones now and then.
        jostle: range of the share of actions so replaced.
        hindered: share of episodes that begin with something in the way, where the world knows how to put it there.
        standstill: actions in a row that change nothing in view, after which a step is given up.
        advised: whether the demonstrator says what it would do.
    """

    missions: float = 0.25
    steps: int = 4
    patience: int = 48
    hindered: float = 0.0
    standstill: int = STANDSTILL
    jostled: float = 0.6
    jostle: tuple[float, float] = (0.05, 0.4)
    advised: bool = True


@dataclass(frozen=True)
class Turn:
    """What an actor is asked at one moment of a practice episode."""

    observation: Observation
    step: Step
    goal_begins: bool
    step_begins: bool
    advice: int


class Silent:
    """Advises nothing, as where nobody demonstrates, and never gives up."""

    gave_up = False
    known = np.zeros((0, 0), np.bool_)

    def advise(self, action_taken: int | None) -> int:
        """Return what stands for no advice, see `Episode`."""
        return -1


Play = Generator[Turn, int, Episode]
"""A practice episode that yields turns, is sent actions, and returns the episode."""


def play(
    world: DemonstratedWorld,
    env: gymnasium.Env[Any, Any],
    seed: int,
    practice: Practice,
    rng: np.random.Generator,
    source: str = EXPERT,
) -> Play:
    """Play one practice episode: the mission's steps, or a few rounds of steps drawn from what is there."""
    raw, _ = env.reset(seed=seed, options={"hindered": bool(rng.random() < practice.hindered)})
    record = _Record(observations=[world.observation(raw)])
    own_mission = bool(world.mission(raw))
    known, over = None, False
    for _ in range(1 if own_mission else int(rng.integers(2, practice.steps + 1))):
        world.begin_goal(env)
        started = len(record.actions)
        for step in world.mission_steps(env) if own_mission else world.sample_steps(env, rng):
            over, achieved, known = yield from _pursue(world, env, step, started, record, practice, known)
            if over or not achieved:
                break
        if over:
            break
    return Episode(
        world=world.id,
        spec_hash=world.spec.hash,
        seed=seed,
        source=source,
        goal=world.mission(raw),
        observations=np.stack(record.observations),
        actions=np.array(record.actions, np.uint8),
        rewards=np.array(record.rewards, np.float32),
        terminated=record.terminated,
        steps=tuple(record.steps),
        step_index=np.array(record.step_index, np.int16),
        origin=np.array(record.origin, np.int16),
        expert=np.array(record.expert, np.int8),
        achieved=np.array(record.achieved, np.bool_),
    )


@dataclass
class _Record:
    observations: list[Observation] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    origin: list[int] = field(default_factory=list)
    step_index: list[int] = field(default_factory=list)
    expert: list[int] = field(default_factory=list)
    achieved: list[bool] = field(default_factory=list)
    terminated: bool = False


Cells = NDArray[np.bool_] | None


def _pursue(
    world: DemonstratedWorld,
    env: gymnasium.Env[Any, Any],
    step: Step,
    started: int,
    record: _Record,
    practice: Practice,
    known: Cells,
) -> Generator[Turn, int, tuple[bool, bool, Cells]]:
    """Pursue one step; return whether the episode is over, whether the step was achieved, and the cells seen so far."""
    (watch,) = world.watch(env, [step])
    expert: Expert = world.expert(env, step, known) if practice.advised else Silent()
    record.steps.append(str(step))
    record.origin.append(started)
    action: int | None = None
    still = 0
    for _ in range(practice.patience):
        advice = expert.advise(action)
        if advice is None:
            break
        begins = action is None
        action = yield Turn(record.observations[-1], step, len(record.actions) == started, begins, advice)
        raw, reward, terminated, truncated, _ = env.step(action)
        achieved = watch.achieved(action)
        record.observations.append(world.observation(raw))
        record.actions.append(action)
        record.rewards.append(float(reward))
        record.step_index.append(len(record.steps) - 1)
        record.expert.append(advice)
        record.achieved.append(achieved)
        record.terminated = terminated
        if terminated or truncated:
            return True, achieved, None
        if achieved:
            return False, True, expert.known
        still = still + 1 if np.array_equal(record.observations[-2], record.observations[-1]) else 0
        if still >= practice.standstill:
            break
    return False, False, None if expert.gave_up else expert.known


def demonstrate(world: DemonstratedWorld, env: gymnasium.Env[Any, Any], seed: int, practice: Practice) -> Episode:
    """Let the demonstrator play one episode, jostled now and then; `seed` fixes everything.

    Raises ValueError where it is not to advise.
    """
    if not practice.advised:
        raise ValueError("where the demonstrator says nothing, it plays no episodes")
    rng = np.random.default_rng(seed)
    noise = rng.uniform(*practice.jostle) if rng.random() < practice.jostled else 0.0
    episode = play(world, env, seed, practice, rng)
    try:
        turn = next(episode)
        while True:
            random = rng.random() < noise
            turn = episode.send(int(rng.integers(len(world.spec.actions))) if random else turn.advice)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def refuse_evaluation_seeds(seeds: Sequence[int]) -> None:
    """Raise ValueError where a seed is kept for evaluation."""
    if seeds and min(seeds) < FIRST_TRAINING_SEED:
        raise ValueError(f"training seeds start at {FIRST_TRAINING_SEED}, got {min(seeds)}: those below are for evals")


def practise(
    make: Callable[[str], DemonstratedWorld],
    levels: Sequence[tuple[str, float]],
    seeds: Sequence[int],
    practice: Practice,
    workers: int = 1,
) -> Iterator[Episode]:
    """Yield one practice episode per seed, in parallel processes; `levels` are (world id, weight)."""
    refuse_evaluation_seeds(seeds)
    chunks = [(make, tuple(levels), seeds[i : i + 100], practice) for i in range(0, len(seeds), 100)]
    if workers == 1:
        for chunk in chunks:
            yield from _chunk(chunk)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for episodes in pool.imap(_chunk, chunks):
            yield from episodes


class Levels:
    """Environments of several levels, one drawn for each seed by the levels' weights, and kept for the next."""

    def __init__(
        self, make: Callable[[str], DemonstratedWorld], levels: Sequence[tuple[str, float]], practice: Practice
    ) -> None:
        self._make, self._practice = make, practice
        self._names = [name for name, _ in levels]
        weights = np.array([weight for _, weight in levels], float)
        self._weights = weights / weights.sum()
        self._idle: dict[tuple[str, bool], list[tuple[DemonstratedWorld, gymnasium.Env[Any, Any]]]] = {}

    def take(self, seed: int) -> tuple[tuple[str, bool], DemonstratedWorld, gymnasium.Env[Any, Any]]:
        """Return the key, the world and an environment for a seed; give it back with `back`."""
        rng = np.random.default_rng((seed, 1))
        key = (
            self._names[rng.choice(len(self._names), p=self._weights)],
            bool(rng.random() >= self._practice.missions),
        )
        if self._idle.get(key):
            return key, *self._idle[key].pop()
        world = self._make(key[0])
        return key, world, world.make(free=key[1])

    def back(self, key: tuple[str, bool], world: DemonstratedWorld, env: gymnasium.Env[Any, Any]) -> None:
        """Take an environment back for later."""
        self._idle.setdefault(key, []).append((world, env))


_LEVELS: dict[Any, Levels] = {}


def _chunk(
    work: tuple[Callable[[str], DemonstratedWorld], tuple[tuple[str, float], ...], Sequence[int], Practice],
) -> list[Episode]:
    make, names, seeds, practice = work
    levels = _LEVELS.setdefault((make, names, practice), Levels(make, names, practice))
    episodes = []
    for seed in seeds:
        taken = levels.take(seed)
        episode = demonstrate(*taken[1:], seed, practice)
        levels.back(*taken)
        if len(episode):
            episodes.append(episode)
    return episodes
