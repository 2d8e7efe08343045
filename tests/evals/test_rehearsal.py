"""The suite `rehearsal`: sums checked by hand on made-up samples, and the whole way once on real levels."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gedanken.evals.judging import summarise, tables
from gedanken.evals.main import run_suite
from gedanken.evals.rehearsal import RehearsalSuite
from gedanken.evals.suite import Options, Parts
from gedanken.worldmodel.checkpoint import Trained


def judged(
    predicted: float, success: bool, *, kind: str = "right", written: bool = False, steps: int = 5
) -> dict[str, Any]:
    return {
        "kind": kind,
        "written": written,
        "plan": "go_to(red ball)",
        "predicted": predicted,
        "carried_out": 0.5,
        "satisfies": predicted,
        "expected_steps": 5.0,
        "disagreement": 0.0,
        "success": success,
        "done": success,
        "steps": steps,
    }


def sample(plans: Sequence[dict[str, Any]], picked: int, first: int | None = None, task: str = "a") -> dict[str, Any]:
    written = [i for i, plan in enumerate(plans) if plan["written"]]
    members = {"all": list(range(len(plans))), "written": written}
    picks = {"all": picked} | ({"written": written[0]} if written else {})
    return {
        "task": task,
        "seed": 0,
        "arm": "critic",
        "plans": plans,
        "members": members,
        "picked": picks,
        "first_written": first,
    }


SAMPLES = [
    sample([judged(0.9, True, steps=7), judged(0.2, True, steps=5), judged(0.1, False, kind="wrong order")], picked=0),
    sample([judged(0.3, True), judged(0.8, False, kind="wrong order", written=True)], picked=1, first=1, task="b"),
    sample([judged(0.4, False), judged(0.6, False)], picked=1),
]


def test_sums_by_hand() -> None:
    results = summarise(SAMPLES)
    everything = results["groups"]["all"]
    assert (results["situations"], results["plans"], everything["plans"]) == (3, 7, 7)
    assert everything["success"] == pytest.approx(3 / 7)
    ordered = sum((p > q) for p in (0.9, 0.2, 0.3) for q in (0.1, 0.8, 0.4, 0.6))
    assert everything["auroc"]["predicted"]["value"] == pytest.approx(ordered / 12)
    assert everything["auroc"]["carried_out"]["value"] == 0.5
    assert everything["auroc_done"]["value"] == 0.5
    assert everything["auroc"]["predicted"]["n"] == 3, "intervals are over situations"
    assert everything["as_good_as_best"]["value"] == pytest.approx(2 / 3), "where nothing succeeds, no plan is better"
    assert everything["as_good_where_it_matters"] == pytest.approx(
        {"value": 0.5, "low": 0.0945, "high": 0.9055, "n": 2}, abs=1e-3
    )
    assert everything["regret"]["value"] == pytest.approx(1 / 3)
    assert everything["extra_steps"]["value"] == 2, "7 actions where 5 would have done"
    assert everything["by_chance"]["value"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert everything["first_written"] == pytest.approx({"value": 0.0, "low": 0.0, "high": 0.7935, "n": 1}, abs=1e-3)
    assert results["groups"]["written"]["situations"] == 1
    kinds = {row["kind"]: row for row in results["kinds"]}
    assert (kinds["wrong order"]["n"], kinds["wrong order"]["happened"]) == (2, 0)
    assert sum(row["n"] for row in results["reliability"]) == 7
    assert [(row["task"], row["n"], row["success"]) for row in results["tasks"]] == [("a", 2, 1), ("b", 1, 0)]
    assert [table.title.split(",")[0] for table in tables(results)] == ["rehearsal", "kinds of plans", "reliability"]


def test_plans_are_judged_before_they_are_carried_out(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    result = run_suite("rehearsal", limit=1, runs=tmp_path, parts=make_parts())
    assert result["situations"] == 7 and set(result["groups"]) == {"all", "made", "written"}
    assert {"right", "wrong object"} <= {row["kind"] for row in result["kinds"]}
    assert result["groups"]["all"]["first_written"]["n"] == 7


def test_without_a_language_model_made_plans_are_judged(trained: Trained, make_parts: Callable[..., Parts]) -> None:
    parts = make_parts()
    alone = Parts(parts.make_world, trained, parts.config, None, lambda _: None)  # type: ignore[arg-type, return-value]
    alone.critic = parts.critic
    suite = RehearsalSuite(["BabyAI-PutNextLocal-v0"], size=4)
    options = Options(limit=2, seed=0, arms=suite.arms)
    samples = list(suite.measure(alone, options, set()))
    assert len(samples) == suite.count(options) == 2
    assert samples == list(suite.measure(alone, options, set())), "seeds fix everything"
    assert list(suite.measure(alone, options, {(s["task"], s["seed"], s["arm"]) for s in samples})) == []
    assert set(suite.summarise(samples)["groups"]) == {"all", "made"}
