"""`gedanken bench`: what is counted is what was asked; seconds are not judged."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.cli import run
from gedanken.evals.bench import bench, table
from gedanken.evals.bench_model import bench_model
from gedanken.evals.bench_model import table as model_table
from gedanken.evals.suite import Parts
from gedanken.worldmodel.checkpoint import Trained, build
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC, BabyAIWorld

PLANS = ["go_to(red ball)\n", "go_to(box)\n", "drop()\n"]


def test_every_goal_is_asked_once_for_the_first_plan_or_for_all() -> None:
    llm, told = ScriptedModel(lambda prompt: PLANS), list[int]()
    results = bench(llm, BabyAIWorld, goals=4, candidates=3, on_goal=told.append)
    assert told == [1, 2, 3, 4] and len(llm.prompts) == 9, "one to warm up, then two for each"
    costs = results["costs"]
    assert costs["plans"] == {"low": 3, "median": 3, "high": 3}
    assert costs["tokens"]["median"] == sum(len(plan.split()) for plan in PLANS)
    assert 0 <= costs["first_seconds"]["low"] <= costs["first_seconds"]["high"]
    assert "4 goals, 3 plans wanted" in table(results).note and len(table(results).rows) == 5
    again = ScriptedModel(lambda prompt: PLANS)
    bench(again, BabyAIWorld, goals=4, candidates=3)
    assert again.prompts == llm.prompts, "the seed fixes the goals"


def test_the_command_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "answers.json"
    script.write_text(json.dumps({"Goal": PLANS}))
    asked = ["bench", "llm", "--llm", f"scripted:{script}", "-n", "2"]
    assert run([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["goals"] == 2
    assert run(asked) == 0
    assert "all plans, seconds" in capsys.readouterr().out
    assert run(["bench", "wheels"]) == 2


def test_arithmetic_is_counted_as_it_is() -> None:
    with FlopCounterMode(display=False) as counter:
        torch.randn(3, 5) @ torch.randn(5, 7)
    assert counter.get_total_flops() == 2 * 3 * 5 * 7
    torch.manual_seed(0)
    model, controller = build(SPEC, "spatial", SIZES["debug"].model_dump())
    results = bench_model(Parts(BabyAIWorld, Trained(model.eval(), controller.eval(), "tiny")))
    rates = results["rates"]
    assert set(rates) == {"imagine", "act, imagine and judge", "train"}
    assert all(row["low"] <= row["median"] <= row["high"] for row in rates.values())
    assert rates["train"]["operations"] > rates["imagine"]["operations"] > 0
    for row in rates.values():
        assert row["share"] == pytest.approx(row["median"] * row["operations"] / row["matmul"])
    assert "GFLOP/s of large" in model_table(results).note
