"""On Ray a run comes to what it comes to in processes; a worker that is ended is replaced; without Ray that is said."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from gedanken.cli import run
from gedanken.evals import on_ray
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import Trained

TASKS = ("BabyAI-GoToObj-v0", "BabyAI-OpenDoor-v0")
DEADLY = """
import os
from collections.abc import Iterator, Sequence

from gedanken.evals.sample import Sample
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.suite import Parts

def even(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    if task == "BabyAI-OpenDoor-v0" and 1 in seeds:
        os._exit(9)
    yield from (Sample(task, seed, "even", seed % 2 == 0, 1, "go") for seed in seeds)

class Deadly(EpisodeSuite):
    name = "deadly"
    default_limit = 3
    levels = ("BabyAI-GoToObj-v0", "BabyAI-OpenDoor-v0")
    players = {"even": even}
    default_arms = ("even",)
"""

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (gedanken[ray])")


@pytest.fixture
def tiny(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path / "home"))
    checkpoint.save(Trained(trained.model, trained.controller, "tiny"), checkpoint.home() / "checkpoints" / "tiny")


def samples(answer: dict[str, Any]) -> list[dict[str, Any]]:
    lines = (Path("runs") / answer["run"] / "samples.jsonl").read_text().splitlines()
    return sorted(map(json.loads, lines), key=lambda sample: (sample["task"], sample["seed"], sample["arm"]))


@needs_ray
def test_on_ray_it_comes_to_the_same(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["eval", "--limit", "3", "--arm", "oracle-plan", "--arm", "random", "--checkpoint", "tiny"]
    asked += [part for task in TASKS for part in ("--task", task)]
    found = []
    for how in ([], ["--ray"]):
        assert run([*asked, *how, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        found.append([sample | {"acting_seconds": 0} for sample in samples(answer)])
        about = json.loads((Path("runs") / answer["run"] / "run.json").read_text())
        assert about.get("on") == ("ray" if how else None)
    assert len(found[0]) == 12 and found[0] == found[1]


@needs_ray
def test_a_sample_that_ends_its_worker_is_recorded(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    Path("deadly.py").write_text(DEADLY)
    assert run(["eval", "deadly.py", "--checkpoint", "tiny", "--ray", "--json"]) == 0
    said = capsys.readouterr()
    found = samples(json.loads(said.out))
    assert [(s["task"], s["seed"]) for s in found if s["error"]] == [(TASKS[1], 1)] and len(found) == 6
    assert f"again: {TASKS[1]} 1 even is recorded as an error" in said.err


@needs_ray
def test_more_workers_than_cores_are_refused(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--limit", "1", "--arm", "random", "--checkpoint", "tiny", "--ray", "--workers", "256"]) == 1
    assert "256 workers, and Ray has" in (said := capsys.readouterr().err) and "choose fewer --workers" in said


def test_without_ray_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_ray.importlib.util, "find_spec", lambda name: None)
    assert run(["eval", "--ray"]) == 1
    assert "--ray needs Ray: pip install 'gedanken[ray]'" in capsys.readouterr().err
    assert not Path("runs").exists(), "nothing was begun"
