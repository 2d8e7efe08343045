"""What the samples of `world-model` come to: accuracy, calibration, and what disagreement is worth. Knows no model.

Where there was nothing to count, a share is None and its table says "–".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gedanken.evals.judging import between, percent, share
from gedanken.evals.measures import Estimate, Measure, over_parts, ratio
from gedanken.evals.open_loop import COUNTS, HORIZONS
from gedanken.evals.other_actions import ANSWERS
from gedanken.evals.statistics import (
    auroc,
    auroc_interval,
    ratio_interval,
    ratio_intervals,
    reliability,
    risk_coverage,
)
from gedanken.evals.suite import Table

Sample = Mapping[str, Any]

COMPARED = (1, 4, 16, 64)
"""Horizons that are compared between two runs."""

SHARES = {
    "changed": ("changed_right", "changed"),
    "visible": ("visible_right", "visible"),
    "frozen": ("frozen_right", "visible"),
    "seen": ("seen_right", "seen"),
    "hand": ("hand_right", "beginnings"),
    "hand_changed": ("hand_changed_right", "hand_changed"),
    "doors": ("doors_right", "doors"),
    "doors_frozen": ("doors_frozen_right", "doors"),
    "doors_switched": ("doors_switched_right", "doors_switched"),
}
"""Shares at each horizon: Σ one count / Σ another."""


def _right(horizon: int) -> Measure:
    """Return the share of changed cells that are right so many actions ahead."""

    def count(name: str) -> Callable[[Sample], float]:
        return lambda sample: float(sample["horizons"][str(horizon)][name])

    name = f"changed cells right, {horizon} ahead"
    statistic = ratio(count("changed_right"), count("changed"))
    return Estimate(name, statistic, percent=True, only=lambda sample: str(horizon) in sample["horizons"])


def _answered(name: str) -> Callable[[Sample], float]:
    return lambda sample: sum(counts[name] for counts in sample["actions"].values())


def _rollouts(sample: Sample) -> list[tuple[float, bool]]:
    return [(doubt, wrong) for doubt, _, wrong in sample["rollouts"]["1"]]


MEASURES: tuple[Measure, ...] = (
    *(_right(horizon) for horizon in COMPARED),
    Estimate("nats a frame", ratio(lambda s: s["nats"], lambda s: s["frames"]), more_is_better=False),
    Estimate(
        "other actions right",
        ratio(_answered("right"), _answered("n")),
        percent=True,
        only=lambda sample: "actions" in sample,
    ),
    Estimate("AUROC of disagreement, 1 ahead", over_parts(_rollouts, auroc), only=lambda sample: "rollouts" in sample),
)


def summarise(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what was right, by horizon, by action and by level, and what disagreement says of it."""
    tasks = list(dict.fromkeys(sample["task"] for sample in samples))
    nats = ratio_interval([s["nats"] for s in samples], [s["frames"] for s in samples])
    return {
        "episodes": len(samples),
        "frames": sum(sample["frames"] for sample in samples),
        "horizons": [_horizon(samples, horizon) for horizon in HORIZONS],
        "tasks": [_task([sample for sample in samples if sample["task"] == task], task) for task in tasks],
        "nats_per_frame": nats.as_dict(),
        "reward": _signal(samples, "reward"),
        "ending": _signal(samples, "ending"),
        "actions": [_action(samples, [name], name) for name in samples[0]["actions"]]
        + [_action(samples, list(samples[0]["actions"]), "all")],
        "disagreement": [_disagreement(samples, horizon) for horizon in HORIZONS],
    }


def _horizon(samples: Sequence[Sample], horizon: int) -> dict[str, Any]:
    counts = {name: [sample["horizons"][str(horizon)][name] for sample in samples] for name in COUNTS}
    totals = ("beginnings", "seen", "hand_changed", "doors", "doors_switched")
    shares = ratio_intervals({name: (counts[part], counts[whole]) for name, (part, whole) in SHARES.items()})
    return {
        "horizon": horizon,
        "changed_cells": int(sum(counts["changed"])),
        "counts": {name: int(sum(counts[name])) for name in totals},
        **{name: interval.as_dict() for name, interval in shares.items()},
    }


