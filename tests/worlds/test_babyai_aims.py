"""Right plans are those that the level's own verifier rewards when the demonstrator carries them out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from minigrid.core.world_object import Ball, Box, Door, Key

from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.babyai_aims import LEVELS, Aim, mission_aim, spoken_mission
from gedanken.worlds.babyai_aims import Key as Marker
from gedanken.worlds.babyai_env import BabyAIEnv
from gedanken.worlds.babyai_goals import Clause

Room = Callable[..., BabyAIEnv]
CarryOut = Callable[..., list[int]]


def aim(*halves: str, order: str = "then") -> Aim:
    """Steps of one half are joined by &."""
    return Aim(tuple(Clause(tuple(SPEC.parse_step(s) for s in half.split(" & "))) for half in halves), order)


def right(marker: Marker, *steps: str) -> bool:
    return marker.right(SPEC.parse_plan("\n".join(steps)))


@pytest.fixture
def env(room: Room) -> BabyAIEnv:
    env = room({(5, 3): Ball("red"), (5, 6): Key("grey"), (3, 1): Box("blue"), (1, 5): Key("green")})
    door: Any = Door("grey", is_locked=True)
    env.unwrapped.grid.set(7, 2, door)  # type: ignore[attr-defined]
    door.cur_pos = (7, 2)
    return env


@pytest.mark.parametrize("level", ["GoToSeqS5R2", "OpenDoorsOrderN4", "PutNextLocal", "UnlockLocal", "PickupLoc"])
def test_the_first_right_plan_is_rewarded_when_it_is_carried_out(level: str, carry_out: CarryOut) -> None:
    world, done = BabyAIWorld(f"BabyAI-{level}-v0"), 0
    env = world.make()
    for seed in range(40, 47):
        env.reset(seed=seed)
        spoken = spoken_mission(env, np.random.default_rng(seed), "own")
        if spoken is None:
            continue
        assert spoken.text == env.unwrapped.mission  # type: ignore[attr-defined]
        assert spoken.right(spoken.plan) and not spoken.right(SPEC.parse_plan("drop()\ndrop()"))
        verify, statuses = env.unwrapped.instrs.verify, []  # type: ignore[attr-defined]
        env.unwrapped.instrs.verify = lambda action: statuses.append(verify(action)) or statuses[-1]  # noqa: B023
        try:
            for step in spoken.plan.steps:
                carry_out(env, str(step))
        except AssertionError:  # the expert finds no way past something
            continue
        done += 1
        assert "success" in statuses, (seed, spoken.text, spoken.plan)
    assert done >= 4


def test_a_locked_door_needs_its_key_in_hand(env: BabyAIEnv) -> None:
    marker = Marker(env, aim("open(door)"))
    assert marker.plan is not None and marker.plan.line() == "pick_up(grey key) → open(door)"
    assert right(marker, "pick_up(grey key)", "open(grey door)"), "other words for the same door"
    assert not right(marker, "open(door)")
    assert not right(marker, "pick_up(green key)", "open(door)")
    assert not right(marker, "pick_up(grey key)", "drop()", "open(door)")
    assert not right(marker, "pick_up(grey key)", "go_to(red ball)", "open(door)")
    assert not right(marker, "pick_up(key)", "open(door)"), "which key?"
    assert marker.added == ("grey",)
    assert not right(marker, "pick_up(grey key)", "open(door)", "pick_up(green key)")


def test_a_key_that_the_goal_names_is_taken_once(env: BabyAIEnv) -> None:
    marker = Marker(env, aim("pick_up(grey key)", "open(door)"))
    assert marker.plan is not None and marker.plan.line() == "pick_up(grey key) → open(door)"
    marker = Marker(env, aim("open(door)", "pick_up(red ball)"))
    assert marker.plan is not None and marker.plan.line() == "pick_up(grey key) → open(door) → pick_up(red ball)"
    assert right(marker, "pick_up(grey key)", "open(door)", "drop()", "pick_up(red ball)"), "hands are emptied anyway"
    assert not right(marker, "drop()", "pick_up(grey key)", "open(door)", "pick_up(red ball)"), "nothing to drop"
    assert not right(marker, "pick_up(red ball)", "pick_up(grey key)", "open(door)")


@pytest.mark.parametrize(
    ("order", "forth", "back"), [("then", True, False), ("after", False, True), ("and", True, True)]
)
def test_the_order_of_halves_counts(env: BabyAIEnv, order: str, forth: bool, back: bool) -> None:
    marker = Marker(env, aim("go_to(red ball)", "go_to(blue box)", order=order))
    assert right(marker, "go_to(red ball)", "go_to(blue box)") is forth
    assert right(marker, "go_to(box)", "go_to(ball)") is back
    assert not right(marker, "go_to(red ball)")
    assert not right(marker, "go_to(red ball)", "go_to(blue box)", "go_to(red ball)")


def test_steps_of_one_half_are_free(env: BabyAIEnv) -> None:
    marker = Marker(env, aim("go_to(red ball) & go_to(blue box)", "pick_up(red ball)"))
    assert right(marker, "go_to(blue box)", "go_to(red ball)", "pick_up(red ball)")
    assert not right(marker, "pick_up(red ball)", "go_to(blue box)", "go_to(red ball)")


def test_more_or_fewer_things_are_another_plan(room: Room) -> None:
    env = room({(5, 3): Ball("red"), (5, 6): Ball("blue")})
    marker = Marker(env, aim("go_to(ball)"))
    assert right(marker, "go_to(object)") and not right(marker, "go_to(red ball)")


def test_what_is_in_hand_can_be_spoken_of(env: BabyAIEnv, carry_out: CarryOut) -> None:
    carry_out(env, "pick_up(grey key)")
    marker = Marker(env, aim("open(door)"))
    assert marker.plan is not None and marker.plan.line() == "open(door)"
    assert right(marker, "open(door)") and not right(marker, "drop()", "open(door)")
    marker = Marker(env, aim("drop()"))
    assert right(marker, "drop()")


def test_what_is_missing_has_no_plan_and_what_is_locked_away_may_have_none(room: Room, env: BabyAIEnv) -> None:
    assert Marker(env, aim("go_to(yellow box)")).plan is None
    walled = room({(6, 6): Ball("red"), (5, 6): Door("red", is_locked=True), (6, 5): Door("red", is_locked=True)})
    marker = Marker(walled, aim("go_to(red ball)"))
    assert marker.plan is None, "there is no key"
    assert marker.complete((), ()) == SPEC.parse_plan("go_to(red ball)"), "but who does not know that may try"
    assert Marker(walled, aim("go_to(red door)")).plan is not None
    assert Marker(walled, aim("open(red door)")).plan is None


def test_locked_doors_in_the_way_are_opened_when_they_are_known(room: Room) -> None:
    doors = {at: Door("red", is_locked=True) for at in [(5, 6), (6, 5)]}
    env = room({(6, 6): Ball("blue"), (1, 5): Key("red"), (1, 1): Key("grey"), **doors})
    marker = Marker(env, aim("pick_up(blue ball)"))
    plan = "pick_up(red key)", "open(red door)", "pick_up(blue ball)"
    assert marker.plan == SPEC.parse_plan("\n".join(plan)) and marker.added == ("red",)
    assert right(marker, *plan) and right(marker, "pick_up(blue ball)"), "the steps that were asked are there"
    assert not right(marker, "pick_up(grey key)", *plan[1:]) and not right(marker, *plan[1:])
    assert not right(marker, *plan[:2])
    for seen, met, line in (
        (["red"], [], "pick_up(blue ball)"),  # whose door is it?
        (["red"], ["red"], "pick_up(red key) → open(red door) → pick_up(blue ball)"),
        ([], ["grey"], "pick_up(blue ball)"),
    ):
        found = marker.complete(seen, met)
        assert found is not None and found.line() == line


def test_who_does_not_see_the_lock_may_just_open(env: BabyAIEnv) -> None:
    marker = Marker(env, aim("open(grey door)"))
    plain, whole = (SPEC.parse_plan(text) for text in ("open(grey door)", "pick_up(grey key)\nopen(grey door)"))
    assert marker.complete((), ()) == plain and marker.complete(["grey"], ()) == whole
    assert marker.right(plain, ()) and marker.right(whole, ())
    assert not marker.right(plain, ["grey"]) and marker.right(whole, ["grey"])


def test_others_are_things_that_the_goal_does_not_speak_of(env: BabyAIEnv) -> None:
    assert ("red", "ball", None) not in Marker(env, aim("go_to(ball)")).others()
    assert ("blue", "box", None) in Marker(env, aim("go_to(ball)")).others()


def test_every_level_can_be_said_in_every_wording() -> None:
    skills, said = set(), 0
    for number, level in enumerate(LEVELS):
        world = BabyAIWorld(level)
        env = world.make()
        for seed in range(3):
            env.reset(seed=seed)
            for wording in ("own", "training", "test"):
                spoken = world.spoken_goal(env, np.random.default_rng((seed, number, 2)), wording)  # type: ignore[arg-type]
                if spoken is not None:
                    said += 1
                    assert spoken.right(spoken.plan)
                    skills |= {step.skill for step in spoken.plan.steps}
            assert mission_aim(env).steps
    assert said > 0.9 * 9 * len(LEVELS)
    assert skills == {skill.name for skill in SPEC.skills}
