"""BALROG's tasks: what lies in the room, what is said, how long they last; plans say them, and the bot meets them."""

from typing import Any

import gymnasium
import pytest

from gedanken.worlds.babyai import SPEC, BabyAIWorld, level_ids
from gedanken.worlds.babyai_balrog import DOORS, HELD_OUT, TASKS, level_id, register
from gedanken.worlds.babyai_env import BabyAIEnv

LIMITS = {"goto": 64, "pickup": 64, "open": 128, "putnext": 128, "pick_up_seq_go_to": 128}
SEEDS = range(40)


def things(env: BabyAIEnv) -> list[Any]:
    return [cell for cell in env.unwrapped.grid.grid if cell is not None and cell.type != "wall"]  # type: ignore[attr-defined]


def test_they_are_levels_like_the_others() -> None:
    assert len(LIMITS) == 5 and {level_id(task) for task in LIMITS} <= set(level_ids())
    before = dict(gymnasium.registry)
    register()
    assert gymnasium.registry == before, "once is enough"
    assert BabyAIWorld(level_id("open")).spec is SPEC


@pytest.mark.parametrize("task", TASKS)
def test_nothing_but_what_the_mission_speaks_of_is_there(task: str) -> None:
    world, missions = BabyAIWorld(level_id(task)), set()
    env = world.make()
    for seed in SEEDS:
        raw, _ = env.reset(seed=seed)
        mission, found, base = world.mission(raw), things(env), env.unwrapped
        missions.add(mission)
        assert base.max_steps == LIMITS[task]  # type: ignore[attr-defined]
        if task == "open":
            door, key = sorted(found, key=lambda thing: str(thing.type))
            assert (door.type, key.type, key.color) == ("door", "key", door.color) and door.is_locked
            assert door.color in DOORS and not {"red", "grey"} & set(DOORS)
            assert mission in ("open the door", f"open the {door.color} door")
            rooms = [base.room_from_pos(*at) for at in (base.agent_pos, key.cur_pos)]  # type: ignore[attr-defined]
            assert rooms[0] is rooms[1], "the key is within reach"
        else:
            names = [f"{thing.color} {thing.type}" for thing in found]
            assert len(found) == TASKS[task] and all(name in mission for name in names)
            assert not {tuple(name.split()) for name in names} & HELD_OUT
    assert len(missions) > 4
    if task == "open":
        assert "open the door" in missions
    if task == "pick_up_seq_go_to":
        assert {" after you " in mission for mission in missions} == {True, False}


@pytest.mark.parametrize("task", TASKS)
def test_the_bot_carries_out_the_plan_that_says_the_mission(task: str) -> None:
    world = BabyAIWorld(level_id(task))
    env = world.make()
    for seed in SEEDS[:8]:
        env.reset(seed=seed)
        world.begin_goal(env)
        steps, reward, over = world.mission_steps(env), 0.0, False
        assert len(steps) == (2 if task in ("open", "pick_up_seq_go_to") else 1)
        assert SPEC.parse_plan("\n".join(map(str, steps))).steps == steps
        for step in steps:
            (watch,), expert, achieved = world.watch(env, [step]), world.expert(env, step), False
            action: int | None = None
            while not over and not achieved and (action := expert.advise(action)) is not None:
                _, reward, terminated, truncated, _ = env.step(action)  # type: ignore[assignment]
                over, achieved = bool(terminated or truncated), watch.achieved(action)
        assert reward > 0, (seed, steps)
