from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from minigrid.core.world_object import Ball, Box, Door, Key, Wall

from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.babyai_env import BabyAIEnv

TOGGLE = 5
Room = Callable[..., BabyAIEnv]
CarryOut = Callable[..., list[int]]


def solve(world: BabyAIWorld, env: BabyAIEnv, seed: int, jostle: float = 0.0) -> bool:
    """Let the expert carry the mission's steps out, its actions now and then replaced by random ones."""
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    for step in world.mission_steps(env):
        (watch,), expert = world.watch(env, [step]), world.expert(env, step)
        action: int | None = None
        while not (action is not None and watch.achieved(action)):
            action = expert.advise(action)
            if action is None:
                return False
            action = int(rng.integers(6)) if rng.random() < jostle else action
            _, reward, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                return float(reward) > 0
    return False  # all steps achieved, and yet the mission goes on


@pytest.mark.parametrize("level", ["BabyAI-GoToLocal-v0", "BabyAI-PutNextLocal-v0", "BabyAI-UnlockLocal-v0"])
def test_the_steps_of_missions_carried_out_by_the_expert_solve_them(level: str) -> None:
    world = BabyAIWorld(level)
    env = world.make()
    assert sum(solve(world, env, seed) for seed in range(30)) >= 29


def test_the_expert_goes_on_after_actions_that_were_not_its_own() -> None:
    world = BabyAIWorld("BabyAI-PickupLoc-v0")
    env = world.make()
    assert sum(solve(world, env, seed, jostle=0.3) for seed in range(20)) >= 18


def test_a_mission_to_unlock_fetches_the_key_first() -> None:
    world = BabyAIWorld("BabyAI-UnlockLocal-v0")
    env = world.make()
    env.reset(seed=1)
    key, door = world.mission_steps(env)
    assert (key.skill, door.skill) == ("pick_up", "open")
    assert key.arguments[0][1] == "key" and world.prerequisites(env, door) == (key,)


@pytest.mark.parametrize(
    "step",
    ["go_to(red ball)", "pick_up(blue key)", "put_next_to(red ball, blue key)", "open(green door)", "go_to(key)"],
)
def test_every_skill_is_carried_out(room: Room, carry_out: CarryOut, step: str) -> None:
    env = room({(5, 3): Ball("red"), (5, 6): Key("blue"), (6, 1): Door("green")})
    assert 1 <= len(carry_out(env, step)) <= 20


def test_a_full_hand_is_emptied_before_something_else_is_taken(room: Room, carry_out: CarryOut) -> None:
    env = room({(5, 3): Ball("red"), (5, 5): Key("blue")})
    for step in ("pick_up(red ball)", "pick_up(blue key)", "drop()"):
        carry_out(env, step)
    base: Any = env.unwrapped
    assert base.carrying is None


@pytest.mark.parametrize("step", ["go_to(purple box)", "put_next_to(red ball, purple box)", "drop()"])
def test_the_expert_gives_up_at_once_on_what_can_not_be(world: BabyAIWorld, room: Room, step: str) -> None:
    expert = world.expert(room({(5, 3): Ball("red")}), SPEC.parse_step(step))
    assert expert.gave_up and expert.advise(None) is None


def test_before_a_locked_door_without_its_key_it_tries_the_handle(world: BabyAIWorld, room: Room) -> None:
    env = room({(5, 3): Door("green", is_locked=True), (5, 5): Key("green")})
    step = SPEC.parse_step("open(green door)")
    (watch,), expert = world.watch(env, [step]), world.expert(env, step)
    action, tried = None, 0
    for _ in range(12):
        action = expert.advise(action)
        if action is None:
            break
        env.step(action)
        assert not watch.achieved(action)
        tried += action == TOGGLE
    assert tried


def test_an_expert_knows_what_was_seen_before(world: BabyAIWorld, room: Room) -> None:
    env = room({(1, 3): Ball("red")}, agent=(5, 3))
    step = SPEC.parse_step("go_to(red ball)")
    base: Any = env.unwrapped
    known = np.ones((base.grid.width, base.grid.height), bool)
    assert not world.expert(env, step).known.all()
    assert world.expert(env, step, known).known.all()


def test_the_locked_door_whose_key_is_known_comes_first() -> None:
    world = BabyAIWorld("BabyAI-UnlockToUnlock-v0")
    env = world.make()
    for seed in range(7_100_000, 7_100_006):
        env.reset(seed=seed)
        (step,) = world.mission_steps(env)
        expert, action, reward = world.expert(env, step), None, 0.0
        while not reward and (action := expert.advise(action)) is not None:
            _, reward, _, truncated, _ = env.step(action)
            assert not truncated
        assert reward > 0


