"""docs/pictures.md is carried out, with less practice; what a world that shows a picture refuses is read."""

import io
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image
from puck import PAGE, write_files

from gedanken.cli import ERROR, NOT_REACHED, REACHED, USAGE, run
from gedanken.worldmodel.experience import ExperienceStore

QUICK = """
[exogenous.wind]
attribute = "wind"
low = 0
high = 0.02

[learning]
first = 12
then = 4
every = 400
rounds = 1
policy = { rows = 24, ahead = 4, life = 8, epochs = 1, batches = 2, hidden = 8, rounds = 1 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_files(tmp_path)
    code = (tmp_path / "my_puck.py").read_text()
    blown = code.replace("    def __init__", "    wind = 0.0\n\n    def __init__").replace(
        "+ 0.03 * push", "+ 0.03 * push + self.wind"
    )
    assert blown != code
    (tmp_path / "my_puck.py").write_text(blown)
    adapter = tmp_path / "puck.toml"
    adapter.write_text(adapter.read_text() + QUICK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("my_puck", None)
    gymnasium.registry.pop("Puck-v0", None)


def test_the_page_is_carried_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line[len("$ gedanken ") :]) for line in PAGE.splitlines() if line.startswith("$ gedanken ")]
    assert [command[0] for command in commands] == ["worlds", "learn", "imagine", "run"]
    assert run(commands[0]) == REACHED
    assert capsys.readouterr().out.replace("x, y, wind", "x, y") in PAGE
    learn = [*commands[1], "--steps", "240", "--random", "150"]
    assert run([*learn, "--json"]) == REACHED
    learnt = json.loads(capsys.readouterr().out)
    assert learnt["steps"] == 240 and Path(learnt["checkpoint"]).name == "puck-1"
    home = Path(learnt["checkpoint"]).parents[1]
    with ExperienceStore(home / "experience.sqlite") as store:
        episodes = [episode for _, episode in store.episodes()]
    assert all(e.frames is not None and len(e.frames) == len(e) + 2 for e in episodes)
    assert run([*commands[2], "--png", "puck.png", "--actions", "6", "--json"]) == REACHED
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["drawn"] == ["puck.png", "puck.gif"] and 1 <= len(told["frames"]) <= 6
    assert all(frame["pixels"] > 0 and {"x", "y", "wind"} == set(frame["really"]) for frame in told["frames"])
    assert "had the world frozen" in printed.err and "▀" in printed.err
    sheet, film = (Image.open(io.BytesIO((folder / name).read_bytes())) for name in told["drawn"])
    shown = len(told["frames"]) + 1
    assert sheet.size == (shown * 100 + 4, 212) and getattr(film, "n_frames", 1) == shown
    script = folder / "script.json"
    script.write_text(json.dumps({"Goal:": ["reach(x, 0.5 ± 0.1, within 40)\n"]}))
    said = ["--llm", f"scripted:{script}", "--samples", "4"]
    code = run([*commands[3], *said, "--learn-steps", "1", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (
        code == (REACHED if answer["success"] else NOT_REACHED) and answer["stored"] and answer["learned"]["steps"] == 1
    )
    with ExperienceStore(home / "experience.sqlite") as store:
        [(_, own)] = store.recent(1)
    assert own.frames is not None and np.array_equal(own.frames[0], own.frames[1]) and len(own.frames) == len(own) + 2
    assert (
        run(["whatif", "wind = 0.02", "--plan", "reach(x, 0.5 ± 0.1, within 9)", "--world", "puck", *said]) == REACHED
    )
    assert "wind" in capsys.readouterr().out
    assert run(["models"]) == REACHED and "pictures, for puck" in capsys.readouterr().out
    assert run(["export", "puck", "--minari", "puck-v0"]) == ERROR
    assert "can't be exported" in capsys.readouterr().err
    assert run(["imagine", "--world", "puck"]) == USAGE
    assert "nobody demonstrates in puck; say a PLAN" in capsys.readouterr().err
    assert run([*learn, "--steps", "400000"]) == ERROR
    assert "too many to keep in memory" in capsys.readouterr().err


def test_a_world_of_numbers_has_no_pictures_to_imagine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["imagine", "maximize(reward, for 3)", "--world", "CartPole-v1"]) == ERROR
    assert "this needs a grid of categories" in capsys.readouterr().err
