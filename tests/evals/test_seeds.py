"""What evaluations rely on: everything that makes training data refuses the evaluations' seeds."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gedanken.agent import recipe
from gedanken.agent.goal_practice import listen
from gedanken.agent.recipes import debug
from gedanken.evals.suite import SEEDS_PER_RUN, evaluation_seeds
from gedanken.worldmodel.aggregate import aggregate
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worlds.babyai import BabyAIWorld

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


@pytest.mark.parametrize("make", [practice, correction, goals, calibration])
def test_evaluation_seeds_are_refused(make: Callable[[Trained, range], Iterator[Any]], trained: Trained) -> None:
    for seeds in (range(1), LAST, range(FIRST_TRAINING_SEED - 1, FIRST_TRAINING_SEED + 5)):
        with pytest.raises(ValueError, match=f"training seeds start at {FIRST_TRAINING_SEED}"):
            next(make(trained, seeds))


@pytest.mark.parametrize("make", [practice, correction])
def test_the_first_training_seed_is_taken(make: Callable[[Trained, range], Iterator[Any]], trained: Trained) -> None:
    assert next(make(trained, range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 3))).seed >= FIRST_TRAINING_SEED
