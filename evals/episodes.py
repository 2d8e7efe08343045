"""What the suites of whole episodes share: success of arms over levels, each over the same unseen seeds.

Success is the environment's own reward within the level's own step limit. Nothing is learnt on the way. Knows no level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from gedanken.evals.arms import ABOUT, ARMS, Arm
from gedanken.evals.measures import FEWEST, Estimate, Measure, Share, mean
from gedanken.evals.run_folder import Key
from gedanken.evals.sample import Sample
from gedanken.evals.statistics import Interval, paired_bootstrap, paired_difference, wilson
from gedanken.evals.suite import Options, Parts, Table, chunks, evaluation_seeds

TOGETHER = 256
"""Seeds that an arm plays before what happened is written down."""

NOTHING: Mapping[str, str] = {}
"""Every task is a world of its own."""


class EpisodeSuite:
    """See the module; implements `Suite`. Subclasses say which levels, which arms and how many seeds.

    Attributes:
        levels: the tasks where none are named.
        players: every arm by name, the one in question first.
        default_arms: those that play where none are named.
        aims: the success in per cent that the project has set itself, by task: a column of its own where there are any.
        about: what every arm is, in words.
        worlds: the world of each task, where tasks are no worlds; tasks of one world have scenes in common.
    """

    name: str
    default_limit: int
    levels: tuple[str, ...]
    players: Mapping[str, Arm] = ARMS
    default_arms: tuple[str, ...] = tuple(ARMS)
    aims: Mapping[str, float] = {}
    about: Mapping[str, str] = ABOUT
    worlds: Mapping[str, str] = {}
    epochs = True
    clocks: tuple[str, ...] = ("seconds", "acting_seconds")
    measures: tuple[Measure, ...] = (
        Share("success", lambda sample: sample["success"]),
        Estimate(
            "actions where both succeed", mean(lambda s: s["steps"]), more_is_better=False, only=lambda s: s["success"]
        ),
    )

    def __init__(self, tasks: Sequence[str] | None = None) -> None:
        self.tasks = self.levels if tasks is None else tuple(tasks)
        self.arms = tuple(self.players)

    def count(self, options: Options) -> int:
        """Return the number of episodes."""
        return sum(self.plays(task, arm) for task in self.tasks for arm in options.arms) * options.limit

    def plays(self, task: str, arm: str) -> bool:
        """Tell whether an arm plays a task; here every arm plays every task."""
        return True

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield one sample per episode: level after level, all arms over the same seeds."""
        seeds = evaluation_seeds(options.seed, options.limit)
        for task in self.tasks:
            for arm in [arm for arm in reversed(options.arms) if self.plays(task, arm)]:
                for chunk in chunks(seeds, TOGETHER):
                    left = [seed for seed in chunk if (task, seed, arm) not in done]
                    if left:
                        yield from map(asdict, self.players[arm](parts, task, left))

    def failed(self, task: str, seed: int, arm: str) -> dict[str, Any]:
        """Return what stands for an episode that raised: one that failed."""
        return asdict(Sample(task, seed, arm, success=False, steps=0, goal=""))

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return a row per task for the first arm there is as `tasks`, all other arms' under `arms`."""
        episodes = episodes_of(samples)
        arms = {arm: [_row(episodes, task, arm) for task in self.tasks] for arm in self.arms}
        arms = {arm: [row for row in rows if row["n"]] for arm, rows in arms.items()}
        arms = {arm: rows for arm, rows in arms.items() if rows}
        main = next(iter(arms), self.arms[0])
        return {
            "arm": main,
            "tasks": arms.get(main, []),
            "arms": {arm: rows for arm, rows in arms.items() if arm != main},
            "differences": _differences(episodes, list(arms), self.worlds),
            "rounds": _rounds([episode for episode in episodes if episode.arm == "loop"], self.worlds),
        }

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return levels × arms, and what a decision costs."""
        arms = {results["arm"]: results["tasks"], **results["arms"]}
        rows = []
        for task in [row["task"] for row in results["tasks"]]:
            cells = [next((row for row in rows_ if row["task"] == task), None) for rows_ in arms.values()]
            aim = (f"{self.aims[task]:g}",) if self.aims else ()
            rows.append((task, *aim, *[_cell(cell) for cell in cells]))
        counts = sorted({row["n"] for rows_ in arms.values() for row in rows_})
        note = f"success % [Wilson 95 %], n = {' or '.join(map(str, counts))} unseen seeds a level"
        errors = sum(row.get("errors", 0) for rows_ in arms.values() for row in rows_)
        note += f"; {errors} of the episodes raised an error and count as failed" if errors else ""
        note += "; aim: the success % that this project has set itself, no result" if self.aims else ""
        columns = ("level", *(("aim",) if self.aims else ()), *arms)
        return [Table(self.name, columns, tuple(rows), note), *self.costs(results)]

    def costs(self, results: Mapping[str, Any]) -> list[Table]:
        """Return what a decision of the first arm costs, where it decides anything."""
        rows = tuple(
            (
                row["task"],
                f"{row['seconds_per_decision']:.2f}",
                f"{row['tokens_per_decision']:.0f}",
                f"{row['mean_steps']:.1f}",
            )
            for row in results["tasks"]
            if row["seconds_per_decision"] is not None
        )
        columns = ("level", "seconds", "tokens", "actions an episode")
        return [Table("what a decision costs", columns, rows)] if rows else []


# ---- what they come to -----------------------------------------------------------------------------------------------


def _row(episodes: Sequence[Sample], task: str, arm: str) -> dict[str, Any]:
    mine = [episode for episode in episodes if (episode.task, episode.arm) == (task, arm)]
    rate = success_of(mine)
    sound = [episode for episode in mine if episode.error is None]  # what raised says nothing of costs
    decisions = sum(episode.decisions for episode in mine)
    predicted = [episode for episode in mine if episode.predicted is not None]

    def per_decision(total: float) -> float | None:
        return total / decisions if decisions else None

    def average(values: Sequence[float]) -> float | None:
        return float(np.mean(values)) if values else None

    return {
        "task": task,
        "n": rate.n,
        "success": rate.value,
        "ci_low": rate.low,
        "ci_high": rate.high,
        "mean_steps": average([episode.steps for episode in sound]),
        "mean_tokens": average([episode.tokens for episode in sound]),
        "mean_prompt_tokens": average([episode.prompt_tokens for episode in sound]),
        "mean_seconds": average([episode.seconds for episode in sound]),
        "mean_acting_seconds": average([episode.acting_seconds for episode in sound]),
        "seconds_per_decision": per_decision(sum(episode.seconds for episode in mine)),
        "tokens_per_decision": per_decision(sum(episode.tokens for episode in mine)),
        "prompt_tokens_per_decision": per_decision(sum(episode.prompt_tokens for episode in mine)),
        "predicted": average([e.predicted for e in predicted if e.predicted is not None]),
        "replanned": average([episode.replans > 0 for episode in mine]),
        "declined": average([episode.status == "declined" for episode in mine]),
        "errors": sum(episode.error is not None for episode in mine),
    }


def episodes_of(samples: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """Read samples; what a later version added is left out."""
    known = {field.name for field in fields(Sample)}
    return [Sample(**{key: value for key, value in sample.items() if key in known}) for sample in samples]


def costs_of_arms(results: Mapping[str, Any]) -> list[Table]:
    """Return actions, tokens and seconds of an episode, for the arms that ask a language model."""
    arms = {results["arm"]: results["tasks"], **results["arms"]}
    rows = tuple(
        (
            row["task"],
            arm,
            f"{row['mean_steps']:.1f}",
            f"{row['mean_prompt_tokens']:.0f}",
            f"{row['mean_tokens']:.0f}",
            f"{row['mean_seconds']:.2f}",
            f"{row['mean_acting_seconds']:.2f}",
        )
        for arm, rows in arms.items()
        for row in rows
        if row["seconds_per_decision"] is not None
    )
    columns = ("task", "arm", "actions", "tokens in", "tokens out", "seconds thinking", "seconds acting")
    note = "means an episode; a prompt that had been asked before in the run counts again"
    return [Table("what an episode costs", columns, rows, note)] if rows else []


def success_of(episodes: Sequence[Sample], worlds: Mapping[str, str] = NOTHING) -> Interval:
    """Return the share of successes with Wilson's interval; what was done in one scene counts as one, for its mean."""
    scenes = _by_scene(episodes, worlds)
    return wilson(sum(scenes.values()), len(scenes))


