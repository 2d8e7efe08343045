"""`gedanken bench`: what is counted is what was asked; seconds are not judged."""

import json
from pathlib import Path

import pytest

from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.cli import run
from gedanken.evals.bench import bench, table
from gedanken.worlds.babyai import BabyAIWorld

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
