"""Practice episodes: a demonstrator pursues random steps, now and then jostled by random actions. Knows no model."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import gymnasium
import numpy as np

from gedanken.worldmodel.episode import EXPERT, Episode
from gedanken.worlds.protocol import World
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
    """

    missions: float = 0.25
    steps: int = 4
    patience: int = 48
    jostled: float = 0.6
    jostle: tuple[float, float] = (0.05, 0.4)


@dataclass
class _Log:
    observations: list[np.ndarray] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    origin: list[int] = field(default_factory=list)
    step_index: list[int] = field(default_factory=list)
    expert: list[int] = field(default_factory=list)
    achieved: list[bool] = field(default_factory=list)


def demonstrate(world: World, env: gymnasium.Env, seed: int, practice: Practice) -> Episode:
    """Play one practice episode. `env` was made by `world`; `seed` fixes everything."""
    rng = np.random.default_rng(seed)
    raw, _ = env.reset(seed=seed)
    log = _Log(observations=[world.observation(raw)])
    noise = rng.uniform(*practice.jostle) if rng.random() < practice.jostled else 0.0
    own_mission = bool(world.mission(raw))
    known, over = None, False
    rounds = 1 if own_mission else int(rng.integers(2, practice.steps + 1))
    for _ in range(rounds):
        world.begin_goal(env)
        started = len(log.actions)
        for step in world.mission_steps(env) if own_mission else world.sample_steps(env, rng):
            over, achieved, known = _pursue(world, env, step, started, log, rng, noise, practice.patience, known)
            if over or not achieved:
                break
        if over:
            break
    return Episode(
        world=world.id,
        spec_hash=world.spec.hash,
        seed=seed,
        source=EXPERT,
        goal=world.mission(raw),
        observations=np.stack(log.observations),
        actions=np.array(log.actions, np.uint8),
        rewards=np.array(log.rewards, np.float32),
        terminated=over,
        steps=tuple(log.steps),
        step_index=np.array(log.step_index, np.int16),
        origin=np.array(log.origin, np.int16),
        expert=np.array(log.expert, np.int8),
        achieved=np.array(log.achieved, np.bool_),
    )


def _pursue(world, env, step: Step, started: int, log: _Log, rng, noise: float, patience: int, known):  # type: ignore[no-untyped-def]
    """Pursue one step; return whether the episode is over, whether it was achieved, and the cells seen so far."""
    (watch,), expert = world.watch(env, [step]), world.expert(env, step, known)
    log.steps.append(str(step))
    log.origin.append(started)
    action, mission = None, world.mission
    for _ in range(patience):
        advice = expert.advise(action)
        if advice is None:
            break
        action = int(rng.integers(len(world.spec.actions))) if rng.random() < noise else advice
        raw, reward, terminated, truncated, _ = env.step(action)
        achieved = watch.achieved(action)
        log.observations.append(world.observation(raw))
        log.actions.append(action)
        log.rewards.append(float(reward))
        log.step_index.append(len(log.steps) - 1)
        log.expert.append(advice)
        log.achieved.append(achieved)
        if terminated or truncated:
            return True, achieved, None
        if achieved:
            return False, True, expert.known
    return False, False, None if expert.gave_up else expert.known


def practise(
    make: Callable[[str], World], levels: Sequence[tuple[str, float]], seeds: range, practice: Practice, workers: int = 1
) -> Iterator[Episode]:
    """Yield one practice episode per seed, in parallel processes; `levels` are (world id, weight)."""
    if seeds.start < FIRST_TRAINING_SEED:
        raise ValueError(f"training seeds start at {FIRST_TRAINING_SEED}, got {seeds.start}: those below are for evals")
    chunks = [(make, tuple(levels), seeds[i : i + 100], practice) for i in range(0, len(seeds), 100)]
    if workers == 1:
        for chunk in chunks:
            yield from _chunk(chunk)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for episodes in pool.imap(_chunk, chunks):
            yield from episodes


_ENVIRONMENTS: dict[tuple[str, bool], tuple[World, gymnasium.Env]] = {}


def _chunk(work) -> list[Episode]:  # type: ignore[no-untyped-def]
    make, levels, seeds, practice = work
    episodes = []
    names, weights = [name for name, _ in levels], np.array([weight for _, weight in levels], float)
    for seed in seeds:
        rng = np.random.default_rng((seed, 1))
        key = (names[rng.choice(len(names), p=weights / weights.sum())], bool(rng.random() >= practice.missions))
        if key not in _ENVIRONMENTS:
            world = make(key[0])
            _ENVIRONMENTS[key] = world, world.make(free=key[1])
        world, env = _ENVIRONMENTS[key]
        episode = demonstrate(world, env, int(seed), practice)
        if len(episode):
            episodes.append(episode)
    return episodes