def difference(
    first: Sequence[Sample],
    second: Sequence[Sample],
    *,
    level: float = 0.95,
    worlds: Mapping[str, str] = NOTHING,
) -> Interval | None:
    """Return the success of two arms over the samples that both have, first minus second; None where there is none.

    What was done in one scene counts as one, for its mean; where some of it differs the interval is a bootstrap over
    scenes, with NaN bounds for fewer than `FEWEST`.
    """
    both = {_sample(episode) for episode in first} & {_sample(episode) for episode in second}
    ours, theirs = (_by_scene([e for e in arm if _sample(e) in both], worlds) for arm in (first, second))
    if not both:
        return None
    pairs = [(share, theirs[scene]) for scene, share in ours.items()]
    if all(share in (0.0, 1.0) for pair in pairs for share in pair):
        return paired_difference([a for a, _ in pairs], [b for _, b in pairs], level=level)
    a, b = np.array(pairs).T
    found = paired_bootstrap(lambda rows: a[rows].mean(), lambda rows: b[rows].mean(), len(pairs), level=level)
    return found if len(pairs) >= FEWEST else replace(found, low=float("nan"), high=float("nan"))


def _sample(episode: Sample) -> tuple[str, int]:
    return episode.task, episode.seed


def _by_scene(episodes: Sequence[Sample], worlds: Mapping[str, str]) -> dict[tuple[str, int], float]:
    """Return the share of successes in each scene, a world and a seed: over all epochs, and all tasks of that world."""
    found: dict[tuple[str, int], list[bool]] = {}
    for episode in episodes:
        found.setdefault((worlds.get(episode.task, episode.task), episode.seed), []).append(episode.success)
    return {scene: sum(shares) / len(shares) for scene, shares in found.items()}


def _differences(episodes: Sequence[Sample], arms: Sequence[str], worlds: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the first arm minus every other one, paired by task and seed."""
    played = {arm: [episode for episode in episodes if episode.arm == arm] for arm in arms}
    return [
        {"first": arms[0], "second": arm, **found.as_dict()}
        for arm in arms[1:]
        if (found := difference(played[arms[0]], played[arm], worlds=worlds))
    ]


def _rounds(loop: Sequence[Sample], worlds: Mapping[str, str]) -> list[dict[str, Any]]:
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
            **success_of(mine, worlds).as_dict(),
        }
        for name, mine in groups.items()
        if mine
    ]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"{100 * row['success']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"
