"""What changed between two runs of a suite, and what did not, beyond noise: paired by task, seed and arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gedanken.evals.errors import EvalError
from gedanken.evals.main import RUNS, load_suite
from gedanken.evals.measures import Difference, Measure, Sample
from gedanken.evals.run_folder import RunFolder, key_of, plain
from gedanken.evals.suite import Table, counted

LEVEL = 0.95
Verdict = Literal["better", "worse", "within noise", "too few"]


@dataclass(frozen=True)
class Change:
    """One measure of one arm, over all tasks (`task` is None) or one."""

    arm: str
    task: str | None
    measure: str
    percent: bool
    difference: Difference
    verdict: Verdict

    @property
    def name(self) -> str:
        """Say what was measured."""
        return ", ".join(filter(None, (self.task, self.arm, self.measure)))


@dataclass(frozen=True)
class Comparison:
    """Two runs beside each other."""

    suite: str
    before: str
    after: str
    pairs: int
    unpaired: tuple[int, int]
    settings: tuple[str, ...]
    changes: tuple[Change, ...]

    def those(self, verdict: Verdict) -> list[Change]:
        """Return the changes with a verdict."""
        return [change for change in self.changes if change.verdict == verdict]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        names = {f"{verdict}": [change.name for change in self.those(verdict)] for verdict in ("better", "worse")}
        found: dict[str, Any] = plain({**asdict(self), **names})
        return found

    def tables(self) -> list[Table]:
        """Return all tasks together, then those tasks in which something changed."""
        together = [change for change in self.changes if change.task is None]
        apart = [change for change in self.changes if change.task is not None]
        moved = [change for change in apart if change.verdict in ("better", "worse")]
        columns = ("what", "before", "after", "after − before", "pairs", "beyond noise?")
        note = f"{self.pairs} pairs; the intervals of this table hold together with {LEVEL:.0%} (Bonferroni)"
        found = [Table(f"{self.before} → {self.after}", columns, tuple(map(_row, together)), note)]
        if moved:
            rest = f"and {len(apart) - len(moved)} more that did not; these intervals, too, hold together"
            found.append(Table("tasks that changed", columns, tuple(map(_row, moved)), rest))
        return found

    def words(self) -> str:
        """Say what changed and what did not."""
        said = [
            f"{verdict} beyond noise: {'; '.join(change.name for change in changes)}"
            for verdict in ("better", "worse")
            if (changes := self.those(verdict))
        ]
        rest, few = len(self.those("within noise")), len(self.those("too few"))
        said.append(
            f"within noise: {'all ' if not said and not few else ''}{rest}" + (f", too few pairs: {few}" * (few > 0))
        )
        if any(self.unpaired):
            said.append(f"without a partner: {self.unpaired[0]} samples before, {self.unpaired[1]} after")
        if self.settings:
            said.append(f"what was set otherwise: {'; '.join(self.settings)}")
        return "\n".join(said)


def compare(before: str, after: str, runs: Path = RUNS) -> Comparison:
    """Compare two runs, named by id or folder. Raises EvalError where they have nothing in common."""
    first, second = RunFolder.open(runs, before), RunFolder.open(runs, after)
    suites = first.about["suite"], second.about["suite"]
    if suites[0] != suites[1]:
        raise EvalError(f"{first.id} measured {suites[0]} and {second.id} {suites[1]}; choose two runs of one suite")
    suite = load_suite(second.suite)
    samples = [{key_of(sample): sample for sample in counted(suite, run.samples())} for run in (first, second)]
    keys = [key for key in samples[0] if key in samples[1]]
    if not keys:
        seeds = " and ".join(f"--seed {run.about['seeds'].get('seed')}" for run in (first, second))
        raise EvalError(
            f"{first.id} and {second.id} have no task, seed and arm in common ({seeds}); repeat one of them"
        )
    worlds = getattr(suite, "worlds", {})
    before_, after_ = ([{"world": worlds.get(key[0], key[0]), **some[key]} for key in keys] for some in samples)
    pairs = list(zip(before_, after_, strict=True))
    try:
        found = changes(suite.measures, pairs)
    except (KeyError, TypeError) as error:
        raise EvalError(
            f"{first.id} and {second.id} can't be compared: samples of one lack {error}; it is of another version, run"
            " it anew"
        ) from error
    return Comparison(
        suite=suites[0],
        before=first.id,
        after=second.id,
        pairs=len(pairs),
        unpaired=(len(samples[0]) - len(keys), len(samples[1]) - len(keys)),
        settings=tuple(_settings(first, second)),
        changes=tuple(found),
    )


def changes(measures: Sequence[Measure], pairs: Sequence[tuple[Sample, Sample]]) -> list[Change]:
    """Return every measure of every arm, over all tasks and, where there are several, by task.

    The more is looked at, the more looks changed by chance: so the intervals of each of these two groups are widened
    until all of the group hold together.
    """
    tasks = list(dict.fromkeys(before["task"] for before, _ in pairs))
    found = _group(measures, pairs, [None])
    return found + (_group(measures, pairs, tasks) if len(tasks) > 1 else [])


def _group(
    measures: Sequence[Measure], pairs: Sequence[tuple[Sample, Sample]], tasks: Sequence[str | None]
) -> list[Change]:
    arms = list(dict.fromkeys(before["arm"] for before, _ in pairs))
    cells = []
    for task in tasks:
        for arm in arms:
            mine = [pair for pair in pairs if pair[0]["arm"] == arm and task in (None, pair[0]["task"])]
            for measure in measures:
                told = [pair for pair in mine if measure.counts(pair[0]) and measure.counts(pair[1])]
                if told:
                    cells.append((task, arm, measure, told))
    level = 1 - (1 - LEVEL) / max(len(cells), 1)
    found = []
    for task, arm, measure, told in cells:
        difference = measure.difference([before for before, _ in told], [after for _, after in told], level)
        verdict = _verdict(difference, measure.more_is_better)
        found.append(Change(arm, task, measure.name, measure.percent, difference, verdict))
    return found


def _verdict(difference: Difference, more_is_better: bool) -> Verdict:
    interval = difference.interval
    if interval.low != interval.low:
        return "too few"
    if interval.low <= 0 <= interval.high:
        return "within noise"
    return "better" if (interval.low > 0) == more_is_better else "worse"


def _settings(first: RunFolder, second: RunFolder) -> list[str]:
    """Say what was set or made otherwise; an arm's or a task's absence shows in the pairs."""
    sides = []
    for run in (first, second):
        config, weights = run.about["config"], run.about["checkpoints"]
        loop = {f"loop.{name}": value for name, value in config.get("loop", {}).items()}
        files = {name: digest[:12] for name, digest in weights.items()}
        own = {"suite file": sha[:12]} if (sha := run.about.get("suite_sha256")) else {}
        sides.append({"commit": run.about["commit"], "checkpoint": config["checkpoint"], **own, **files, **loop})
    names = list(dict.fromkeys((*sides[0], *sides[1])))
    differing = [name for name in names if sides[0].get(name) != sides[1].get(name)]
    return [f"{name} {sides[0].get(name, 'none')} → {sides[1].get(name, 'none')}" for name in differing]


def _row(change: Change) -> tuple[str, ...]:
    difference, interval = change.difference, change.difference.interval
    scale, digits = (100.0, 1) if change.percent else (1.0, 3)

    def written(value: float, sign: str = "") -> str:
        return "–" if value != value else f"{scale * value:{sign}.{digits}f}"

    return (
        change.name + (", %" if change.percent else ""),
        written(difference.before),
        written(difference.after),
        f"{written(interval.value, '+')} [{written(interval.low, '+')}, {written(interval.high, '+')}]",
        str(interval.n),
        change.verdict,
    )
