"""A small BabyAI room laid out by hand, and an expert that carries steps out in it."""

from collections.abc import Callable
from typing import Any

import pytest
from minigrid.core.world_object import WorldObj

from gedanken.worlds.babyai import BabyAIWorld
from gedanken.worlds.babyai_env import BabyAIEnv

Room = Callable[..., BabyAIEnv]
CarryOut = Callable[..., list[int]]


@pytest.fixture(scope="session")
def world() -> BabyAIWorld:
    return BabyAIWorld("BabyAI-GoToLocal-v0")


@pytest.fixture(scope="session")
def room(world: BabyAIWorld) -> Room:
    def lay_out(things: dict[tuple[int, int], WorldObj], agent: tuple[int, int] = (2, 3), facing: int = 0) -> BabyAIEnv:
        """Floor is 1…6 × 1…6, walls around it; the agent faces east (0), where x grows; y grows to its right."""
        env = world.make(free=True)
        env.reset(seed=0)
        base: Any = env.unwrapped
        for x in range(1, 7):
            for y in range(1, 7):
                base.grid.set(x, y, None)
        for (x, y), thing in things.items():
            base.put_obj(thing, x, y)
        base.agent_pos, base.agent_dir = agent, facing
        env.note_places()
        return env

    return lay_out


@pytest.fixture(scope="session")
def carry_out(world: BabyAIWorld) -> CarryOut:
    def let_the_expert(
        env: BabyAIEnv, text: str, after: Callable[[int], object] = lambda action: None, patience: int = 64
    ) -> list[int]:
        """Return the expert's actions, `after` called with each; fails when it does not get there."""
        step = world.spec.parse_step(text)
        (watch,), expert = world.watch(env, [step]), world.expert(env, step)
        actions: list[int] = []
        action: int | None = None
        for _ in range(patience):
            action = expert.advise(action)
            assert action is not None, f"the expert gave up on {text}"
            env.step(action)
            actions.append(action)
            after(action)
            if watch.achieved(action):
                return actions
        raise AssertionError(f"{text} was not achieved in {patience} actions")

    return let_the_expert
