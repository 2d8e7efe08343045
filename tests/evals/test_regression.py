"""What ships does no worse than when the runs in `reference/` were kept, and one that is broken is found out.

Where a change is meant, `make reference` does the runs anew and keeps them instead.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gedanken.cli import run
from gedanken.evals import statistics
from gedanken.evals.main import load_suite
from gedanken.evals.rerun import ROUNDING, compare_rerun
from gedanken.evals.run_folder import RunFolder
from gedanken.worldmodel import checkpoint

REFERENCE = Path(__file__).parent / "reference"
ROUNDS = statistics.ROUNDS  # here intervals count


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(statistics, "ROUNDS", ROUNDS)


MODEL_ALONE = ("oracle-plan", "model")
"""Arms in which the world model and the controller play without a language model."""


def compared(kept: Path) -> int:
    """Return the exit code of comparing a kept run with the last one."""
    return run(["eval", "compare", str(kept), "last", "--fail-on-regression"])


@pytest.mark.parametrize("kept", sorted(REFERENCE.iterdir()), ids=lambda path: path.name)
def test_nothing_got_worse(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`make reproduce` does the same: what was kept can be done again with what ships."""
    code = run(["eval", "--rerun", str(kept)])
    assert code in (0, 3), capsys.readouterr()  # on another machine the last digits may be others
    assert compared(kept) == 0, capsys.readouterr().out
    cut_off_and_resumed(max(Path("runs").iterdir()))


def cut_off_and_resumed(whole: Path) -> None:
    """What was killed half-way and went on comes to the same, though its samples had other company."""
    half = whole.with_name("half")
    shutil.copytree(whole, half)
    (half / "summary.json").unlink()
    lines = (half / "samples.jsonl").read_text().splitlines(keepends=True)
    (half / "samples.jsonl").write_text("".join(lines[: len(lines) // 2]))
    assert run(["eval", "--resume", "half"]) == 0
    samples = [RunFolder.open(Path("runs"), path.name).samples() for path in (whole, half)]
    suite = load_suite(json.loads((whole / "run.json").read_text())["suite"])
    again = compare_rerun(suite, *samples, rounding=ROUNDING)
    assert again.same and not again.other_samples, again.words()
    assert not RunFolder.open(Path("runs"), "half").in_one_go


@pytest.mark.parametrize("kept", sorted(REFERENCE.iterdir()), ids=lambda path: path.name)
def test_a_broken_model_is_found_out(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint.resolve("babyai"), broken)
    tensors = load_file(broken / "model.safetensors")
    torch.manual_seed(0)
    spoilt = {n: t + 0.5 * t.std() * torch.randn_like(t) if t.dim() > 1 else t for n, t in tensors.items()}
    save_file(spoilt, broken / "model.safetensors")
    about = json.loads((kept / "run.json").read_text())
    config = about["config"]
    asked = ["eval", about["suite"], "--limit", str(config["limit"]), "--seed", str(about["seeds"]["seed"])]
    asked += [part for task in config["tasks"] for part in ("--task", task)]
    asked += [part for arm in config["arms"] if arm in MODEL_ALONE for part in ("--arm", arm)]
    assert run([*asked, "--checkpoint", str(broken)]) == 0
    assert compared(kept) == 3
    assert "worse beyond noise" in capsys.readouterr().out
