"""What goals mean, from what really happened: a demonstrator carries plans out under many goals' verifiers at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from gedanken.worldmodel.collect import refuse_evaluation_seeds
from gedanken.worlds.protocol import PracticeWorld
from gedanken.worlds.spec import MAX_STEPS, Plan, Step

PATIENCE = 64
"""Most actions that the demonstrator spends on one step."""


@dataclass(frozen=True)
class Heard:
    """One plan that was carried out to its end, and for each of several goals whether that met it."""

    plan: Plan
    goals: tuple[str, ...]
    met: tuple[bool, ...]


def listen(
    make_world: Callable[[str], PracticeWorld],
    worlds: Sequence[str],
    seeds: range,
    *,
    goals: int = 10,
    foreign: int = 2,
) -> Iterator[Heard]:
    """Yield what happened, one plan per seed, the levels taking turns; plans that fail on the way are left out.

    Raises ValueError for seeds that are kept for evaluation.
    """
    refuse_evaluation_seeds(seeds)
    made = [make_world(name) for name in worlds]
    environments = [world.make(free=True) for world in made]
    for turn, seed in enumerate(seeds):
        world, env = made[turn % len(made)], environments[turn % len(made)]
        heard = _listen_once(world, env, seed, goals, foreign)
        if heard:
            yield heard


def _listen_once(
    world: PracticeWorld, env: gymnasium.Env[Any, Any], seed: int, goals: int, foreign: int
) -> Heard | None:
    rng = np.random.default_rng((seed, 3))
    env.reset(seed=seed)
    world.begin_goal(env)
    drawn = world.practice_goals(env, rng, goals)
    if not drawn:
        return None
    steps = list(drawn[int(rng.integers(len(drawn)))].steps)
    if rng.random() < 0.15:
        steps.insert(int(rng.integers(len(steps) + 1)), *world.sample_steps(env, rng)[:1])
    performed: list[Step] = []
    for step in steps:
        for part in (*world.prerequisites(env, step), step):
            if not _carry_out(world, env, part, drawn):
                return None
            performed.append(part)
    if len(performed) > MAX_STEPS:
        return None
    texts = [goal.text for goal in drawn] + [world.unmet_goal(rng, "training") for _ in range(foreign)]
    met = [goal.met for goal in drawn] + [False] * foreign
    return Heard(Plan(steps=tuple(performed)), tuple(texts), tuple(met))


def _carry_out(world: PracticeWorld, env: gymnasium.Env[Any, Any], step: Step, goals: Sequence[Any]) -> bool:
    (watch,), expert, action = world.watch(env, [step]), world.expert(env, step), None
    for _ in range(PATIENCE):
        action = expert.advise(action)
        if action is None:
            return False
        env.step(action)
        for goal in goals:
            goal.update(action)
        if watch.achieved(action):
            return True
    return False
