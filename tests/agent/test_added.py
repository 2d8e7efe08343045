from pathlib import Path

import pytest

from gedanken.agent.added import add_world, added, load_added, slug
from gedanken.agent.loading import load_world
from gedanken.worldmodel.checkpoint import home
from gedanken.worlds.babyai import BabyAIWorld
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.protocol import WorldError
from gedanken.worlds.spec import SpecError


def test_an_added_world_is_found_by_its_id() -> None:
    assert added() == {} and load_added("MountainCar-v0") is None
    world = add_world("MountainCar-v0")
    again = load_world("MountainCar-v0")
    assert isinstance(again, GymWorld) and again.spec == world.spec and added() == {"MountainCar-v0": world.spec}
    assert isinstance(load_world("BabyAI-GoToLocal-v0"), BabyAIWorld)
    with pytest.raises(SpecError, match="unknown world 'CartPole-v2'; did you mean CartPole-v1.*`gedanken worlds add`"):
        load_world("CartPole-v2")


def test_nothing_is_kept_of_what_is_refused(tmp_path: Path) -> None:
    for environment, error in (("NobodyHasThis-v0", WorldError), (str(tmp_path / "a.toml"), SpecError)):
        (tmp_path / "a.toml").write_text("environment = 'CartPole-v1'\nnames = ['x']")
        with pytest.raises(error):
            add_world(environment)
    assert not (home() / "worlds").exists()


def test_two_ids_with_one_file_name_are_two_worlds() -> None:
    assert slug("my pkg:Env-v0") == slug("my/pkg:Env-v0") == "my-pkg-Env-v0" and slug("../..") == "world"
    add_world("CartPole-v1", id="a:b")
    assert load_added("a/b") is None and load_added("a:b") is not None
