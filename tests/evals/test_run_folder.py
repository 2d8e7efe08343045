"""Run folders: complete, honest about where they come from, and able to go on after a crash."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from gedanken.evals.errors import RunError
from gedanken.evals.main import run_suite
from gedanken.evals.run_folder import RunFolder, commit, sha256
from gedanken.evals.suite import Parts

CONFIG, SEEDS = {"limit": 2, "arms": ["bot"]}, {"seed": 7}


def begin(tmp_path: Path) -> RunFolder:
    weights = tmp_path / "tiny" / "model.safetensors"
    weights.parent.mkdir(exist_ok=True)
    weights.write_bytes(b"weights")
    return RunFolder.create(tmp_path / "runs", "suite", CONFIG, SEEDS, [weights])


def test_a_run_says_everything_about_itself(tmp_path: Path) -> None:
    run = begin(tmp_path)
    about = json.loads((run.path / "run.json").read_text())
    assert about["config"] == CONFIG and about["seeds"] == SEEDS
    assert about["checkpoints"] == {"tiny/model.safetensors": sha256(tmp_path / "tiny" / "model.safetensors")}
    assert about["versions"]["torch"] and about["machine"]["cores"] and about["commit"] == commit()
    summary = run.finish({"rate": float("nan"), "rows": [{"n": 1}]})
    assert json.loads((run.path / "summary.json").read_text())["results"] == {"rate": None, "rows": [{"n": 1}]}
    assert summary["run"] == run.id
    assert str(tmp_path) not in (run.path / "summary.json").read_text(), "no paths of this machine"


def test_a_killed_run_goes_on_and_counts_nothing_twice(tmp_path: Path) -> None:
    run = begin(tmp_path)
    run.append({"task": "a", "seed": 1, "arm": "bot", "success": True})
    run.append({"task": "a", "seed": 1, "arm": "bot", "success": False})
    with (run.path / "samples.jsonl").open("a") as file:
        file.write('{"task": "a", "se')  # killed in the middle of a line
    again = RunFolder.open(tmp_path / "runs", "last")
    assert len(again.samples()) == 1
    assert (run.path / "samples.jsonl").read_text().endswith('"se'), "to look at a run changes nothing"
    again.go_on()
    assert again.done() == {("a", 1, "bot", 1)}
    again.append({"task": "a", "seed": 2, "arm": "bot"})
    again.append({"task": "a", "seed": 0, "arm": "bot"})
    assert [(s["seed"], s.get("success")) for s in again.samples()] == [(0, None), (1, True), (2, None)]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    run = begin(tmp_path)
    with pytest.raises(RunError, match="limit was 2, is 3"):
        run.agree("suite", {**CONFIG, "limit": 3}, SEEDS)
    weights = tmp_path / "tiny" / "model.safetensors"
    run.agree("suite", {**CONFIG, "tasks": ["a setting of later"]}, SEEDS, [weights])
    run.about["commit"] = "elsewhere"
    run.go_on()
    assert run.about["commit"] == f"elsewhere, {commit()}", "both are told"
    weights.write_bytes(b"trained anew under the old name")
    with pytest.raises(RunError, match="begun with another tiny/model.safetensors"):
        run.agree("suite", CONFIG, SEEDS, [weights])


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the latest in .* are: none"):
        RunFolder.open(tmp_path, "last")
    run = begin(tmp_path)
    (run.path / "samples.jsonl").write_text('{"task": 1}\n')
    with pytest.raises(RunError, match="line 1"):
        run.samples()
    about = {key: value for key, value in run.about.items() if key not in ("seeds", "machine")}
    (run.path / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match=r"is of another version \(seeds, machine is missing\); run it again"):
        RunFolder.open(tmp_path / "runs", run.id)
    (run.path / "run.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(RunError, match="format 99"):
        RunFolder.open(tmp_path / "runs", run.id)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't write the run folder"):
        RunFolder.create(tmp_path / "file", "suite", {}, {})


def test_a_full_disk_loses_no_whole_sample(tmp_path: Path) -> None:
    run, written = begin(tmp_path), 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))  # no file may become longer
    try:
        with pytest.raises(RunError, match="make room and go on with --resume"):
            for written in range(1000):
                run.append({"task": "level", "seed": written, "arm": "bot"})
        with pytest.raises(RunError, match="make room and go on with --resume"):
            run.finish({"long": "z" * 6_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    again = RunFolder.open(tmp_path / "runs", run.id)
    again.go_on()
    assert not again.finished and [sample["seed"] for sample in again.samples()] == list(range(written))
    again.append({"task": "level", "seed": written, "arm": "bot"})
    assert len(again.samples()) == written + 1 > 50


def test_what_is_secret_is_in_no_run_folder(
    tmp_path: Path, make_parts: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("OPENAI_API_KEY", "GEDANKEN_TOKEN"):
        monkeypatch.setenv(name, "geheim-und-lang-genug")
    caplog.set_level("DEBUG")
    parts = make_parts(llm="openai:http://host/v1")
    run_suite("babyai-local", limit=1, tasks=["BabyAI-GoToObj-v0"], arms=["loop"], runs=tmp_path, parts=parts)
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert any(b"openai:http://host/v1" in file for file in files)
    assert not [file for file in files if b"geheim" in file] and "geheim" not in caplog.text
