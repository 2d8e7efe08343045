"""Two runs beside each other: what is better or worse beyond noise is called so, and chance alone is not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gedanken.cli import run
from gedanken.evals.compare import changes, compare
from gedanken.evals.errors import EvalError
from gedanken.evals.loop_ablation import LEVELS, OTHER_WORDS
from gedanken.evals.main import load_suite
from gedanken.evals.measures import Share
from gedanken.evals.run_folder import RunFolder

TASKS = ("BabyAI-GoToObj-v0", "BabyAI-OpenDoor-v0")
N = 60


def episodes(fails: int, *, arm: str = "loop", steps: int = 5, first: int = 0) -> list[dict[str, Any]]:
    """N episodes a task; the first seeds of each fail."""
    return [
        {
            "task": task,
            "seed": first + seed,
            "arm": arm,
            "success": seed >= fails,
            "steps": steps + seed % 3,
            "goal": "go",
        }
        for task in TASKS
        for seed in range(N)
    ]


def keep(root: Path, samples: list[dict[str, Any]], suite: str = "babyai-local", **loop: int) -> str:
    folder = RunFolder.create(root, suite, {"limit": N, "checkpoint": "tiny", "loop": loop}, {"seed": 0})
    for sample in samples:
        folder.append(sample)
    return folder.id


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_a_regression_is_found_and_can_fail_a_build(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = keep(runs, episodes(3), rounds=2), keep(runs, episodes(30), rounds=0)
    assert run(["compare", good, bad]) == 0
    said = capsys.readouterr().out
    assert "worse beyond noise: loop, success; " in said and "loop.rounds 2 → 0" in said
    assert "95.0    50.0" in said and "-45.0 [-5" in said
    assert run(["eval", "compare", good, bad, "--fail-on-regression", "--json"]) == 3, "both spellings are one command"
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"] == 2 * N and found["worse"][0] == "loop, success" and not found["better"]
    assert {row["task"] for row in found["changes"] if row["verdict"] == "worse"} == {None, *TASKS}
    assert run(["compare", bad, good, "--fail-on-regression"]) == 0, "the other way round it is better"
    assert "better beyond noise: loop, success" in capsys.readouterr().out


def test_tasks_of_one_world_are_one_scene(runs: Path) -> None:
    twins = LEVELS[0], f"{LEVELS[0]}{OTHER_WORDS}"
    good, bad = ([s | {"task": task} for task in twins for s in episodes(fails)[:N]] for fails in (3, 30))
    found = compare(keep(runs, good, "loop-ablation"), keep(runs, bad, "loop-ablation"), runs)
    together = [change.difference.interval.n for change in found.changes if change.task is None]
    assert found.pairs == 2 * N and together == [N, N // 2], "what is known of N scenes, and of those done in both"


def test_the_same_run_twice_changed_nothing(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = keep(runs, episodes(3)), keep(runs, episodes(3))
    assert run(["compare", first, str(runs / second), "--fail-on-regression"]) == 0
    said = capsys.readouterr().out
    assert "within noise: all 6" in said and "worse" not in said


def test_more_actions_for_the_same_success_are_worse(runs: Path) -> None:
    found = compare(keep(runs, episodes(0)), keep(runs, episodes(0, steps=6)), runs)
    assert [change.name for change in found.those("worse")][0] == "loop, actions where both succeed"
    assert found.changes[1].difference.interval.value == 1 and found.changes[0].verdict == "within noise"


def test_pairs_are_by_task_seed_and_arm(runs: Path) -> None:
    first = keep(runs, episodes(0) + episodes(0, arm="random"))
    second = keep(runs, episodes(0, first=N - 5))
    found = compare(first, second, runs)
    assert (found.pairs, found.unpaired) == (10, (4 * N - 10, 2 * N - 10))
    assert {change.verdict for change in found.changes if "actions" in change.measure and change.task} == {"too few"}
    assert "without a partner: 230 samples before, 110 after" in found.words()


def test_chance_alone_changes_little() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(60):
        pairs = [
            ({"task": t, "seed": s, "arm": a, "success": bool(x)}, {"success": bool(y)})
            for t in "abcdefg"
            for a in "vwxyz"
            for s, (x, y) in enumerate(rng.random((25, 2)) < 0.7)
        ]
        found = changes([Share("success", lambda sample: sample["success"])], pairs)
        assert len(found) == 5 + 35
        alarms += any(change.verdict != "within noise" for change in found)
    assert alarms <= 9, "two groups of intervals, each of which holds together with 95 %"


@pytest.mark.parametrize("suite", ["rehearsal", "world-model"])
def test_every_suite_says_what_can_be_compared(suite: str, runs: Path) -> None:
    samples = {"rehearsal": [situation(s) for s in range(20)], "world-model": [foreseen(s, 6) for s in range(20)]}[
        suite
    ]
    worse = {
        "rehearsal": [situation(s, wrong=0.9) for s in range(20)],
        "world-model": [foreseen(s, 3) for s in range(20)],
    }
    found = compare(keep(runs, samples, suite), keep(runs, worse[suite], suite), runs)
    names = {change.measure for change in found.those("worse")}
    expected = {"rehearsal": {"Brier score"}, "world-model": {"changed cells right, 4 ahead"}}
    assert expected[suite] <= names and not found.those("better"), names
    assert {measure.name for measure in load_suite(suite).measures} >= names


def situation(seed: int, wrong: float = 0.2) -> dict[str, Any]:
    spread = seed % 7 / 100
    plans = [{"predicted": 0.8 + spread, "success": True}, {"predicted": wrong + spread, "success": False}]
    return {"task": "a", "seed": seed, "arm": "critic", "plans": plans, "picked": {"all": 0}}


def foreseen(seed: int, right: int) -> dict[str, Any]:
    counts = {"changed": 10.0, "changed_right": float(right + seed % 3)}
    return {
        "task": "a",
        "seed": seed,
        "arm": "model",
        "frames": 9,
        "nats": 30.0,
        "horizons": dict.fromkeys(("1", "4", "16"), counts),
    }


def test_what_has_nothing_in_common_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, other = keep(runs, episodes(0)), keep(runs, [], "world-model")
    with pytest.raises(EvalError, match="choose two runs of one suite"):
        compare(first, other, runs)
    with pytest.raises(EvalError, match="no task, seed and arm in common"):
        compare(first, keep(runs, episodes(0, first=1000)), runs)
    assert run(["compare", first, "nothing"]) == 1
    assert "no run 'nothing'" in capsys.readouterr().err
