"""Learning by trying: what was cut off comes to the same."""

import itertools
from typing import cast

import numpy as np
import torch

from gedanken.worldmodel.ensemble import SIZES, EnsembleModel
from gedanken.worldmodel.protocol import VectorDynamics
from gedanken.worldmodel.search import Search, SearchConfig
from gedanken.worldmodel.trying import TryConfig, pursue, try_out
from gedanken.worlds.gym_world import GymWorld

WORLD = GymWorld("CartPole-v1")
PLAN = WORLD.spec.parse_plan("maximize(reward, for 9999)")
QUICK = TryConfig(
    steps=60, random=20, first=5, then=2, search=SearchConfig(horizon=2, candidates=6, futures=3, rounds=1), foretold=0
)


def untrained() -> EnsembleModel:
    torch.manual_seed(5)
    return EnsembleModel(WORLD.spec, SIZES["debug"])


def test_a_learning_that_was_cut_off_comes_to_the_same() -> None:
    whole = untrained()
    lived = list(try_out(WORLD, whole, PLAN, QUICK))
    assert len(lived) >= 3 and lived[-1].episode.source == "agent"
    for taken in (1, len(lived) - 1):
        first = [tried.episode for tried in itertools.islice(try_out(WORLD, untrained(), PLAN, QUICK), taken)]
        resumed = untrained()
        rest = [tried.episode for tried in try_out(WORLD, resumed, PLAN, QUICK, first)]
        for one, other in zip(lived, [*first, *rest], strict=True):
            assert one.episode.seed == other.seed and np.array_equal(one.episode.actions, other.actions)
        for name, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), name


def test_an_episode_does_not_depend_on_what_was_drawn_before() -> None:
    search, env = Search(cast(VectorDynamics, untrained()), QUICK.search), WORLD.make()
    lived = []
    for before in (1, 2):
        torch.manual_seed(before)
        lived.append(pursue(WORLD, env, PLAN, 3, search, np.random.default_rng(3)).episode.actions.tolist())
        assert torch.initial_seed() == before
    assert lived[0] == lived[1]
