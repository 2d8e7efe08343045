import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from minigrid.core.world_object import Ball, Box, Key

from gedanken.worlds import babyai_goals
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.babyai_env import BabyAIEnv
from gedanken.worlds.babyai_goals import VERBS, Clause, Goal
from gedanken.worlds.babyai_wordings import wordings

Room = Callable[..., BabyAIEnv]
CarryOut = Callable[..., list[int]]


def goal(env: BabyAIEnv, *steps: str, order: str = "then", seed: int = 0) -> Goal:
    return Goal(env, [Clause((SPEC.parse_step(s),)) for s in steps], order, np.random.default_rng(seed))


@pytest.fixture
def env(room: Room) -> BabyAIEnv:
    return room({(5, 3): Ball("red"), (5, 6): Key("blue"), (3, 1): Box("grey")})


def perform(env: BabyAIEnv, goals: list[Goal], carry_out: CarryOut, *steps: str) -> list[bool]:
    for step in steps:
        carry_out(env, step, lambda action: [g.update(action) for g in goals])
    return [g.met for g in goals]


def test_a_goal_is_met_by_its_own_steps_and_no_other(env: BabyAIEnv, carry_out: CarryOut) -> None:
    texts = ["pick_up(red ball)", "pick_up(blue key)", "go_to(grey box)", "put_next_to(red ball, blue key)"]
    goals = [goal(env, text) for text in texts]
    assert perform(env, goals, carry_out, "pick_up(red ball)") == [True, False, False, False]
    assert perform(env, goals, carry_out, "drop()", "go_to(grey box)") == [True, False, True, False]
    assert perform(env, goals, carry_out, "put_next_to(red ball, blue key)") == [True, False, True, True]


A, B = "pick_up(red ball)", "go_to(grey box)"


@pytest.mark.parametrize(
    ("steps", "met"),
    [((A,), [False] * 3), ((A, B), [True, False, True]), ((B, A), [False, True, True])],
)
def test_the_order_of_halves_counts(
    env: BabyAIEnv, carry_out: CarryOut, steps: tuple[str, ...], met: list[bool]
) -> None:
    goals = [goal(env, A, B, order=order) for order in ("then", "after", "and")]
    assert perform(env, goals, carry_out, *steps) == met


def test_steps_come_in_the_order_in_which_they_must_happen(env: BabyAIEnv) -> None:
    for order, steps in (("then", [A, B]), ("and", [A, B]), ("after", [B, A])):
        assert [str(step) for step in goal(env, A, B, order=order).steps] == steps


def test_a_goal_speaks_of_the_places_of_its_beginning(room: Room, carry_out: CarryOut) -> None:
    env = room({(6, 3): Ball("red"), (1, 3): Ball("red")}, agent=(3, 3))
    goals = [goal(env, f"pick_up(red ball {place})") for place in ("behind you", "in front of you")]
    assert perform(env, goals, carry_out, "pick_up(red ball behind you)") == [True, False]


def test_words_say_the_order(env: BabyAIEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(babyai_goals, "WORDS", {"own": 0.5, "everyday": 0.5})  # the list's have tests of their own
    for seed in range(60):
        said = {order: goal(env, A, B, order=order, seed=seed).text for order in ("then", "after", "and")}
        assert re.search(r"\b(then|before)\b|after that", said["then"])
        assert re.search(r"\b(after|once|when)\b", said["after"])
        for text in said.values():
            assert re.search(r"(red )(ball)", text) and re.search(r"(grey|gray) box", text)


def test_practice_goals_are_met_by_their_own_steps(carry_out: CarryOut) -> None:
    world = BabyAIWorld("BabyAI-PickupLoc-v0")
    env, tried, met, others = world.make(free=True), 0, 0, []
    for seed in range(25):
        env.reset(seed=seed)
        world.begin_goal(env)
        goals: Any = world.practice_goals(env, np.random.default_rng(seed), 5)
        assert len(goals) == 5
        try:
            perform(env, goals, carry_out, *(str(step) for step in goals[0].steps))
        except AssertionError:  # what the steps name does not exist, or is out of the expert's reach
            continue
        tried, met = tried + 1, met + goals[0].met
        others += [g.met for g in goals[1:] if set(g.steps).isdisjoint(goals[0].steps)]
    assert tried >= 15 and met >= 0.9 * tried
    assert np.mean(others) < 0.35


def test_practice_goals_are_the_same_for_the_same_seed(env: BabyAIEnv, world: BabyAIWorld) -> None:
    first, second, other = (
        [g.text for g in world.practice_goals(env, np.random.default_rng(seed), 8)] for seed in (3, 3, 4)
    )
    assert first == second != other


@pytest.mark.parametrize("split", ["training", "test"])
def test_goals_that_cannot_be_met_name_nothing_that_a_plan_could_do(world: BabyAIWorld, split: Any) -> None:
    rng = np.random.default_rng(0)
    texts = [world.unmet_goal(rng, split) for _ in range(400)]
    thing = rf"(the|a) ({'|'.join(SPEC.attributes[0].values)})"
    done = {"go to": "ball|box|key|door", "pick up": "ball|box|key", "open": "door"}
    of_this_world = re.compile("|".join(rf"\b{verb} {thing} ({kinds})\b" for verb, kinds in done.items()))
    assert len(set(texts)) > 200
    assert not [text for text in texts if of_this_world.search(text)]
    assert not {verb for words in VERBS.values() for verb in words} & set(wordings(split).foreign["deed"])


def test_a_plan_is_said_as_the_mission_that_it_meets(world: BabyAIWorld) -> None:
    plan = SPEC.parse_plan("drop()\nput_next_to(red ball, blue key)\npick_up(grey box behind you)\nopen(door)")
    assert world.say(plan) == (
        "drop what you carry, then put the red ball next to the blue key, then pick up the grey box behind you,"
        " then open the door"
    )
