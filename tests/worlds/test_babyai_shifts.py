from typing import Any

import numpy as np
import pytest

from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, demonstrate
from gedanken.worlds.babyai import BabyAIWorld
from gedanken.worlds.babyai_shifts import NOISE, STICKY, ShiftedWorld
from gedanken.worlds.spec import SpecError

LEVEL = "BabyAI-GoToObj-v0"
LEFT, RIGHT, FORWARD = 0, 1, 2


def directions(world: BabyAIWorld, actions: list[int], seed: int = 5) -> list[int]:
    env: Any = world.make(free=True)
    env.reset(seed=seed)
    found = []
    for action in actions:
        env.step(action)
        found.append(env.unwrapped.agent_dir)
    return found


def test_turns_are_swapped_and_nothing_else() -> None:
    plain, swapped = BabyAIWorld(LEVEL), ShiftedWorld(f"{LEVEL}+swapped-turns")
    assert directions(plain, [LEFT, LEFT, FORWARD, RIGHT]) == directions(swapped, [RIGHT, RIGHT, FORWARD, LEFT])
    assert swapped.spec == plain.spec


@pytest.mark.parametrize(("shift", "share"), [("noisy", 5 / 6 * NOISE), ("sticky", STICKY / 2)])
def test_actions_go_astray_as_often_as_said(shift: str, share: float) -> None:
    rng = np.random.default_rng(0)
    meant = [int(rng.integers(2)) for _ in range(1500)]  # turns left and right
    turned = np.diff([0, *directions(ShiftedWorld(f"{LEVEL}+{shift}"), meant)])[1:]
    astray = np.mean(turned % 4 != np.where(np.array(meant[1:]) == LEFT, 3, 1))
    assert abs(astray - share) < 0.03


def test_the_same_seed_goes_astray_alike() -> None:
    world = ShiftedWorld(f"{LEVEL}+noisy")
    assert directions(world, [LEFT] * 60) == directions(world, [LEFT] * 60)


def test_an_unknown_shift_is_refused() -> None:
    with pytest.raises(SpecError, match="there are swapped-turns, noisy, sticky"):
        ShiftedWorld(f"{LEVEL}+upside-down")


def test_nobody_demonstrates_where_actions_do_something_else() -> None:
    world = ShiftedWorld(f"{LEVEL}+swapped-turns")
    with pytest.raises(SpecError, match="nobody demonstrates"):
        demonstrate(world, world.make(), FIRST_TRAINING_SEED, Practice(missions=1.0))
    with pytest.raises(ValueError, match="plays no episodes"):
        demonstrate(world, world.make(), FIRST_TRAINING_SEED, Practice(advised=False))
