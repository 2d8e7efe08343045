import itertools

import pytest

from gedanken.agent.goal_practice import Heard, listen
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.babyai_wordings import wordings
from gedanken.worlds.spec import MAX_STEPS

LEVELS = ("BabyAI-PickupLoc-v0", "BabyAI-UnlockLocal-v0")


def some(n: int, skip: int = 0) -> list[Heard]:
    seeds = range(FIRST_TRAINING_SEED + skip, FIRST_TRAINING_SEED + skip + n)
    return list(listen(BabyAIWorld, LEVELS, seeds, goals=6, foreign=2))


def test_plans_meet_some_of_their_goals_and_never_a_foreign_one() -> None:
    heard = some(30)
    assert len(heard) >= 15
    for item in heard:
        assert len(item.goals) == len(item.met) == 8 and not any(item.met[6:])
        assert 1 <= len(item.plan.steps) <= MAX_STEPS and SPEC.parse_plan(str(item.plan)) == item.plan
    assert sum(any(item.met) for item in heard) >= 0.9 * len(heard)
    assert 0.1 < sum(sum(item.met) for item in heard) / sum(len(item.met) for item in heard) < 0.7
    plans = {str(item.plan.steps[0]).partition("(")[0] for item in heard}
    assert len(plans) >= 3


def test_what_is_heard_follows_from_its_seed() -> None:
    assert some(10)[-1] == some(4, skip=6)[-1]


def test_evaluation_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="training seeds start at"):
        next(listen(BabyAIWorld, LEVELS, range(FIRST_TRAINING_SEED - 1, FIRST_TRAINING_SEED)))


def test_goals_are_said_in_training_wordings_and_never_in_those_of_the_test() -> None:
    texts = [f" {text.lower()} " for item in some(40) for text in item.goals[:6]]  # the others are foreign
    said = dict.fromkeys(("training", "test"), 0)
    for split, name in itertools.product(said, ("colours", "kinds")):
        words = [word for values in getattr(wordings(split), name).values() for word in values]  # type: ignore[arg-type]
        said[split] += sum(f" {word} " in text for text in texts for word in words if word != "gray")
    assert said["training"] > 20 and not said["test"]
    assert not any("not touch" in text or "don't" in text for text in texts), "no verifier knows what must not be done"