def _task(samples: Sequence[Sample], task: str) -> dict[str, Any]:
    changed = {
        h: [sum(s["horizons"][str(h)][name] for s in samples) for name in ("changed", "changed_right")]
        for h in HORIZONS
    }
    rows = {f"changed_{h}": right / cells if cells else None for h, (cells, right) in changed.items()}
    frames = sum(sample["frames"] for sample in samples)
    nats = sum(sample["nats"] for sample in samples)
    return {"task": task, "n": len(samples), **rows, "nats_per_frame": nats / frames if frames else None}


def _signal(samples: Sequence[Sample], name: str) -> dict[str, Any]:
    """Return precision and recall at 0.5, AUROC and reliability of something that is foretold one action ahead."""
    pairs = [(told, happened, number) for number, s in enumerate(samples) for told, happened in s[name]]
    chances, groups = np.array([pair[0] for pair in pairs]), [pair[2] for pair in pairs]
    told, happened = chances > 0.5, np.array([bool(pair[1]) for pair in pairs])
    bins = reliability(chances.clip(0, 1), happened)
    return {
        "frames": len(pairs),
        "happened": int(happened.sum()),
        "foretold": int(told.sum()),
        "precision": ratio_interval(told & happened, told, groups).as_dict(),
        "recall": ratio_interval(told & happened, happened, groups).as_dict(),
        "auroc": auroc_interval(chances, happened, groups).as_dict(),
        "reliability": [{"n": row.n, "predicted": row.predicted, "happened": row.happened.as_dict()} for row in bins],
    }


def _action(samples: Sequence[Sample], names: Sequence[str], called: str) -> dict[str, Any]:
    """Return how often actions were imagined as they really are, from states in which it can be told."""
    counts = {
        answer: [sum(sample["actions"][name][answer] for name in names) for sample in samples] for answer in ANSWERS
    }
    told = {name: (counts[name], counts["n"]) for name in ("right", "frozen", "told_apart")}
    cells = {
        "cells_right": (counts["cells_right"], counts["cells"]),
        "right_seen": (counts["right_seen"], counts["n_seen"]),
    }
    shares = {name: interval.as_dict() for name, interval in ratio_intervals(told | cells).items()}
    return {"action": called, "n": int(sum(counts["n"])), "n_seen": int(sum(counts["n_seen"])), **shares}


def _disagreement(samples: Sequence[Sample], horizon: int) -> dict[str, Any]:
    """Return whether disagreement, summed over a rollout, tells which rollouts end in a wrong view.

    `visible` speaks of all cells in sight, `seen` of those that had been in sight when the rollout began.
    """
    rows = [(*rollout, number) for number, s in enumerate(samples) for rollout in s["rollouts"][str(horizon)]]
    doubts, visible, seen, groups = ([row[column] for row in rows] for column in range(4))
    found: dict[str, Any] = {"horizon": horizon, "rollouts": len(rows)}
    for name, wrong in (("visible", visible), ("seen", seen)):
        curve = risk_coverage(doubts, wrong, groups)
        found[name] = {
            "wrong": int(sum(wrong)),
            "auroc": auroc_interval(doubts, wrong, groups).as_dict(),
            "area": curve.area.as_dict(),
            "risk": [{"coverage": coverage, **risk.as_dict()} for coverage, risk in curve.points],
        }
    return found


# ---- for people ------------------------------------------------------------------------------------------------------


def tables(results: Mapping[str, Any]) -> list[Table]:
    """Return the tables of all that the results hold; those of older runs hold less."""
    made = [_cells(results)]
    if "disagreement" in results:
        made.append(_things(results))
    made.append(_signals(results))
    if "disagreement" in results:
        made += [_actions(results), _doubts(results), _levels(results)]
    return made


