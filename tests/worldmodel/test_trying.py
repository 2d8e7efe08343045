"""Learning by trying: what was cut off comes to the same."""

import itertools

import numpy as np
import pytest
import torch

from gedanken.worldmodel.ensemble import SIZES, EnsembleModel
from gedanken.worldmodel.search import SearchConfig
from gedanken.worldmodel.trying import POLICIES, Acting, Apprentice, TryConfig, pursue, try_out
from gedanken.worlds.gym_world import GymWorld

WORLD = GymWorld("CartPole-v1")
PLAN = WORLD.spec.parse_plan("maximize(reward, for 9999)")
QUICK = TryConfig(
    steps=180,
    random=20,
    explored=0.3,
    every=40,
    first=5,
    then=2,
    policy=POLICIES["debug"],
    rounds=2,
    search=SearchConfig(horizon=2, candidates=6, futures=3, rounds=1),
    foretold=0,
)


def apprentice(acting: Acting) -> Apprentice:
    torch.manual_seed(5)
    return Apprentice(EnsembleModel(WORLD.spec, SIZES["debug"]), PLAN, QUICK.model_copy(update={"acting": acting}))


@pytest.mark.parametrize("acting", ["policy", "search"])
def test_a_learning_that_was_cut_off_comes_to_the_same(acting: Acting) -> None:
    whole = apprentice(acting)
    lived = list(try_out(WORLD, whole))
    assert len(lived) >= 4 and lived[-1].episode.source == "agent"
    for taken in (1, len(lived) - 1):
        first = [tried.episode for tried in itertools.islice(try_out(WORLD, apprentice(acting)), taken)]
        resumed = apprentice(acting)
        rest = [tried.episode for tried in try_out(WORLD, resumed, first)]
        for one, other in zip(lived, [*first, *rest], strict=True):
            assert one.episode.seed == other.seed and np.array_equal(one.episode.actions, other.actions)
        for mine, theirs in zip([whole.model, *whole.policies], [resumed.model, *resumed.policies], strict=True):
            for name, value in mine.state_dict().items():  # type: ignore[union-attr]
                assert torch.equal(value, theirs.state_dict()[name]), name  # type: ignore[union-attr]


@pytest.mark.parametrize("acting", ["policy", "search"])
def test_an_episode_does_not_depend_on_what_was_drawn_before(acting: Acting) -> None:
    new, env = apprentice(acting), WORLD.make()
    new.learn([pursue(WORLD, env, PLAN, 2, None, np.random.default_rng(2)).episode], 0)
    lived = []
    for before in (1, 2):
        torch.manual_seed(before)
        lived.append(pursue(WORLD, env, PLAN, 3, new.actor(), np.random.default_rng(3)).episode.actions.tolist())
        assert torch.initial_seed() == before
    assert lived[0] == lived[1]
