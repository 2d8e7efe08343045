"""Minari's datasets, read and written; most of it needs Minari, which only `gedanken[minari]` installs."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from gedanken.agent.added import add_world, load_added
from gedanken.cli import ERROR, REACHED, run
from gedanken.worldmodel.checkpoint import home
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worlds.fields import Axis, Variable, VectorField
from gedanken.worlds.logs import LogWorld, Piece, Repairs
from gedanken.worlds.minari_data import open_dataset, write_dataset
from gedanken.worlds.objectives import OBJECTIVES
from gedanken.worlds.spec import SpecError, WorldSpec

needs_minari = pytest.mark.skipif(
    importlib.util.find_spec("minari") is None, reason="Minari is not installed (gedanken[minari])"
)

VALVE = spaces.Box(np.array([0.0], np.float32), np.array([1.0], np.float32))


def world(id: str = "plant") -> WorldSpec:
    variables = (
        Variable(name="room", unit="°C"),
        Variable(name="mode", categories=3),
        Variable(name="outside", unit="°C", low=-20, high=40, exogenous=True),
    )
    shown = VectorField(name="state", variables=variables, expressions=(("warmth", "room - outside"),))

    valve = Axis(name="valve", low=0, high=1)
    return WorldSpec(
        name=id, observation=shown, actions=(valve,), attributes=(), skills=OBJECTIVES, exogenous=("outside",)
    )


def pieces() -> list[Piece]:
    moments = np.array([[20 + t, t % 3, 5] for t in range(5)], np.float32)
    taken, paid = np.linspace(0, 1, 4, dtype=np.float32)[:, None], -np.arange(4, dtype=np.float32)
    return [Piece(moments, taken, paid), Piece(moments[:3], taken[:2], paid[:2], terminated=True)]


def dataset(folder: Path, observations: Any, actions: Any, seen: Any, taken: Any, **more: Any) -> Path:
    """Write one episode as others do, in the way that Minari documents."""
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    folder.mkdir()
    storage = MinariStorage.new(folder, observations, actions, data_format=more.pop("format", "hdf5"))
    storage.update_metadata({"dataset_id": "theirs-v0", "minari_version": "0.5.4"})
    length = len(taken[0] if isinstance(taken, tuple) else taken)
    none = np.zeros(length, bool)
    ends = {"rewards": np.ones(length), "terminations": none, "truncations": none} | more
    storage.update_episodes([EpisodeBuffer(observations=seen, actions=taken, **ends)])
    return folder


@needs_minari
def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "plant-v0"
    assert write_dataset(folder, world(), "30 min", pieces()) == (2, 6)
    log, repairs = open_dataset(folder, None, "plant"), Repairs()
    assert log.world == world() and log.every == "30 min"
    for mine, theirs in zip(pieces(), log.read(repairs), strict=True):
        for part in ("observations", "actions", "rewards", "terminated"):
            assert np.array_equal(getattr(mine, part), getattr(theirs, part)), part
    assert repairs.rows == 8 and repairs.moments[-1] == [22, 2, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["plant-v0"], "nothing unfinished is left"


@needs_minari
def test_minari_finds_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    write_dataset(tmp_path / "plant-v0", world(), None, pieces())
    theirs = minari.load_dataset("plant-v0")
    assert (theirs.total_episodes, theirs.total_steps) == (2, 6) and theirs.action_space == VALVE
    first, second = theirs.iterate_episodes()
    assert first.observations[0].tolist() == [20, 21, 22, 23, 24] and first.observations[1].tolist() == [0, 1, 2, 0, 1]
    assert (first.truncations[-1], second.truncations[-1], second.terminations[-1]) == (True, False, True)


@needs_minari
@pytest.mark.parametrize("format", ["hdf5", "arrow", "parquet"])
def test_a_dataset_of_somebody_elses_is_read(tmp_path: Path, format: str) -> None:
    shown = spaces.Dict({"arm": spaces.Box(-9, 9, (2,), np.float64), "gear": spaces.Discrete(3, start=1)})
    seen = {"arm": np.arange(8.0).reshape(4, 2), "gear": np.array([1, 2, 3, 1])}
    taken = np.array([[0, 1], [1, 2], [0, 0]])
    path = dataset(tmp_path / "theirs", shown, spaces.MultiDiscrete([2, 3]), seen, taken, format=format)
    log = open_dataset(path, None, "theirs")
    assert log.world.vector.names == ("arm[0]", "arm[1]", "gear", "reward")
    [piece] = log.read(Repairs())
    assert piece.observations.tolist() == [[0, 1, 0], [2, 3, 1], [4, 5, 2], [6, 7, 0]]
    assert [log.world.action_names[number] for number in piece.actions] == ["action 0-1", "action 1-2", "action 0-0"]
    adapter = tmp_path / "names.toml"
    adapter.write_text(
        "environment = 'theirs'\nnames = ['x', 'y']\n[exogenous.gear]\nattribute = 'gear'\nlow = 0\nhigh = 2"
    )
    named = open_dataset(path, adapter, "theirs").world
    assert named.vector.names == ("x", "y", "gear", "reward") and named.exogenous == ("gear",)


@needs_minari
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"seen": np.array([[1.0], [np.nan], [1.0]])},
            r"episode 0, observation 1 is \[nan\]; all numbers must be finite",
        ),
        ({"seen": np.full((3, 1), 1e300)}, r"episode 0, observation 0 is \[inf\]"),
        ({"rewards": np.array([0, np.inf])}, r"episode 0, reward 1 is \[inf\]"),
        ({"seen": np.ones((2, 1))}, "episode 0, observation 2: "),
        (
            {"seen": np.ones((3, 2))},
            r"episode 0, observation 0: obs: the space's shape is \(1,\), the value's is \(2,\)",
        ),
        (
            {"taken": np.array([[0.5], [2.0]], np.float32)},
            r"episode 0, action 1: the action is \[2.\], beyond its bounds",
        ),
        ({"taken": np.array([[np.nan], [1.0]], np.float32)}, "episode 0, action 0: the action is .nan., beyond"),
        ({"terminations": np.array([True, False])}, "episode 0 goes on after it terminated, at action 0"),
        (
            {"observations": spaces.Box(0, 255, (8, 8, 3), np.uint8)},
            "obs is a picture; logs with pictures are not supported",
        ),
        ({"observations": spaces.Text(3)}, "obs is a Text space; logs with words are not supported"),
        ({"actions": spaces.Box(-np.inf, np.inf, (1,))}, "without finite bounds"),
    ],
)
def test_what_does_not_fit_in_a_dataset_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    fine = {
        "observations": spaces.Box(-9, 9, (1,)),
        "actions": VALVE,
        "seen": np.ones((3, 1)),
        "taken": np.array([[0.0], [1.0]], np.float32),
    }
    if "observations" in change:
        change = change | {"seen": ["a", "b", "c"] if "Text" in says else np.ones((3, 1))}
    path = dataset(tmp_path / "theirs", **(fine | change))
    with pytest.raises(SpecError, match=says):
        list(open_dataset(path, None, "theirs").read(Repairs()))


@needs_minari
def test_a_damaged_dataset_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "plant-v0"
    write_dataset(folder, world(), None, pieces())
    main, told = folder / "data" / "main_data.hdf5", folder / "data" / "metadata.json"
    whole, metadata = main.read_bytes(), json.loads(told.read_text())
    main.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SpecError, match=r"plant-v0, episode 0 can't be read: \w+: "):
        list(open_dataset(folder, None, "plant").read(Repairs()))
    main.write_bytes(whole)
    for change, says in (
        ({"action_space": None}, "its metadata lack action_space"),
        ({"data_format": "punched cards"}, "no Minari dataset that can be read: KeyError: 'punched cards'"),
        ({"observation_space": "{}"}, "no Minari dataset that can be read"),
        ({"total_steps": 7}, "tells of 7 transitions, and holds 6"),
        ({"total_episodes": "many"}, "no Minari dataset that can be read: ValueError"),
        ({"gedanken": {"environment": ""}}, "its metadata, gedanken, environment: "),
        ({"gedanken": {"environment": "x", "names": ["a"]}}, "the adapter gives 1 names, the environment has 3"),
    ):
        changed = {key: value for key, value in (metadata | change).items() if value is not None}
        told.write_text(json.dumps(changed))
        with pytest.raises(SpecError, match=says):
            list(open_dataset(folder, None, "plant").read(Repairs()))


@needs_minari
def test_a_folder_that_will_not_do_is_refused(tmp_path: Path) -> None:
    for name, says in (("plant", "ends in a version: plant-v0"), ("there-v0", "is there already")):
        (tmp_path / "there-v0").mkdir(exist_ok=True)
        with pytest.raises(SpecError, match=says):
            write_dataset(tmp_path / name, world(), None, pieces())
    with pytest.raises(SpecError, match="no episodes of plant are stored"):
        write_dataset(tmp_path / "plant-v0", world(), None, [])
    with pytest.raises(SpecError, match="is no Minari dataset: there is no metadata.json"):
        open_dataset(tmp_path / "there-v0", None, "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there-v0"]


@needs_minari
def test_what_was_lived_through_is_a_dataset_and_a_world_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pole = add_world("CartPole-v1")
    learn = ["learn", "CartPole-v1", "--steps", "60", "--random", "60", "--size", "debug", "--acting", "search"]
    assert run(learn) == REACHED
    folder = str(tmp_path / "pole-v0")
    capsys.readouterr()
    assert run(["export", "CartPole-v1", "--minari", folder, "--json"]) == REACHED
    told = json.loads(capsys.readouterr().out)
    assert told["transitions"] == 60
    assert run(["import", folder, "--as", "poles", "--json"]) == REACHED
    assert json.loads(capsys.readouterr().out)["transitions"] == 60
    again = load_added("poles")
    assert isinstance(again, LogWorld) and again.spec.observation == pole.spec.observation
    with ExperienceStore(home() / "experience.sqlite") as store:
        mine, theirs = ([e for _, e in store.episodes(world=id)] for id in ("CartPole-v1", "poles"))
    assert told["episodes"] == len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        for part in ("observations", "actions", "rewards", "terminated"):
            assert np.array_equal(getattr(one, part), getattr(other, part)), part
    assert run(["learn", "poles", "--steps", "5", "--size", "debug"]) == REACHED


def test_without_minari_or_data_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["export", "BabyAI-GoToObj-v0", "--minari", str(tmp_path / "a-v0")]) == ERROR
    assert "no world of numbers 'BabyAI-GoToObj-v0' was added or ships" in capsys.readouterr().err
    (tmp_path / "log.csv").write_text("a,b\n1,2")
    assert run(["import", str(tmp_path / "log.csv")]) == ERROR
    assert "say with --spec FILE what its columns mean" in capsys.readouterr().err
    if importlib.util.find_spec("minari") is None:
        for command in (["import", str(tmp_path)], ["export", "CartPole-v1", "--minari", str(tmp_path / "a-v0")]):
            assert run(command) == ERROR
            assert "`pip install gedanken[minari]` adds it" in capsys.readouterr().err
