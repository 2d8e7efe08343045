"""Plan sets hold the right plan and ones that are wrong in known ways."""

from collections import Counter

import numpy as np
import pytest
import torch

from gedanken.agent.situations import (
    KINDS,
    MORE_KINDS,
    RIGHT,
    first_beliefs,
    make_plans,
    situations,
)
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.spatial import SIZES, SpatialModel
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.spec import Plan

LEVELS = [f"BabyAI-{name}-v0" for name in ("GoToLocal", "PutNextLocal", "UnlockLocalDist", "PickupLoc")]


@pytest.fixture(scope="module")
def controller() -> Controller:
    torch.manual_seed(0)
    return Controller(SpatialModel(SPEC, SIZES["debug"]))


def plan(text: str) -> Plan:
    return SPEC.parse_plan(text)


def test_a_set_holds_the_right_plan_once_and_wrong_ones_that_parse() -> None:
    found = list(situations(BabyAIWorld, LEVELS, range(40), size=7))
    assert [s.world for s in found[:4]] == LEVELS
    kinds = Counter(kind for s in found for kind in s.kinds)
    assert kinds[RIGHT] == len(found) and set(kinds) == {RIGHT, *KINDS}
    assert len({s.kinds.index(RIGHT) for s in found}) > 1, "its place gives nothing away"
    for situation in found:
        assert 3 <= len(set(situation.plans)) == len(situation.plans) <= 7
        assert all(plan(str(p)) == p for p in situation.plans)
    again = situations(BabyAIWorld, LEVELS, range(40), size=7)
    assert [(s.goal, s.plans, s.kinds) for s in found] == [(s.goal, s.plans, s.kinds) for s in again]


def test_a_locked_door_gives_plans_without_its_key_and_with_another() -> None:
    world = BabyAIWorld("BabyAI-UnlockLocalDist-v0")
    env = world.make()
    env.reset(seed=5)
    right = world.mission_steps(env)
    assert [step.skill for step in right] == ["pick_up", "open"]
    made = dict(make_plans(world, env, np.random.default_rng(0), size=60))
    by_kind = {kind: [p for p, k in made.items() if k == kind] for kind in made.values()}
    assert Plan(steps=right[1:]) in by_kind["prerequisite missing"]
    assert Plan(steps=right[:1]) in by_kind["step missing"]
    assert Plan(steps=right[::-1]) in by_kind["wrong order"]
    assert all(p.steps[1] == right[1] and p.steps[0] != right[0] for p in by_kind["wrong prerequisite"])


def test_arguments_are_swapped_and_more_kinds_can_be_had() -> None:
    world = BabyAIWorld("BabyAI-PutNextLocal-v0")
    env = world.make()
    env.reset(seed=5)
    (step,) = world.mission_steps(env)
    made = dict(make_plans(world, env, np.random.default_rng(0), size=200, kinds=MORE_KINDS))
    swapped = Plan(steps=(step.model_copy(update={"arguments": step.arguments[::-1]}),))
    assert made[swapped] == "wrong order"
    assert {"said otherwise", "step too many"} <= set(made.values())
    assert made[plan(f"pick_up({' '.join(w for w in step.arguments[0] if w)})")] == "step missing"


def test_first_beliefs_are_those_of_filtering_one_by_one(controller: Controller) -> None:
    found = list(situations(BabyAIWorld, LEVELS, range(4)))
    many = first_beliefs(controller.model, [s.observation for s in found])
    one = first_beliefs(controller.model, [found[2].observation])
    assert torch.equal(vars(many)["seen"][2:3], vars(one)["seen"])
    added = found[0].with_plans([found[0].plans[0], plan("open(red door)")], "mine")
    assert added.kinds[-1] == "mine" and len(added.plans) == len(found[0].plans) + 1
