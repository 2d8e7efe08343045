"""What the samples of `rehearsal` come to: ranking, calibration and choice. Knows no world and no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gedanken.evals.measures import Estimate, Measure, Share, over_parts
from gedanken.evals.statistics import (
    auroc,
    auroc_interval,
    bootstrap,
    brier,
    calibration_error,
    mean_interval,
    reliability,
    wilson,
)
from gedanken.evals.suite import Table

SCORES = ("predicted", "carried_out", "satisfies")
"""What is compared with real success: the critic's word, and its two ingredients alone.

`carried_out` speaks of a plan's steps whatever the goal is, so it is also compared with whether they were really done.
"""

Sample = Mapping[str, Any]


def _told(sample: Sample) -> list[tuple[float, bool]]:
    return [(plan["predicted"], plan["success"]) for plan in sample["plans"]]


def _as_good(sample: Sample) -> bool:
    best = max(plan["success"] for plan in sample["plans"])
    return bool(sample["plans"][sample["picked"]["all"]]["success"] >= best)


MEASURES: tuple[Measure, ...] = (
    Share("pick as good as the best", _as_good),
    Estimate("AUROC of predicted success", over_parts(_told, auroc)),
    Estimate("calibration error", over_parts(_told, calibration_error), more_is_better=False),
    Estimate("Brier score", over_parts(_told, brier), more_is_better=False),
)


def summarise(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the results for each group of plans, and by kind of plan, by level and as a reliability table."""
    groups = sorted({group for sample in samples for group, members in sample["members"].items() if members})
    plans = [(plan, number) for number, sample in enumerate(samples) for plan in sample["plans"]]
    predicted, happened = [p["predicted"] for p, _ in plans], [p["success"] for p, _ in plans]
    return {
        "situations": len(samples),
        "plans": len(plans),
        "groups": {group: _group(samples, group) for group in groups},
        "tasks": [_task(samples, task) for task in dict.fromkeys(sample["task"] for sample in samples)],
        "kinds": [_kind(plans, kind) for kind in sorted({plan["kind"] for plan, _ in plans})],
        "reliability": [
            {"low": row.low, "high": row.high, "n": row.n, "predicted": row.predicted, **_named(row.happened.as_dict())}
            for row in reliability(predicted, happened)
        ],
    }


def _group(samples: Sequence[Sample], group: str) -> dict[str, Any]:
    rows = [
        (sample["plans"][i], number) for number, sample in enumerate(samples) for i in sample["members"].get(group, ())
    ]
    happened = np.array([plan["success"] for plan, _ in rows], bool)
    where = np.array([number for _, number in rows])
    predicted = np.array([plan["predicted"] for plan, _ in rows])

    def ece(index: NDArray[np.int64]) -> float:
        return calibration_error(predicted[index], happened[index])

    scores = {name: [plan[name] for plan, _ in rows] for name in SCORES}
    done = [plan.get("done", False) for plan, _ in rows]
    return {
        "plans": len(rows),
        "situations": len(set(where.tolist())),
        "success": float(happened.mean()),
        "auroc": {name: auroc_interval(values, happened, where).as_dict() for name, values in scores.items()},
        "auroc_done": auroc_interval(scores["carried_out"], done, where).as_dict(),
        "ece": bootstrap(ece, where).as_dict(),
        "ece_equal_mass": calibration_error(predicted, happened, equal_mass=True),
        "brier": brier(predicted, happened),
        **_choice([sample for sample in samples if sample["members"].get(group)], group),
    }


def _choice(samples: Sequence[Sample], group: str) -> dict[str, Any]:
    """Return how good the plans picked are beside the best, the average and the language model's first of each set."""
    sets = [[sample["plans"][i] for i in sample["members"][group]] for sample in samples]
    picks = [sample["plans"][sample["picked"][group]] for sample in samples]
    best = [max(plan["success"] for plan in plans) for plans in sets]
    as_good = [pick["success"] >= top for pick, top in zip(picks, best, strict=True)]
    matters = [len({plan["success"] for plan in plans}) > 1 for plans in sets]
    decisive = [good for good, mattered in zip(as_good, matters, strict=True) if mattered]
    by_chance = [np.mean([plan["success"] >= top for plan in plans]) for plans, top in zip(sets, best, strict=True)]
    fewest = [min((plan["steps"] for plan in plans if plan["success"]), default=0) for plans in sets]
    extra = [pick["steps"] - few for pick, few in zip(picks, fewest, strict=True) if pick["success"]]
    first = [
        sample["plans"][sample["first_written"]]["success"] >= top
        for sample, top in zip(samples, best, strict=True)
        if sample["first_written"] in sample["members"][group]
    ]
    return {
        "as_good_as_best": wilson(sum(as_good), len(as_good)).as_dict(),
        "as_good_where_it_matters": wilson(sum(decisive), len(decisive)).as_dict(),
        "regret": mean_interval([top - pick["success"] for top, pick in zip(best, picks, strict=True)]).as_dict(),
        "extra_steps": mean_interval(extra).as_dict(),
        "by_chance": mean_interval(by_chance).as_dict(),
        "first_written": wilson(sum(first), len(first)).as_dict(),
    }


