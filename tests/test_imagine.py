"""`gedanken imagine`: what was imagined beside what happened, drawn for a terminal and as pictures; what it refuses."""

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gedanken.agent.beside import Beside, imagine_demonstration, imagine_plan
from gedanken.agent.telling.pictures import WRONG, film, sheet
from gedanken.cli import run
from gedanken.worldmodel.checkpoint import Trained, build, save
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.spec import SpecError

LEVEL = "BabyAI-GoToLocal-v0"
ORANGE = tuple(int(WRONG[i : i + 2], 16) for i in (1, 3, 5))


@pytest.fixture(scope="module")
def trained() -> Trained:
    torch.manual_seed(1)
    return Trained(*build(SPEC, "spatial", SIZES["debug"].model_dump()), "tiny")


@pytest.fixture(scope="module")
def shown(trained: Trained) -> Beside:
    return imagine_demonstration(BabyAIWorld(LEVEL), trained, seed=3)


def test_the_demonstrators_actions_are_imagined_and_end_as_they_really_did(shown: Beside, trained: Trained) -> None:
    assert len(shown.imagined) == len(shown.real) == len(shown.actions) + 1 == len(shown.doubts) + 1
    world = BabyAIWorld(LEVEL)
    raw, _ = world.make().reset(seed=3)
    assert np.array_equal(shown.real[0], world.observation(raw)) and shown.mission == world.mission(raw)
    assert "ended, reward 0." in shown.ending and shown.reached[-1][1:] == (None, len(shown.actions))
    few = imagine_demonstration(BabyAIWorld(LEVEL), trained, seed=3, most=2)
    assert len(few.actions) == 2 and few.ending == "the real episode goes on"
    assert np.array_equal(few.imagined, shown.imagined[:3]), "the same future, shorter"


def test_the_actions_of_an_imagined_plan_are_really_taken(trained: Trained) -> None:
    world = BabyAIWorld(LEVEL)
    plan = SPEC.parse_plan("go_to(ball)\npick_up(ball)")
    beside = imagine_plan(world, trained, 3, plan, most=6)
    env = world.make()
    raw, _ = env.reset(seed=3)
    for number, action in enumerate(beside.actions):
        assert np.array_equal(world.observation(raw), beside.real[number])
        raw, *_ = env.step(action)
    assert np.array_equal(world.observation(raw), beside.real[-1])
    assert beside.steps[0] == "go_to(ball)" and [step for step, *_ in beside.reached] == [
        "go_to(ball)",
        "pick_up(ball)",
    ]
    other = imagine_plan(world, trained, 3, plan, future=1, most=6)
    assert other.actions != beside.actions or not np.array_equal(other.imagined, beside.imagined)


def test_wrong_cells_are_those_in_sight_that_differ(shown: Beside) -> None:
    same = replace(shown, imagined=shown.real)
    assert not same.wrong.any() and "none of them wrong" in same.summary()
    imagined = shown.real.copy()
    row, column = np.argwhere(shown.visible[1])[0]
    hidden = np.argwhere(~shown.visible[1])[0]
    imagined[1, row, column] = imagined[1, hidden[0], hidden[1]] = (6, 0, 0)  # a red ball in both
    one = replace(shown, imagined=imagined)
    assert one.wrong.sum() == 1 and one.wrong[1, row, column] and "the first wrong one at action 1" in one.summary()
    assert count(sheet(one)) > 2 * count(sheet(same)) == 0


def count(png: bytes) -> int:
    """Count the pixels of the mark's colour."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    return int((pixels == ORANGE).all(-1).sum())


def test_a_film_has_a_picture_for_every_frame_and_plays_them_slowly(shown: Beside) -> None:
    short = replace(
        shown,
        imagined=shown.imagined[:3],
        real=shown.real[:3],
        actions=shown.actions[:2],
        steps=shown.steps[:2],
        mission="go to the " + "very " * 60 + "red ball",
    )
    picture = Image.open(io.BytesIO(film(short)))
    assert picture.format == "GIF" and getattr(picture, "n_frames", 1) == 3
    times = []
    for frame in range(3):
        picture.seek(frame)
        times.append(picture.info["duration"])
    assert times[0] > times[1] < times[2] and min(times) >= 300


def test_a_world_without_tiles_has_no_picture(shown: Beside) -> None:
    plain: object = SimpleNamespace(id="plain", spec=SPEC)
    with pytest.raises(SpecError, match="'plain' does not draw its cells"):
        sheet(replace(shown, world=plain))  # type: ignore[arg-type]


@pytest.fixture
def checkpoint(tmp_path: Path, trained: Trained) -> str:
    return str(save(trained, tmp_path / "tiny"))


def test_the_command_draws_everywhere(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    png, gif = tmp_path / "a.png", tmp_path / "a.gif"
    asked = ["imagine", "--world", LEVEL, "--seed", "3", "--checkpoint", checkpoint]
    assert run([*asked, "--actions", "3", "--png", str(png), "--gif", str(gif), "--json"]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert len(answer["frames"]) == 3 and answer["drawn"] == [str(png), str(gif)] and answer["frames"][0]["cells"] > 0
    assert "first view" in said.err and "imagined" in said.err and "really" in said.err and "\x1b" not in said.err
    assert [Image.open(io.BytesIO(path.read_bytes())).format for path in (png, gif)] == ["PNG", "GIF"]
    assert run([*asked, "go_to(ball); pick_up(ball)", "--actions", "2"]) == 0
    assert "Actions of go_to(ball) → pick_up(ball)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["fly(away)"], 1, "step 1: no skill 'fly' in world 'babyai'"),
        (["--world", "BabyAI-Nowhere-v0"], 1, "unknown world 'BabyAI-Nowhere-v0'"),
        (["--png", "no/such/folder/a.png"], 2, "there is no folder no/such/folder"),
        (["--gif", "a.mp4"], 2, "--gif a.mp4: its name must end in .gif"),
        (["--png", "/proc/a.png"], 1, "/proc/a.png: "),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_line(
    more: list[str], code: int, message: str, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["imagine", "--checkpoint", checkpoint, "--actions", "1", *more]) == code
    said = capsys.readouterr().err
    assert message in said and "unexpected" not in said and len([x for x in said.splitlines() if "rror" in x]) == 1
