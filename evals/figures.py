"""Which charts a run has, suite by suite. Knows no page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from gedanken.evals.arms import ALONE, IDLE, REPLAN
from gedanken.evals.charts import (
    Bar,
    Curve,
    Dot,
    bars,
    coverage_curves,
    horizon_curves,
    number_curves,
    reliability_diagram,
)
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.statistics import reliability, wilson
from gedanken.evals.suite import Suite

KINDS = {
    "loop": "main",
    REPLAN: "second",
    ALONE: "second",
    "oracle-plan": "third",
    "bot": "third",
    "random": "floor",
    IDLE: "floor",
}
"""CSS class of each arm's bar."""


@dataclass(frozen=True)
class Figure:
    """A chart and what it shows."""

    title: str
    chart: Markup
    note: str = ""


def figures(suite: Suite, summary: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Yield the charts of a run's summary and, where they were kept, its samples."""
    results = summary["results"]
    if isinstance(suite, EpisodeSuite):
        yield from _success(results)
        mine = [sample for sample in samples if sample["arm"] == results["arm"]]
        told = [sample for sample in mine if sample.get("predicted") is not None]
        if told:
            yield _reliability([sample["predicted"] for sample in told], [sample["success"] for sample in told])
    elif suite.name == "rehearsal":
        rows = results["reliability"]
        dots = [Dot(r["predicted"], r["happened"], r["ci_low"], r["ci_high"], r["n"]) for r in rows]
        yield _diagram(dots, "plans")
        kinds = [Bar(_short(r["kind"]), r["happened"], r["ci_low"], r["ci_high"]) for r in results["kinds"]]
        yield Figure("Really succeeded, by kind of plan", bars(kinds, "success by kind of plan"), "Wilson 95 %")
    elif suite.name == "world-model":
        yield from _horizons(results["horizons"])
        for name in ("ending", "reward"):
            yield from _foretold(results[name], name)
        yield from _doubted(results.get("disagreement", ()))
    elif suite.name == "number-model":
        yield from _errors(results["tasks"])
    yield from _learned(summary.get("curves", ()))


def _success(results: Mapping[str, Any]) -> Iterator[Figure]:
    """Draw success by arm: all levels together, for arms that play them all, then level by level."""
    arms = {results["arm"]: results["tasks"], **results["arms"]}
    together, levels = [], {row["task"] for row in results["tasks"]}
    for arm, rows in arms.items():
        if {row["task"] for row in rows} != levels:
            continue
        rate = wilson(round(sum(row["n"] * row["success"] for row in rows)), sum(row["n"] for row in rows))
        together.append(Bar(arm, rate.value, rate.low, rate.high, KINDS.get(arm, "second")))
    counts = {row["n"] for rows in arms.values() for row in rows}
    each = f"n = {' or '.join(map(str, sorted(counts)))} a level and arm, Wilson 95 %"
    yield Figure("Success, all levels", bars(together, "success of every arm over all levels"), each)
    for task in [row["task"] for row in results["tasks"]]:
        mine = [(arm, row) for arm, rows in arms.items() for row in rows if row["task"] == task]
        level = [Bar(arm, row["success"], row["ci_low"], row["ci_high"], KINDS.get(arm, "second")) for arm, row in mine]
        yield Figure(task, bars(level, f"success of every arm in {task}"))


def _reliability(predicted: Sequence[float], happened: Sequence[bool]) -> Figure:
    table = reliability(predicted, happened)
    rows = [(row.predicted, row.happened, row.n) for row in table]
    return _diagram([Dot(at, rate.value, rate.low, rate.high, n) for at, rate, n in rows], "episodes of the loop")


def _diagram(dots: Sequence[Dot], what: str) -> Figure:
    total = sum(dot.n for dot in dots)
    note = f"{total:,} {what} in bins of 10 %; whiskers: Wilson 95 %; grey: how many predictions; dashed: as predicted"
    return Figure("Is predicted success true?", reliability_diagram(dots, "reliability diagram"), note)


def _horizons(rows: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Draw the error over the horizon, and that of a world that froze."""
    names = {
        "changed": ("cells that changed", "main"),
        "visible": ("all visible cells", "second"),
        "seen": ("those that had been seen before", "third"),
        "frozen": ("all visible cells, if the world froze", "floor"),
    }
    curves = []
    for key, (label, kind) in names.items():
        known = [(row["horizon"], found) for row in rows if None not in ((found := _measured(row, key))[:2])]
        points = tuple((horizon, 1 - value, 1 - high, 1 - low) for horizon, (value, low, high) in known)
        curves += [Curve(label, points, kind)] if points else []
    if curves:
        chart = horizon_curves(curves, "cells predicted wrong over the number of actions ahead")
        note = "bands: 95 %; a frozen world has every changed cell wrong"
        yield Figure("Cells wrong, open loop", chart, note)


def _measured(row: Mapping[str, Any], key: str) -> tuple[Any, Any, Any]:
    found = row.get(key, {})
    return found.get("value"), found.get("low"), found.get("high")


def _foretold(signal: Mapping[str, Any], name: str) -> Iterator[Figure]:
    """Draw whether something is as likely as it was foretold one action ahead, where it ever happened."""
    rows = signal.get("reliability", ()) if signal["happened"] else ()
    if not rows:
        return
    shares = [(row["predicted"], row["happened"], row["n"]) for row in rows]
    dots = [Dot(at, rate["value"], rate["low"], rate["high"], n) for at, rate, n in shares]
    chart = reliability_diagram(dots, f"reliability of a foretold {name}", f"foretold {name}", "really happened")
    note = f"{signal['frames']:,} actions, {signal['happened']:,} times it happened; whiskers: Wilson 95 %"
    yield Figure(f"Is a foretold {name} true?", chart, note)


def _doubted(rows: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Draw, for some horizons, how much is wrong among the rollouts that are doubted least."""
    for name, words in (("seen", "in what had been seen"), ("visible", "in sight")):
        curves = []
        for horizon, kind in ((1, "main"), (4, "second"), (16, "third")):
            for row in rows:
                if row["horizon"] == horizon and row["rollouts"]:
                    points = tuple((p["coverage"], p["value"], p["low"], p["high"]) for p in row[name]["risk"])
                    curves.append(Curve(f"{horizon} {'action' if horizon == 1 else 'actions'} ahead", points, kind))
        if curves:
            chart = coverage_curves(curves, f"views wrong {words} over coverage")
            note = "the ensemble's disagreement orders the rollouts; level where it tells nothing; bands: 95 %"
            yield Figure(f"Views wrong {words}, by disagreement", chart, note)


def _errors(tasks: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Draw each world's error over the horizon, beside a linear model's and that of a frozen world."""
    kinds = {"model": "main", "linear": "second", "frozen": "floor"}
    for task in tasks:
        curves = []
        for arm, rows in task["arms"].items():
            told = [(int(horizon), *_measured(row, "error")) for horizon, row in rows.items() if row["n"]]
            points = tuple(point for point in told if None not in point)
            curves += [Curve(arm, points, kinds[arm])] if points else []
        if curves:
            chart = horizon_curves(curves, f"error over the number of actions ahead in {task['task']}", numbers=True)
            yield Figure(f"{task['task']}, error", chart, "in standard deviations of each number; bands: 95 %")


def _learned(curves: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Draw what episodes paid while a world was learned, a curve for each training seed."""
    for task in dict.fromkeys(curve["task"] for curve in curves):
        kinds, drawn = itertools.cycle(("main", "second", "third")), []
        for curve in curves:
            if curve["task"] == task and curve["points"]:
                points = tuple((at, paid, paid, paid) for at, paid in curve["points"])
                drawn.append(Curve(f"training seed {curve['training_seed']}", points, next(kinds)))
        if drawn:
            chart = number_curves(drawn, f"return over real steps while {task} was learned", "real steps until then")
            yield Figure(f"{task}, return while it was learned", chart, "means of the episodes that ended meanwhile")


def _short(kind: str) -> str:
    return kind.replace("prerequisite", "key").replace("language model", "LLM's")