def _task(samples: Sequence[Sample], task: str) -> dict[str, Any]:
    mine = [sample for sample in samples if sample["task"] == task]
    plans = [plan for sample in mine for plan in sample["plans"]]
    rate = wilson(sum(map(_as_good, mine)), len(mine))
    return {
        "task": task,
        "n": rate.n,
        "success": rate.value,
        "ci_low": rate.low,
        "ci_high": rate.high,
        "plans": len(plans),
        "auroc": auroc([plan["predicted"] for plan in plans], [plan["success"] for plan in plans]),
        "ece": calibration_error([plan["predicted"] for plan in plans], [plan["success"] for plan in plans]),
    }


def _kind(plans: Sequence[tuple[Mapping[str, Any], int]], kind: str) -> dict[str, Any]:
    mine = [plan for plan, _ in plans if plan["kind"] == kind]
    rate = wilson(sum(plan["success"] for plan in mine), len(mine))
    means = {name: float(np.mean([plan[name] for plan in mine])) for name in SCORES}
    return {"kind": kind, "n": rate.n, **_named(rate.as_dict()), **means}


def _named(interval: Mapping[str, Any]) -> dict[str, Any]:
    """Name an interval of how often it really happened."""
    return {"happened": interval["value"], "ci_low": interval["low"], "ci_high": interval["high"]}


# ---- for people ------------------------------------------------------------------------------------------------------


def tables(results: Mapping[str, Any]) -> list[Table]:
    """Return ranking and choice, the kinds of plans, and the reliability table."""
    groups = results["groups"]
    rows = [
        ("plans", *[f"{g['plans']} in {g['situations']} situations" for g in groups.values()]),
        ("really succeeded", *[percent(g["success"]) for g in groups.values()]),
        *[(f"AUROC of {name}", *[between(g["auroc"][name], 3) for g in groups.values()]) for name in SCORES],
        ("AUROC of carried_out, of all steps done", *[between(g["auroc_done"], 3) for g in groups.values()]),
        ("expected calibration error, 10 bins", *[between(g["ece"], 3) for g in groups.values()]),
        ("pick as good as the best", *[share(g["as_good_as_best"]) for g in groups.values()]),
        ("… where the plans differ", *[share(g["as_good_where_it_matters"]) for g in groups.values()]),
        ("… if picked by chance", *[share(g["by_chance"]) for g in groups.values()]),
        ("… the language model's first", *[share(g["first_written"]) for g in groups.values()]),
        ("top-1 regret", *[between(g["regret"], 3) for g in groups.values()]),
    ]
    kinds = tuple(
        (
            row["kind"],
            str(row["n"]),
            f"{percent(row['happened'])} [{percent(row['ci_low'])}, {percent(row['ci_high'])}]",
            *[percent(row[name]) for name in SCORES],
        )
        for row in results["kinds"]
    )
    bins = tuple(
        (
            f"{row['low']:.1f}–{row['high']:.1f}",
            str(row["n"]),
            percent(row["predicted"]),
            f"{percent(row['happened'])} [{percent(row['ci_low'])}, {percent(row['ci_high'])}]",
        )
        for row in results["reliability"]
    )
    return [
        Table(
            "rehearsal", ("plans", *groups), tuple(rows), "95 % intervals; bootstrap over situations, Wilson for shares"
        ),
        Table("kinds of plans, %", ("kind", "n", "really succeeded", "predicted", "carried out", "satisfies"), kinds),
        Table("reliability, equal-width bins, %", ("predicted", "n", "mean", "really succeeded"), bins),
    ]


def percent(value: float | None) -> str:
    """Write a share in per cent."""
    return "–" if value is None else f"{100 * value:.1f}"


def between(interval: Mapping[str, Any], digits: int) -> str:
    """Write an interval."""
    if interval["value"] is None:
        return "–"
    low, high = ("–" if interval[key] is None else f"{interval[key]:.{digits}f}" for key in ("low", "high"))
    return f"{interval['value']:.{digits}f} [{low}, {high}]"


def share(interval: Mapping[str, Any]) -> str:
    """Write a share with its interval in per cent."""
    if interval["value"] is None:
        return "–"
    return f"{percent(interval['value'])} [{percent(interval['low'])}, {percent(interval['high'])}]"