def _cells(results: Mapping[str, Any]) -> Table:
    kinds = {
        "changed": "changed",
        "seen": "seen before",
        "visible": "all visible",
        "frozen": "frozen world, all visible",
    }
    kept = [kind for kind in kinds if kind in results["horizons"][0]]
    columns = ("horizon", "changed cells", *(kinds[kind] for kind in kept))
    rows = tuple(
        (str(row["horizon"]), str(row["changed_cells"]), *(share(row[kind]) for kind in kept))
        for row in results["horizons"]
    )
    note = f"{results['episodes']} episodes; a frozen world has no changed cell right"
    return Table("open loop, cells right, %", columns, rows, note)


def _things(results: Mapping[str, Any]) -> Table:
    """Show what is carried and the doors; "n" counts what stands to the left of it."""
    columns = ("horizon", "hand", "n", "hand that changed", "n", "doors", "if frozen", "n", "doors just switched", "n")
    rows = []
    for row in results["horizons"]:
        counts = {name: str(count) for name, count in row["counts"].items()}
        hand = (share(row["hand"]), counts["beginnings"], share(row["hand_changed"]), counts["hand_changed"])
        doors = (share(row["doors"]), percent(row["doors_frozen"]["value"]), counts["doors"])
        switched = (share(row["doors_switched"]), counts["doors_switched"])
        rows.append((str(row["horizon"]), *hand, *doors, *switched))
    note = "a door is right in kind, colour and state; just switched: its state changed with the last action"
    return Table("open loop, what is carried and doors, right, %", columns, tuple(rows), note)


def _signals(results: Mapping[str, Any]) -> Table:
    nats = results["nats_per_frame"]
    rows = tuple(
        (name, str(row["happened"]), *(share(row[key]) for key in ("precision", "recall", "auroc")))
        for name, row in (("reward", results["reward"]), ("ending", results["ending"]))
    )
    columns = ("foretold one action ahead, %", "n", "precision", "recall", "AUROC")
    return Table(f"next observation: {between(nats, 2)} nats a frame", columns, rows)


def _actions(results: Mapping[str, Any]) -> Table:
    columns = (
        "action",
        "n",
        "all telling cells right",
        "if frozen",
        "told apart",
        "cell by cell",
        "all seen before",
        "n",
    )
    rows = tuple(
        (
            row["action"],
            str(row["n"]),
            share(row["right"]),
            percent(row["frozen"]["value"]),
            share(row["told_apart"]),
            share(row["cells_right"]),
            share(row["right_seen"]),
            str(row["n_seen"]),
        )
        for row in results["actions"]
    )
    note = (
        "every action imagined from one belief, and really taken in copies of the environment; telling cells are those"
        " in which what the actions show differs; told apart: nearer to what it does than to what any other does"
    )
    return Table("the same state, other actions, %", columns, rows, note)


def _doubts(results: Mapping[str, Any]) -> Table:
    columns = ("horizon", "n", "wrong in", "wrong", "AUROC", "wrong at 50 % coverage", "80 %", "100 %", "area")
    rows = []
    for row in results["disagreement"]:
        for name, called in (("visible", "sight"), ("seen", "what was seen before")):
            found = row[name]
            risks = {round(100 * point["coverage"]): share(point) for point in found["risk"]}
            shown = (str(found["wrong"]), share(found["auroc"]), risks[50], risks[80], risks[100], share(found["area"]))
            rows.append((str(row["horizon"]), str(row["rollouts"]), called, *shown))
    note = (
        "wrong: any cell; at a coverage those rollouts are kept on which the ensemble differs least; the area is the"
        " mean over all coverages, and would be as at 100 % if disagreement told nothing"
    )
    return Table("does disagreement tell which imagined view is wrong? %", columns, tuple(rows), note)


def _levels(results: Mapping[str, Any]) -> Table:
    columns = ("level", "n", *(f"{horizon} ahead" for horizon in HORIZONS), "nats a frame")
    rows = tuple(
        (
            row["task"],
            str(row["n"]),
            *(percent(row[f"changed_{horizon}"]) for horizon in HORIZONS),
            "–" if row["nats_per_frame"] is None else f"{row['nats_per_frame']:.2f}",
        )
        for row in results["tasks"]
    )
    return Table("open loop by level, changed cells right, %", columns, rows)
