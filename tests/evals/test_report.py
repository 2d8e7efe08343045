"""The docs come from run folders only: every table names its run, and the README changes between its marks alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from gedanken.evals import report
from gedanken.evals.errors import EvalError
from gedanken.evals.main import load_suite
from gedanken.evals.run_folder import RunFolder

CONFIG = {"limit": 2, "checkpoint": "tiny", "arms": ["loop", "random"], "loop": {"llm": "scripted"}}
DONE = {"done": True}


def episode(arm: str, seed: int, success: bool) -> dict[str, Any]:
    thinking = {"decisions": 1, "tokens": 40, "seconds": 0.5, "round": 0, "rounds": 1} if arm == "loop" else {}
    common = {"task": "BabyAI-GoToObj-v0", "seed": seed, "arm": arm, "success": success, "steps": 5}
    return {**common, "goal": "go", **thinking}


def situation(seed: int) -> dict[str, Any]:
    numbers = {"carried_out": 0.5, "satisfies": 0.5, "expected_steps": 5.0, "disagreement": 0.0, "steps": 4}
    plans = [
        {"kind": "right", "written": False, "plan": "a", "predicted": 0.9, "success": True, **numbers, **DONE},
        {"kind": "wrong order", "written": False, "plan": "b", "predicted": 0.2, "success": False, **numbers, **DONE},
    ]
    members = {"all": [0, 1], "made": [0, 1], "written": []}
    rest = {"plans": plans, "members": members, "picked": {"all": 0, "made": 0}, "first_written": None}
    return {"task": "BabyAI-GoToObj-v0", "seed": seed, "arm": "critic", "goal": "go", **rest}


def keep(tmp_path: Path, suite: str, samples: list[dict[str, Any]]) -> Path:
    run = RunFolder.create(tmp_path / "runs", suite, CONFIG, {"seed": 3})
    for sample in samples:
        run.append(sample)
    run.finish(load_suite(suite).summarise(run.samples()))
    return run.path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    levels = [episode(arm, seed, arm != "random") for arm in ("loop", "llm-alone", "random") for seed in (0, 1)]
    return [keep(tmp_path, "babyai-local", levels), keep(tmp_path, "rehearsal", [situation(s) for s in range(4)])]


def test_pages_are_made_from_runs(tmp_path: Path, runs: list[Path]) -> None:
    readme, docs = tmp_path / "README.md", tmp_path / "docs"
    readme.write_text(f"# Title\n{report.MARKS[0]}\nold\n{report.MARKS[1]}\nrest\n")
    arguments = [*map(str, runs), "--docs", str(docs), "--readme", str(readme)]
    assert report.main(arguments) == 0
    page, text = (docs / "results.md").read_text(), readme.read_text()
    for run in runs:
        assert f"[`{run.name}`](runs/{run.name}.json)" in page and (docs / "runs" / f"{run.name}.json").exists()
        assert f"docs/runs/{run.name}.json" in text
    assert "| BabyAI-GoToObj-v0 | 100.0 [34.2, 100.0] | 100.0 [34.2, 100.0] | 0.0 [0.0, 65.8] |" in page
    assert "loop minus random 100.0 %" in page and "last plan was a first proposal in 100.0 %" in page
    assert "seed 3, n = 2 a task" in page and "AUROC of predicted success 1.000" in text
    assert text.startswith("# Title\n") and text.endswith("\nrest\n") and "old" not in text
    assert report.main(["--docs", str(docs), "--readme", str(readme)]) == 0
    assert (page, text) == ((docs / "results.md").read_text(), readme.read_text()), "written twice, the same twice"
    assert str(tmp_path) not in page + text + "".join(p.read_text() for p in docs.glob("runs/*.json"))


def test_of_two_runs_the_later_counts_and_checkpoints_stand_beside_each_other(tmp_path: Path, runs: list[Path]) -> None:
    docs = tmp_path / "docs"
    kept = json.loads(report.adopt(runs[0], docs).read_text())
    for name, checkpoint in (("20990101-000000-babyai-local-0000", "tiny"), ("20000101-babyai-local-0000", "other")):
        other = {**kept, "run": name, "config": {**kept["config"], "checkpoint": checkpoint}}
        (docs / "runs" / f"{name}.json").write_text(json.dumps(other))
    found = report.summaries(docs)["babyai-local"]
    assert [(s["run"][:4], s["config"]["checkpoint"]) for s in found] == [("2000", "other"), ("2099", "tiny")]
    page = report.results_page({"babyai-local": found})
    assert "### Checkpoint `other`: loop, random" in page and "language model `scripted`" in page
    more = {**kept, "run": "2100", "config": {**kept["config"], "arms": ["bot"]}}
    (docs / "runs" / "2100.json").write_text(json.dumps(more))
    assert len(report.summaries(docs)["babyai-local"]) == 3, "runs of other arms stand beside each other, too"
    for name, tasks, counted in (("2101", ["one"], 4), ("2102", ["two"], 5), ("2103", ["two", "one"], 4)):
        other = {**more, "run": name, "config": {**more["config"], "arms": ["random"], "tasks": tasks}}
        (docs / "runs" / f"{name}.json").write_text(json.dumps(other))
        assert len(report.summaries(docs)["babyai-local"]) == counted, "a run counts until one has all of its tasks"


def test_errors_say_what_to_do(tmp_path: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (runs[0] / "summary.json").unlink()
    with pytest.raises(EvalError, match="finish it with --resume"):
        report.adopt(runs[0], tmp_path / "docs")
    (tmp_path / "README.md").write_text("no marks")
    arguments = [str(runs[1]), "--docs", str(tmp_path / "docs"), "--readme", str(tmp_path / "README.md")]
    assert report.main(arguments) == 1
    assert "put them where the results belong" in capsys.readouterr().err
    (tmp_path / "docs" / "runs" / "x.json").write_text("{}")
    with pytest.raises(EvalError, match=r"x\.json is no run summary"):
        report.summaries(tmp_path / "docs")


def test_a_remark_on_how_a_run_came_about_is_printed(tmp_path: Path, runs: list[Path]) -> None:
    summary = runs[0] / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "remark": "It was stopped and shortened."}))
    docs, readme = tmp_path / "docs", tmp_path / "README.md"
    readme.write_text("\n".join(report.MARKS))
    assert report.main([*map(str, runs), "--docs", str(docs), "--readme", str(readme)]) == 0
    for page in (docs / "results.md", readme):
        assert page.read_text().count("It was stopped and shortened.") == 1