@pytest.mark.parametrize("level", ["BabyAI-GoTo-v0", "BabyAI-KeyCorridor-v0", "BabyAI-GoToImpUnlock-v0"])
def test_after_a_foreign_action_the_advice_is_that_of_a_fresh_expert(level: str) -> None:
    """What the advice rests on must be in the state and in what was seen: nobody else has the bot's memory."""
    world = BabyAIWorld(level)
    env: Any = world.make()
    rng, compared = np.random.default_rng(0), 0
    for seed in range(3):
        env.reset(seed=seed)
        world.begin_goal(env)
        step = world.mission_steps(env)[0]
        expert, action = world.expert(env, step), None
        for _ in range(60):
            action = expert.advise(action)
            if action is None:
                break
            foreign = int(rng.integers(6))
            if rng.random() < 0.3 and foreign != action:
                env.step(foreign)
                known = expert.known.copy()
                action, compared = foreign, compared + 1
                if env.unwrapped.carrying is None:
                    assert world.expert(env, step, known).advise(None) == (action := expert.advise(foreign))
                    if action is None:
                        break
            env.step(action)
    assert compared > 20


def test_a_door_that_fell_shut_is_no_dead_end() -> None:
    for level in ("BabyAI-KeyCorridor-v0", "BabyAI-UnlockToUnlock-v0", "BabyAI-MiniBossLevel-v0"):
        world = BabyAIWorld(level)
        env = world.make()
        assert sum(solve(world, env, seed, jostle=0.25) for seed in range(7_200_000, 7_200_006)) >= 5, level


def test_the_way_is_freed_before_something_is_carried_along_it(world: BabyAIWorld, room: Room) -> None:
    walls = {(4, y): Wall() for y in range(1, 7) if y != 3}
    things = {(4, 3): Box("grey"), (1, 5): Ball("red"), (6, 3): Key("blue")}  # the box lies in the only gap
    env, step = room(walls | things, agent=(3, 3)), SPEC.parse_step("put_next_to(red ball, blue key)")
    base: Any = env.unwrapped
    (watch,) = world.watch(env, [step])
    expert = world.expert(env, step, np.ones((base.width, base.height), np.bool_))
    taken, action, achieved = [], None, False
    while not achieved:
        held, action = base.carrying, expert.advise(action)
        assert action is not None and base.step_count < 64
        env.step(action)
        if base.carrying not in (None, held):
            taken.append(base.carrying.type)
        achieved = watch.achieved(action)
    assert taken == ["box", "ball"]


def test_what_is_carried_is_put_down_where_the_way_turns_out_to_be_barred(world: BabyAIWorld, room: Room) -> None:
    """Whether it was the expert that put it down or somebody else, what follows is the same."""
    walls = {(4, y): Wall() for y in range(1, 7) if y != 3}
    things = {(4, 3): Box("grey"), (2, 3): Ball("red"), (6, 3): Key("blue")}
    step = SPEC.parse_step("put_next_to(red ball, blue key)")
    env = room(walls | things, agent=(1, 3))
    base: Any = env.unwrapped
    expert = world.expert(env, step, np.ones((base.width, base.height), np.bool_))
    action: int | None = None
    for _ in range(20):
        held, action = base.carrying, expert.advise(action)
        assert action is not None
        env.step(action)
        if held is not None and base.carrying is None:
            break
    assert base.carrying is None, "the ball was taken, and put down again"
    again = world.expert(env, step, expert.known)
    assert expert.advise(action) == again.advise(None)


@pytest.mark.parametrize("skill", ["go_to", "pick_up"])
def test_what_stood_in_the_way_is_not_remembered(world: BabyAIWorld, room: Room, skill: str) -> None:
    """With a thing in its hand that it took out of the way the expert says what anyone would say who sees that."""
    walls = {(4, y): Wall() for y in range(1, 7) if y != 3}
    env, step = (
        room(walls | {(4, 3): Box("grey"), (6, 3): Ball("red")}, agent=(2, 3)),
        SPEC.parse_step(f"{skill}(red ball)"),
    )
    base: Any = env.unwrapped
    (watch,) = world.watch(env, [step])
    expert = world.expert(env, step, np.ones((base.width, base.height), np.bool_))
    action, full, achieved = None, 0, False
    while not achieved:
        action = expert.advise(action)
        assert action is not None and base.step_count < 64
        if base.carrying is not None:
            full += 1
            assert world.expert(env, step, expert.known).advise(None) == action
        env.step(action)
        achieved = watch.achieved(action)
    assert full > 1
