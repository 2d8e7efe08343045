"""Worlds that show a picture: what is kept of it, what is told beside it, and what is refused by name."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from puck import write_files

from gedanken.tools.starts import first
from gedanken.worlds.adapter import Adapter, read_adapter
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.pictures import Picture, resized, told
from gedanken.worlds.protocol import WorldError
from gedanken.worlds.spaces import flat, image_in, picture_of, variables_of
from gedanken.worlds.spec import SpecError, WorldSpec

RGB = spaces.Box(0, 255, (40, 60, 3), np.uint8)


@pytest.fixture
def puck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GymWorld]:
    monkeypatch.syspath_prepend(str(write_files(tmp_path)))
    yield GymWorld(read_adapter(tmp_path / "puck.toml"), "puck")
    sys.modules.pop("my_puck", None)
    gymnasium.registry.pop("Puck-v0", None)


def test_a_resized_picture_has_the_means_of_areas() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    wanted = image.reshape(32, 2, 32, 3, 3).mean((1, 3))
    assert np.abs(resized(image, 32) - wanted).max() < 0.51
    assert np.array_equal(resized(image[:32, :32], 32), image[:32, :32])
    small = resized(image[:50, :70], 48)  # areas that share pixels
    assert small.shape == (48, 48, 3) and abs(small.mean() - image[:50, :70].mean()) < 0.5
    one = np.zeros((3, 3, 3), np.uint8)
    one[1, 1] = 90
    assert (
        np.all(resized(np.full((7, 5, 3), 201, np.uint8), 32) == 201)
        and resized(one, 2).tolist() == [[[10] * 3] * 2] * 2
    )


def test_a_picture_comes_after_the_numbers_that_are_told_beside_it(puck: GymWorld) -> None:
    field = puck.spec.vector
    assert field.names == ("x", "y", "reward") and field.picture == Picture(size=32, frames=2, read=("x", "y"))
    puck.check()
    env = puck.make()
    first, info = env.reset(seed=4)
    assert first.shape == (2 + 2 * 32 * 32 * 3,) == env.observation_space.shape and first.dtype == np.float32
    numbers, frames = field.picture.split(first)
    assert numbers.tolist() == pytest.approx([info["x"], info["y"]]) and np.array_equal(frames[0], frames[1])
    assert np.array_equal(field.picture.joined(numbers, frames), first)
    assert np.array_equal(frames[1], resized(env.inner.unwrapped.show(), 32))  # type: ignore[attr-defined]
    second, *_ = env.step(2)
    again = field.picture.split(second)[1]
    assert np.array_equal(again[0], frames[1]) and not np.array_equal(again[1], frames[1])
    assert puck.describe(second).startswith(f"x {env.values['x']:.4g}, y ")
    env.reset(seed=4)
    assert len(env.frames) == 2 and np.array_equal(env.frames[0], frames[0]), "no frame of the last episode"
    assert WorldSpec.model_validate(puck.spec.model_dump(mode="json")).hash == puck.spec.hash
    assert GymWorld(puck.adapter.model_copy(update={"picture": None}), "puck").spec.hash != puck.spec.hash


def test_a_picture_alone_is_a_world_of_its_reward(puck: GymWorld) -> None:
    bare = GymWorld(Adapter(environment="Puck-v0"))
    assert bare.spec.vector.names == ("reward",) and bare.spec.vector.picture == Picture(size=64, frames=2)
    assert bare.spec.parse_step("maximize(reward, for 30)")
    env = bare.make()
    assert bare.describe(env.reset(seed=0)[0]) == "A picture, of which nothing is told in numbers."


def test_a_picture_may_be_one_of_several_parts() -> None:
    space = spaces.Dict({"speed": spaces.Box(-1, 1, (2,)), "eyes": spaces.Tuple([spaces.Discrete(3), RGB])})
    assert [v.name for v in variables_of(space)] == ["eyes[0]", "speed[0]", "speed[1]"]
    assert picture_of(space) == "eyes[1]"
    image = np.full((40, 60, 3), 7, np.uint8)
    value = {"speed": np.zeros(2, np.float32), "eyes": (np.int64(2), image)}
    assert flat(space, value) == [2, 0, 0] and image_in(space, value) is image
    assert picture_of(spaces.Box(0, 255, (40, 60, 3), np.float32)) is None  # a block of numbers


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (spaces.Box(0, 255, (3, 40, 60), np.uint8), r"obs is a picture of shape \(3, 40, 60\); .*colours last"),
        (spaces.Box(0, 255, (40, 60, 1), np.uint8), "make three of them"),
        (spaces.Box(0, 255, (4, 40, 60, 3), np.uint8), "height × width × 3 is supported"),
        (spaces.Box(0, 255, (2, 5000, 3), np.uint8), "up to 4,096 pixels"),
        (spaces.Tuple([RGB, RGB]), r"obs\[0\] and obs\[1\] are pictures; one is supported"),
        (spaces.Box(0, 1, (40, 60, 3), np.float32), "holds 7,200 numbers"),
    ],
)
def test_other_pictures_are_refused_by_name(space: spaces.Space[Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        variables_of(space)


@pytest.mark.parametrize(
    "value",
    [np.zeros((60, 40, 3), np.uint8), np.zeros((40, 60, 3), np.float32), np.zeros((40, 60), np.uint8), None, "x"],
)
def test_what_is_not_the_spaces_picture_is_an_error(value: Any) -> None:
    with pytest.raises(WorldError, match=r"the space's picture is of shape \(40, 60, 3\) and type uint8"):
        image_in(RGB, value)


def test_numbers_say_no_picture_to_begin_in(puck: GymWorld) -> None:
    now = puck.make().reset(seed=0)[0]
    with pytest.raises(SpecError, match="puck shows a picture, which numbers don't say; leave the initial state out"):
        first(puck.spec, {"x": 0.5}, now)


def test_what_is_to_be_read_has_to_be_there(puck: GymWorld) -> None:
    class Body:
        state = np.array([1.5, 2.5])

    assert told("env.state[1]", {}, Body()) == 2.5 and told("info.arm.angle", {"arm": {"angle": 3}}, None) == 3
    assert all(told(path, {"x": 1}, Body()) is None for path in ("info.y", "info.x.z", "env.state[2]", "env.nothing"))
    wrong = puck.adapter.model_dump(mode="json")
    wrong["read"]["x"]["source"] = "info.place"
    with pytest.raises(WorldError, match="x is read from info.place, where there is None"):
        GymWorld(Adapter.model_validate(wrong)).make().reset(seed=0)
    for bad in ("x", "info", "info.__class__", "os.environ", "info.x()"):
        with pytest.raises(ValueError, match="source|from"):
            Adapter.model_validate({"environment": "Puck-v0", "read": {"x": {"from": bad}}})
    with pytest.raises(SpecError, match=r"has \[read\], and the environment shows no picture"):
        GymWorld(Adapter.model_validate({"environment": "CartPole-v1", "read": {"x": {"from": "info.x"}}}))
    with pytest.raises(ValueError, match="multiple of 16"):
        Adapter.model_validate({"environment": "Puck-v0", "picture": {"size": 50}})
