"""The suite `babyai-local`: seven one-room BabyAI levels, the loop beside its floors and ceilings on the same seeds.

Success is the environment's own reward within the level's own step limit. Nothing is learnt on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from gedanken.evals.arms import ARMS, Sample
from gedanken.evals.measures import Estimate, Measure, Share, mean
from gedanken.evals.run_folder import Key
from gedanken.evals.statistics import paired_difference, wilson
from gedanken.evals.suite import Options, Parts, Table, evaluation_seeds

LEVELS = ("GoToObj", "GoToLocal", "PickupLoc", "PickupDist", "OpenDoor", "PutNextLocal", "UnlockLocalDist")
TASKS = tuple(f"BabyAI-{level}-v0" for level in LEVELS)


class BabyAILocal:
    """See the module; implements `Suite`."""

    name = "babyai-local"
    default_limit = 200
    arms = tuple(ARMS)
    clocks = ("seconds",)
    measures: tuple[Measure, ...] = (
        Share("success", lambda sample: sample["success"]),
        Estimate(
            "actions where both succeed", mean(lambda s: s["steps"]), more_is_better=False, only=lambda s: s["success"]
        ),
    )

    def __init__(self, tasks: Sequence[str] = TASKS) -> None:
        self.tasks = tuple(tasks)

    def count(self, options: Options) -> int:
        """Return the number of episodes."""
        return len(self.tasks) * len(options.arms) * options.limit

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield one sample per episode: level after level, all arms over the same seeds."""
        seeds = evaluation_seeds(options.seed, options.limit)
        for task in self.tasks:
            for arm in reversed(options.arms):
                left = [seed for seed in seeds if (task, seed, arm) not in done]
                for sample in ARMS[arm](parts, task, left):
                    yield asdict(sample)

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return a row per task for the loop (or the first arm there is) as `tasks`, all other arms' under `arms`."""
        known = {field.name for field in fields(Sample)}
        episodes = [Sample(**{key: value for key, value in sample.items() if key in known}) for sample in samples]
        arms = {arm: [_row(episodes, task, arm) for task in self.tasks] for arm in ARMS}
        arms = {arm: [row for row in rows if row["n"]] for arm, rows in arms.items()}
        arms = {arm: rows for arm, rows in arms.items() if rows}
        main = next(iter(arms), "loop")
        return {
            "arm": main,
            "tasks": arms.get(main, []),
            "arms": {arm: rows for arm, rows in arms.items() if arm != main},
            "differences": _differences(episodes),
            "rounds": _rounds([episode for episode in episodes if episode.arm == "loop"]),
        }

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return levels × arms, and what a decision costs."""
        arms = {results["arm"]: results["tasks"], **results["arms"]}
        rows = []
        for task in [row["task"] for row in results["tasks"]]:
            cells = [next((row for row in rows_ if row["task"] == task), None) for rows_ in arms.values()]
            rows.append((task, *[_cell(cell) for cell in cells]))
        counts = sorted({row["n"] for rows_ in arms.values() for row in rows_})
        note = f"success % [Wilson 95 %], n = {' or '.join(map(str, counts))} unseen seeds a level"
        found = [Table("babyai-local", ("level", *arms), tuple(rows), note)]
        if any(row["seconds_per_decision"] is not None for row in results["tasks"]):
            costs = tuple(
                (
                    row["task"],
                    f"{row['seconds_per_decision']:.2f}",
                    f"{row['tokens_per_decision']:.0f}",
                    f"{row['mean_steps']:.1f}",
                )
                for row in results["tasks"]
                if row["seconds_per_decision"] is not None
            )
            found.append(Table("what a decision costs", ("level", "seconds", "tokens", "actions an episode"), costs))
        return found


# ---- what they come to -----------------------------------------------------------------------------------------------


def _row(episodes: Sequence[Sample], task: str, arm: str) -> dict[str, Any]:
    mine = [episode for episode in episodes if (episode.task, episode.arm) == (task, arm)]
    rate = wilson(sum(episode.success for episode in mine), len(mine))
    decisions = sum(episode.decisions for episode in mine)
    predicted = [episode for episode in mine if episode.predicted is not None]

    def per_decision(total: float) -> float | None:
        return total / decisions if decisions else None

    return {
        "task": task,
        "n": rate.n,
        "success": rate.value,
        "ci_low": rate.low,
        "ci_high": rate.high,
        "mean_steps": float(np.mean([episode.steps for episode in mine])) if mine else None,
        "seconds_per_decision": per_decision(sum(episode.seconds for episode in mine)),
        "tokens_per_decision": per_decision(sum(episode.tokens for episode in mine)),
        "prompt_tokens_per_decision": per_decision(sum(episode.prompt_tokens for episode in mine)),
        "predicted": float(np.mean([e.predicted for e in predicted])) if predicted else None,
        "replanned": float(np.mean([episode.replans > 0 for episode in mine])) if mine else None,
        "declined": float(np.mean([episode.status == "declined" for episode in mine])) if mine else None,
    }


def _differences(episodes: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return the loop minus every other arm, paired by task and seed."""
    outcomes = {(e.arm, e.task, e.seed): e.success for e in episodes}
    result = []
    for arm in list(ARMS)[1:]:
        pairs = [
            (success, outcomes[arm, task, seed])
            for (first, task, seed), success in outcomes.items()
            if first == "loop" and (arm, task, seed) in outcomes
        ]
        if pairs:
            difference = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
            result.append({"first": "loop", "second": arm, **difference.as_dict()})
    return result


def _rounds(loop: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return how often the plan carried out last was a first proposal, a revision, or new after reality differed."""
    groups = {
        "a first proposal": [episode for episode in loop if episode.round == 0 and not episode.replans],
        "a revision": [episode for episode in loop if episode.round and not episode.replans],
        "a new plan on the way": [episode for episode in loop if episode.replans],
    }
    return [
        {
            "plan": name,
            "share": len(mine) / len(loop),
            **wilson(sum(episode.success for episode in mine), len(mine)).as_dict(),
        }
        for name, mine in groups.items()
        if mine
    ]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"{100 * row['success']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"
