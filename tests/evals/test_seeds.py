"""What evaluations rely on: everything that makes training data refuses the evaluations' seeds."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gedanken.agent import recipe
from gedanken.agent.added import keep_learned
from gedanken.agent.goal_practice import listen
from gedanken.agent.plan_learning import try_goals
from gedanken.agent.plan_practice import Practice as PlanPractice
from gedanken.agent.recipes import debug
from gedanken.evals.control_learning import REWARD, world_of
from gedanken.evals.suite import SEEDS_PER_RUN, evaluation_seeds
from gedanken.worldmodel.adapt import own_episodes
from gedanken.worldmodel.aggregate import aggregate
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worldmodel.ensemble import SIZES, EnsembleModel
from gedanken.worldmodel.trying import POLICIES, Apprentice, TryConfig, try_out
from gedanken.worlds.babyai import BabyAIWorld
from gedanken.worlds.babyai_shifts import ShiftedWorld

LEVELS = [("BabyAI-GoToObj-v0", 1.0)]
LAST = evaluation_seeds(FIRST_TRAINING_SEED // SEEDS_PER_RUN - 1, SEEDS_PER_RUN)[-1:]


def practice(trained: Trained, seeds: range) -> Iterator[Any]:
    return practise(BabyAIWorld, LEVELS, seeds, Practice())


def correction(trained: Trained, seeds: range) -> Iterator[Any]:
    return aggregate(BabyAIWorld, LEVELS, seeds, trained.controller, Practice(), batch=1)


def goals(trained: Trained, seeds: range) -> Iterator[Any]:
    return iter(listen(BabyAIWorld, [name for name, _ in LEVELS], seeds))


def calibration(trained: Trained, seeds: range) -> Iterator[Any]:
    critic: Any = None  # refused before it is asked
    config = debug(suite=tuple(name for name, _ in LEVELS), futures=1)
    recipe.calibrate(critic, trained.controller, BabyAIWorld, config, seeds)
    yield None


def own_plans(trained: Trained, seeds: range) -> Iterator[Any]:
    agent: Any = None  # refused before it acts
    return try_goals(agent, BabyAIWorld, [name for name, _ in LEVELS], seeds)


def shifted(trained: Trained, seeds: range) -> Iterator[Any]:
    return own_episodes(ShiftedWorld, "BabyAI-GoToObj-v0+swapped-turns", seeds, trained.controller)


@pytest.mark.parametrize("make", [practice, correction, goals, calibration, own_plans, shifted])
def test_evaluation_seeds_are_refused(make: Callable[[Trained, range], Iterator[Any]], trained: Trained) -> None:
    for seeds in (range(1), LAST, range(FIRST_TRAINING_SEED - 1, FIRST_TRAINING_SEED + 5)):
        with pytest.raises(ValueError, match=f"training seeds start at {FIRST_TRAINING_SEED}"):
            next(make(trained, seeds))


@pytest.mark.parametrize("make", [practice, correction])
def test_the_first_training_seed_is_taken(make: Callable[[Trained, range], Iterator[Any]], trained: Trained) -> None:
    assert next(make(trained, range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 3))).seed >= FIRST_TRAINING_SEED


def test_a_planner_is_taught_in_training_environments_only() -> None:
    for seed in (0, 19, 140):
        lessons = PlanPractice(BabyAIWorld, ("BabyAI-GoToObj-v0",), seed=seed)
        drawn = [lessons.env_seed(index, turn) for index in (0, 10**6, 10**9) for turn in (0, 39)]
        assert all(FIRST_TRAINING_SEED <= number < 1 << 31 for number in drawn)


def test_a_world_of_numbers_is_tried_in_training_environments_and_what_else_was_lived_is_noted(tmp_path: Path) -> None:
    world = world_of("CartPole-v1")
    config = TryConfig(
        steps=40, random=20, every=20, then=1, explored=0.0, rounds=1, policy=POLICIES["debug"], foretold=0
    )
    apprentice = Apprentice(EnsembleModel(world.spec, SIZES["debug"]), world.spec.parse_plan(REWARD), config)
    tried = [one.episode for one in try_out(world, apprentice)]
    assert min(episode.seed for episode in tried) == FIRST_TRAINING_SEED
    persons = [*tried, replace(tried[0], seed=7)]
    assert keep_learned(apprentice, persons, tmp_path / "pole", {}).card["seen"] == {"CartPole-v1": [7]}
