"""Several processes measure what one would, and one that is killed is an error, not a gap."""

import json
import os
from functools import partial
from pathlib import Path

import pytest

from gedanken.cli import run
from gedanken.evals.errors import EvalError
from gedanken.evals.main import _one_task, load_suite
from gedanken.evals.report import provenance
from gedanken.evals.suite import Options, Parts
from gedanken.evals.workers import measure
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import Trained

TASKS = ("BabyAI-GoToObj-v0", "BabyAI-OpenDoor-v0")


def killed() -> Parts:
    """End as a process does that the system kills."""
    os._exit(9)


def test_two_workers_measure_what_one_does(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path / "home"))
    checkpoint.save(Trained(trained.model, trained.controller, "tiny"), checkpoint.home() / "checkpoints" / "tiny")
    asked = ["eval", "babyai-local", "--limit", "3", "--arm", "oracle-plan", "--arm", "random", "--checkpoint", "tiny"]
    asked += [part for task in TASKS for part in ("--task", task)]
    answers = []
    for workers in ("1", "2"):
        assert run([*asked, "--workers", workers, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert sum(row["n"] for row in [*answer["tasks"], *answer["arms"]["random"]]) == 12
        lines = (tmp_path / "runs" / answer["run"] / "samples.jsonl").read_text().splitlines()
        samples = [json.loads(line) for line in lines]
        summary = json.loads((tmp_path / "runs" / answer["run"] / "summary.json").read_text())
        assert summary["workers"] == int(workers)
        assert ("2 processes" in provenance(summary)) == (workers == "2")
        answers.append(sorted((s["task"], s["seed"], s["arm"], s["success"], s["steps"]) for s in samples))
    assert answers[0] == answers[1]


def test_a_worker_that_was_killed_is_an_error() -> None:
    suite = load_suite("babyai-local", TASKS[:1])
    with pytest.raises(EvalError, match="ended from outside.*fewer --workers"):
        list(measure(suite, partial(_one_task, suite.name), killed, Options(1, 0, ("random",)), frozenset(), 1))


def test_a_suite_is_made_anew_for_one_task() -> None:
    assert _one_task("babyai-local", TASKS[1]).tasks == TASKS[1:]
