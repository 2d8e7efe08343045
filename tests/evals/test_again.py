"""Runs done again: cut off and resumed, or rerun from their own folder, they come to the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gedanken.agent.llm.adapter import CONFIG, WEIGHTS
from gedanken.cli import run
from gedanken.evals.errors import EvalError, RunError
from gedanken.evals.main import run_suite
from gedanken.evals.run_folder import sha256
from gedanken.evals.suite import Parts
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import Trained

TASK = "BabyAI-GoToObj-v0"


@pytest.fixture
def tiny(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A debug-size checkpoint that commands find by name, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    checkpoint.save(Trained(trained.model, trained.controller, "tiny"), checkpoint.home() / "checkpoints" / "tiny")
    return "tiny"


def cut(folder: Path, keep: int) -> None:
    """Forget a run's last samples and its summary, as a kill would."""
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    (folder / "samples.jsonl").write_text("".join(lines[:keep]))
    (folder / "summary.json").unlink()


def timeless(answer: Any) -> Any:
    """Leave out what clocks said, and the run's own name."""
    if isinstance(answer, list):
        return [timeless(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    return {k: timeless(v) for k, v in answer.items() if "seconds" not in k and k not in ("run", "commit")}


def test_a_run_again_is_the_same_to_the_last_digit(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = ["eval", "world-model", "--limit", "3", "--seed", "5", "--task", TASK, "--checkpoint", tiny, "--json"]
    assert run(measure) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["seed"] == 5 and first["episodes"] == 3
    assert run(["eval", "--rerun", first["run"], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rerun"] == {"of": first["run"], "same": True, "samples": 3, "other_samples": 0, "differences": []}
    assert again["run"] != first["run"] and again["horizons"] == first["horizons"]
    about = json.loads((tmp_path / "runs" / again["run"] / "run.json").read_text())
    assert about["rerun_of"] == first["run"] and about["seeds"] == {"seed": 5}
    samples = tmp_path / "runs" / first["run"] / "samples.jsonl"
    lines = samples.read_text().splitlines()
    changed = json.loads(lines[1]) | {"nats": 1e9}
    samples.write_text("\n".join([lines[0], json.dumps(changed), lines[2]]) + "\n")
    assert run(["eval", "--rerun", str(samples.parent)]) == 3
    said = capsys.readouterr().out
    assert f"the results are not the same, 1 of 3 samples differ ({TASK} 500001 model in nats)" in " ".join(
        said.split()
    )


def test_every_arm_again_is_the_same(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    first = run_suite("babyai-local", limit=2, tasks=[TASK], runs=tmp_path, parts=make_parts())
    again = run_suite(rerun=first["run"], runs=tmp_path, parts=make_parts())
    assert again["rerun"]["same"] and again["rerun"]["samples"] == 14
    assert timeless(first["arms"]) == timeless(again["arms"])
    with pytest.raises(RunError, match="loop.samples was 4, is 5"):
        run_suite(rerun=first["run"], runs=tmp_path, parts=make_parts(samples=5))


@pytest.mark.parametrize("suite", ["babyai-local", "rehearsal", "world-model"])
def test_what_was_cut_off_comes_to_the_same(suite: str, make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"limit": 3, "tasks": [TASK], "runs": tmp_path}
    whole = run_suite(suite, **chosen, parts=make_parts())
    folder = tmp_path / whole["run"]
    count = len((folder / "samples.jsonl").read_text().splitlines())
    cut(folder, 1)
    resumed = run_suite(resume=str(folder), runs=tmp_path, parts=make_parts())
    assert resumed["run"] == whole["run"] and timeless(resumed) == timeless(whole)
    assert len((folder / "samples.jsonl").read_text().splitlines()) == count, "nothing is measured twice"


def test_other_weights_under_the_old_name_are_refused(
    tiny: str, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", "--limit", "1", "--task", TASK, "--arm", "random", "--checkpoint", tiny]) == 0
    said = capsys.readouterr()
    assert TASK in said.out and "babyai-local" in said.err
    weights = checkpoint.home() / "checkpoints" / tiny / "model.safetensors"
    head, values = weights.read_bytes()[:-2], weights.read_bytes()[-2:]
    weights.write_bytes(head + bytes(255 - value for value in values[:1]) + values[1:])
    assert run(["eval", "--rerun", "last"]) == 1
    assert "was begun with another tiny/model.safetensors" in capsys.readouterr().err


def test_only_what_is_finished_is_run_again(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"limit": 2, "tasks": [TASK], "arms": ["random"], "runs": tmp_path}
    begun = run_suite("babyai-local", **chosen, parts=make_parts())
    cut(tmp_path / begun["run"], 1)
    with pytest.raises(RunError, match="has 1 of 2 samples; finish it with --resume"):
        run_suite(rerun="last", runs=tmp_path, parts=make_parts())
    with pytest.raises(RunError, match="seed was 0, is 1"):
        run_suite(resume="last", seed=1, runs=tmp_path, parts=make_parts())


def test_a_run_of_another_version_is_told_from_a_fault(
    make_parts: Callable[..., Parts],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen: dict[str, Any] = {"limit": 2, "tasks": [TASK], "arms": ["random"]}
    good, old = (run_suite("babyai-local", **chosen, parts=make_parts())["run"] for _ in range(2))
    folder = tmp_path / "runs" / old
    about = json.loads((folder / "run.json").read_text())
    for change, said in (
        ({"config": {**about["config"], "loop": {"zeal": 3}}}, "is of another version (zeal); start a new one"),
        ({"config": {"arms": ["random"]}}, "is of another version ('limit' is missing); start a new one"),
        ({"suite": "babyai-locally"}, "no suite 'babyai-locally'; did you mean `babyai-local`?"),
    ):
        (folder / "run.json").write_text(json.dumps(about | change))
        assert run(["eval", "--resume", old]) == 1 and said in capsys.readouterr().err
    (folder / "run.json").write_text(json.dumps({**about, "config": {"arms": ["random"], "checkpoint": "tiny"}}))
    assert run(["report", old]) == 1 and "made by another version ('limit' is missing)" in capsys.readouterr().err
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "samples.jsonl").write_text(json.dumps({"task": TASK, "seed": 0, "arm": "random"}) + "\n")
    for command in (["report", old], ["compare", good, old]):
        assert run(command) == 1
        said = capsys.readouterr().err
        assert "another version" in said and "run it anew" in said and "unexpected" not in said


def test_a_checkpoint_is_not_measured_on_what_it_learnt_from(
    make_parts: Callable[..., Parts], trained: Trained, tmp_path: Path
) -> None:
    parts = make_parts()
    card = {"learnt": "20 gradient steps", "seen": {TASK: [3, 100_001]}}
    parts.trained = Trained(trained.model, trained.controller, "tiny-1", None, card)
    chosen: dict[str, Any] = {"tasks": [TASK], "arms": ["random"], "runs": tmp_path, "parts": parts}
    answer = run_suite("babyai-local", limit=3, **chosen)
    assert json.loads((tmp_path / answer["run"] / "run.json").read_text())["learnt"] == "20 gradient steps"
    for limit, seed, met in ((4, 0, 3), (2, 1, 100_001)):
        with pytest.raises(EvalError, match=f"tiny-1 learnt from {TASK} with seed {met}, .* choose another --seed"):
            run_suite("babyai-local", limit=limit, seed=seed, **chosen)


def test_what_there_is_not_is_named_with_what_there_is(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["babyai"], "no suite 'babyai'; did you mean `babyai-local`?; there are babyai-local, babyai-levels"),
        (["--arm", "oracle"], "babyai-local has no arm oracle; there are loop, llm-alone"),
        (["--task", "GoToObj"], f"babyai-local has no task GoToObj; there are {TASK}"),
        (["--resume", "nothing"], "no run 'nothing'"),
        (["--checkpoint", "absent"], "no checkpoint 'absent'; there are:"),
    ):
        assert run(["eval", *arguments]) == 1
        assert said in capsys.readouterr().err
    assert run(["eval", "--resume", "a", "--rerun", "b"]) == 2
    with pytest.raises(EvalError, match="no task Pong"):
        run_suite("speed", tasks=["Pong"])


def test_a_run_names_the_adapter_of_its_language_model(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is bound to it, unless nobody asked the language model anything."""
    weights = tmp_path / "mine" / WEIGHTS
    weights.parent.mkdir()
    weights.with_name(CONFIG).write_text("{}")
    weights.write_bytes(b"learned")
    asked = ["eval", "--limit", "1", "--task", TASK, "--arm", "random", "--checkpoint", tiny, "--json"]
    assert run([*asked, "--llm", f"embedded:{weights.parent}"]) == 0
    unasked = json.loads(capsys.readouterr().out)
    monkeypatch.setattr("gedanken.evals.main._idle", lambda parts: [])
    assert run([*asked, "--llm", f"embedded:{weights.parent}"]) == 0
    first = json.loads(capsys.readouterr().out)
    about = json.loads((tmp_path / "runs" / first["run"] / "run.json").read_text())
    assert about["checkpoints"][f"mine/{WEIGHTS}"] == sha256(weights)
    weights.write_bytes(b"learned anew")
    assert run(["eval", "--rerun", unasked["run"]]) == 0
    capsys.readouterr()
    assert run(["eval", "--rerun", first["run"]]) == 1
    assert f"was begun with another mine/{WEIGHTS}" in capsys.readouterr().err
