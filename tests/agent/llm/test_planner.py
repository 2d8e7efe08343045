"""The recipe of a planner, at its smallest: real goals, a tiny random model, an adapter that loads."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from gedanken.agent.llm.adapter import CARD, WEIGHTS, Adapter
from gedanken.agent.llm.embedded import EmbeddedModel
from gedanken.agent.llm.fetch import _write_manifest, weights_digest
from gedanken.agent.llm.tune import TuningError
from gedanken.agent.plan_practice import PROMPT
from gedanken.agent.planner import SIZES, train_planner
from gedanken.cli import run
from gedanken.worlds.babyai import SPEC, BabyAIWorld

LEVELS = ("BabyAI-GoToObj-v0",)


@pytest.fixture
def base(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(SIZES, "debug", SIZES["debug"] | {"first_layer": 1})
    folder = tmp_path / "base"
    shutil.copytree(tiny_folder, folder)
    _write_manifest(folder, "a test")
    return folder


def test_a_planner_is_trained_saved_listed_and_used(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    path = train_planner(BabyAIWorld, LEVELS, name="mine", size="debug", base=base, say=said.append)
    assert len(said) == 4 and "step 4 of 4" in said[-1]
    adapter = Adapter.open(path)
    adapter.check(weights_digest(base))
    card = json.loads((path / CARD).read_text())
    assert (
        card["prompt"] == PROMPT
        and card["levels"] == list(LEVELS)
        and card["command"].endswith("--size debug --seed 0")
    )
    assert (path / WEIGHTS).stat().st_size < 16_000_000
    model = EmbeddedModel.from_folder(base, dtype=torch.float32, adapter=adapter)
    asked = {"grammar": SPEC.grammar(), "temperature": 0.0, "max_tokens": 96, "seed": 0}
    [[first, *_]] = model.complete(["You see no objects.\nGoal: go to the box\nPlan:\n"], n=2, **asked)  # type: ignore[arg-type]
    assert first.truncated or SPEC.parse_plan(first.text)
    assert run(["models", "--json"]) == 0
    assert "embedded:mine" in {row["name"] for row in json.loads(capsys.readouterr().out)["language_models"]}
    with pytest.raises(TuningError, match="never overwritten"):
        train_planner(BabyAIWorld, LEVELS, name="mine", size="debug", base=base)


def test_a_training_goes_on_from_an_adapter_and_says_so(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = train_planner(BabyAIWorld, LEVELS, name="first", size="debug", base=base, steps=2)
    path = train_planner(
        BabyAIWorld, LEVELS, name="second", size="debug", base=base, seed=1, steps=1, begins_from=Adapter.open(first)
    )
    card = json.loads((path / CARD).read_text())
    assert card["command"] == "gedanken train --planner --size debug --seed 1 --steps 1 --begins-from first"
    before = card["begins_from"]
    assert before["sha256"] == hashlib.sha256((first / WEIGHTS).read_bytes()).hexdigest() and before["steps"] == 2
    assert (card["steps"], card["training"]["steps"]) == (1, 1)
    training = Adapter.open(path).training
    assert training.prompt == PROMPT and training.declines and training.supposes
    assert run(["train", "--begins-from", "first"]) == 2
    assert "say --planner as well" in capsys.readouterr().err


def test_names_of_adapters_that_are_not_there(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "go to the red ball", "--llm", "embedded:nobody"]) == 1
    assert "no adapter 'nobody'" in capsys.readouterr().err
