"""Worlds that ship: what their numbers say is what the simulators behind them do."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gedanken.agent.added import add_world, load_added
from gedanken.agent.loading import latest, load_trained, load_world
from gedanken.worldmodel.checkpoint import SHIPPED, TrainedDynamics
from gedanken.worldmodel.trying import pursue
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.objectives import objective_of
from gedanken.worlds.protocol import WorldError
from gedanken.worlds.shipped import highway, shipped_adapters

CLASSIC = sorted(set(shipped_adapters()) - {"LunarLander-v3"})  # whose library needs a compiler

pytestmark = pytest.mark.filterwarnings("ignore:.*(pkg_resources|pygame).*")


def shipped(id: str) -> GymWorld:
    world = load_world(id)
    assert isinstance(world, GymWorld)
    return world


@pytest.mark.parametrize("id", CLASSIC)
def test_every_adapter_fits_its_environment_and_its_examples_are_plans(id: str) -> None:
    world = shipped(id)
    assert not any(name.startswith("obs") for name in world.spec.vector.names)
    for _, _, plan in world.examples[-len(world.adapter.examples) :] if world.adapter.examples else ():
        assert [objective_of(world.spec, step) for step in world.spec.parse_plan(plan).steps]
    if id != "highway":  # forty seconds of a motorway take ten
        world.check()


def test_whoever_adds_a_known_environment_gets_its_names() -> None:
    world = add_world("CartPole-v1")
    assert world.id == "CartPole-v1" and world.spec.vector.names[:4] == ("position", "speed", "angle", "spin")
    again = load_added("CartPole-v1")
    assert again is not None and again.spec.hash == world.spec.hash


def test_a_users_own_world_of_the_same_name_goes_before(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('environment = "CartPole-v1"\nnames = ["x", "v", "tilt", "turn"]\n')
    add_world(str(tmp_path / "own.toml"), id="CartPole-v1")
    again = load_added("CartPole-v1")
    assert again is not None and again.spec.vector.names[0] == "x"


@pytest.mark.parametrize(("id", "package"), [("highway", "highway_env"), ("motor", "gym_electric_motor")])
def test_a_package_that_is_not_there_is_named(id: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WorldError, match=rf"pip install gedanken\[{id}\]"):
        load_world(id)


# ---- the motorway ----------------------------------------------------------------------------------------------------


def driven(actions: str, seed: int = 3, **arguments: Any) -> tuple[GymWorld, Any, list[dict[str, float]]]:
    """Drive, an action a letter; return what every named number was."""
    world = shipped("highway")
    env = GymWorld(world.adapter.model_copy(update={"arguments": arguments}), "highway").make()
    env.reset(seed=seed)
    told = [dict(env.values)]
    for letter in actions:
        over = env.step("lsrfb".index(letter))[2]
        told.append(dict(env.values))
        if over:
            break
    return world, env, told


def test_distances_are_those_of_the_simulation() -> None:
    _, env, told = driven("sff")
    inner = env.inner.unwrapped.inner
    own, others = inner.vehicle, [v for v in inner.road.vehicles if v is not inner.vehicle]
    for number in range(1, highway.LANES + 1):
        inside = [v.position[0] - own.position[0] for v in others if abs(v.position[1] - 4 * (number - 1)) < 2.4]
        near = sorted(far for far in inside if highway.BESIDE < far < highway.SIGHT)
        wanted = [*near, highway.SIGHT, highway.SIGHT][:2]
        assert [told[-1][f"{name}_{number}"] for name in ("car", "next")] == pytest.approx(wanted, rel=1e-5)
        behind = max([far for far in inside if -highway.SIGHT < far <= highway.BESIDE], default=-highway.SIGHT)
        assert told[-1][f"behind_{number}"] == pytest.approx(behind, rel=1e-5)
        ahead = min([far for far in near if far > 0], default=highway.SIGHT)
        if near[:1] != [] and near[0] < 0 and len([far for far in near if far < 0]) > 1:
            continue  # two beside: the gap is that of neither
        assert told[-1][f"gap_{number}"] == pytest.approx(ahead - 5, rel=1e-4)
    lane = round(float(told[-1]["lane"]))
    assert told[-1]["gap"] == pytest.approx(told[-1][f"gap_{lane}"], abs=1)
    env.close()


def test_actions_do_what_they_are_called() -> None:
    _, env, told = driven("lsfs")
    assert told[1]["towards_lane"] == told[0]["towards_lane"] - 1
    assert told[2]["lane"] == pytest.approx(told[0]["lane"] - 1, abs=0.2)
    assert told[3]["cruise"] == 30 and told[3]["acceleration"] == pytest.approx(told[3]["speed"] - told[2]["speed"])
    env.close()


def test_who_is_passed_is_counted_and_a_crash_ends_it() -> None:
    for seed in range(4):  # who never turns comes up behind somebody
        _, env, told = driven("s" * 40, seed=seed)
        if told[-1]["crashed"]:
            break
    assert told[-1]["crashed"] == 1 and len(told) < 41 and told[-1]["reward"] < 0.2
    assert {name: told[-1][name] for name in ("speed", "car_1", "overtaken")} == {
        name: told[-2][name] for name in ("speed", "car_1", "overtaken")
    }, "what a crash does to the numbers is not told"
    env.close()
    for seed in range(3):
        _, env, told = driven("fslslssrsrssslss", seed=seed)
        passed = told[-1]["overtaken"]
        env.close()
        if passed >= 1:
            break
    assert passed >= 1


def test_the_rule_based_driver_drives_by_itself() -> None:
    _, env, told = driven("b" * 12, rule_based=True)
    assert len(told) == 13 and told[-1]["crashed"] == 0 and told[-1]["cruise"] == highway.TOP_SPEED
    assert max(numbers["speed"] for numbers in told) > 21, "it does not brake as it is told"
    env.close()


# ---- the motor -------------------------------------------------------------------------------------------------------


def turned(throttle: float, seed: int = 1, actions: int = 300, **inputs: float) -> list[dict[str, float]]:
    env = shipped("motor").make()
    env.reset(seed=seed, options={"exogenous": inputs})
    told = [dict(env.values)]
    for _ in range(actions):
        over = env.step(np.array([throttle], np.float32))[2]
        told.append(dict(env.values))
        if over:
            break
    env.close()
    return told


def test_load_and_supply_are_felt() -> None:
    speeds = [turned(0.3, **inputs)[-1]["speed"] for inputs in ({}, {"load": 8.0}, {"supply": 45.0}, {})]
    assert speeds[0] > speeds[1] + 20 and speeds[0] > speeds[2] + 20
    assert speeds[0] == speeds[3], "inputs do not outlive their episode"


def test_it_is_the_same_motor_after_every_reset() -> None:
    env, ends = shipped("motor").make(), []
    for _ in range(5):
        env.reset(seed=1)
        ends.append([env.step(np.array([0.3], np.float32))[0].tolist() for _ in range(5)])
    env.close()
    assert all(end == ends[0] for end in ends)


def test_too_much_current_switches_it_off() -> None:
    seed = min(range(20), key=lambda seed: turned(0.0, seed, actions=0)[0]["speed"])
    told = turned(1.0, seed)
    assert len(told) < 6 and told[-1]["current"] > 210 > told[-2]["current"]
    assert told[-1]["torque"] == pytest.approx(0.0017 * told[-1]["current"] ** 2, rel=1e-5)


def test_the_reward_is_for_the_wanted_speed() -> None:
    told = turned(0.2, actions=5, wanted=turned(0.2, actions=5)[-1]["speed"])
    assert told[-1]["reward"] == pytest.approx(1.0, abs=1e-6) and told[-1]["error"] < 1e-3


# ---- what was learned of them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", sorted(id for id in shipped_adapters() if (SHIPPED / id).is_dir()))
def test_a_world_that_ships_can_be_used_at_once(id: str) -> None:
    world = shipped(id)
    assert latest(id) == id
    trained = load_trained(None, world)
    assert isinstance(trained, TrainedDynamics) and trained.path == SHIPPED / id and trained.policies
    plan = world.spec.parse_plan(str(trained.card["plan"]).replace(";", "\n"))
    env, length = world.make(), {"highway": 8, "motor": 60}[id]  # as long as a bad driver does not last
    tried = pursue(world, env, plan, 7, trained.objective_actor, np.random.default_rng(7), most=length)
    env.close()
    assert len(tried.episode) == length and not tried.episode.terminated
