"""The worst of a run, sample by sample: where what was predicted and what happened are furthest apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from gedanken.agent.loading import load_practice
from gedanken.agent.telling.story import runs_of
from gedanken.evals.control_learning import world_of
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.strips import numbers_strip, views_strip
from gedanken.evals.suite import Suite, counted
from gedanken.worlds.babyai import SPEC as BABYAI
from gedanken.worlds.protocol import WorldError

MOST = 8
"""Failures that are shown."""

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """One thing that went wrong, in words; `command` shows it again.

    `trace` is how it came about, line by line, and `strip` what was imagined beside what happened.
    """

    where: str
    goal: str | None
    plan: str | None
    predicted: str | None
    happened: str
    command: str | None = None
    trace: tuple[str, ...] = ()
    strip: Markup | None = None


def worst(suite: Suite, samples: Sequence[Sample]) -> list[Failure]:
    """Return the worst failures of a suite's samples, worst first; none for suites that can't fail."""
    if isinstance(suite, EpisodeSuite):
        return _episodes(suite, samples)[:MOST]
    return _WORST[suite.name](counted(suite, samples))[:MOST] if suite.name in _WORST else []


def _episodes(suite: EpisodeSuite, samples: Sequence[Sample]) -> list[Failure]:
    """Return goals that the first arm there is did not reach, those that it was surest of first."""
    arm = next((arm for arm in suite.arms if any(sample["arm"] == arm for sample in samples)), None)
    again = arm == "loop" and not hasattr(suite, "make_world")
    failed = [sample for sample in samples if sample["arm"] == arm and not sample["success"]]
    failed.sort(key=lambda sample: -(sample.get("predicted") or 0))
    return [
        Failure(
            where=f"{sample['task']}, seed {sample['seed']}, {arm}",
            goal=sample["goal"],
            plan=sample.get("plan"),
            predicted=_percent(sample.get("predicted")),
            happened=_ending(sample),
            command=f"gedanken run --world {sample['task']} --seed {sample['seed']}" if again else None,
            trace=tuple(_trace(suite, sample)),
        )
        for sample in failed[:MOST]
    ]


def _trace(suite: Suite, sample: Sample) -> Iterator[str]:
    """Yield what was judged, round by round, what was then done, and where it raised, if it did."""
    for verdict in sample.get("verdicts") or ():
        meant = f", means it {_percent(verdict['satisfies'])}" if verdict.get("satisfies") is not None else ""
        yield f"round {verdict['round']}: {verdict['plan']}, predicted {_percent(verdict['success'])}{meant}"
    if sample.get("actions"):
        names = _names(suite, sample["task"])
        yield f"did {runs_of([names[a] if names and isinstance(a, int) else str(a) for a in sample['actions']])}"
    yield from (sample.get("trace") or "").splitlines()


def _names(suite: Suite, task: str) -> tuple[str, ...]:
    """Return the names of a task's actions, none where its world can't be made here."""
    try:
        return tuple(getattr(suite, "make_world", load_practice)(task).spec.action_names)
    except WorldError:
        return ()


def _ending(sample: Sample) -> str:
    words = [f"not reached after {_actions(sample['steps'])}"]
    if sample.get("status") == "declined":
        words = ["declined"]
    if sample.get("error"):
        words = [f"raised {sample['error']}"]
    if sample.get("replans"):
        words.append(f"planned anew {sample['replans']} {'time' if sample['replans'] == 1 else 'times'}")
    return ", ".join(words)


def _judgements(samples: Sequence[Sample]) -> list[Failure]:
    """Return the plans whose predicted success was furthest from what happened."""
    plans = [(plan, sample) for sample in samples for plan in sample["plans"]]
    plans.sort(key=lambda pair: -abs(pair[0]["predicted"] - pair[0]["success"]))
    return [
        Failure(
            where=f"{sample['task']}, seed {sample['seed']}, {plan['kind']} plan",
            goal=sample.get("goal"),
            plan=plan["plan"],
            predicted=_percent(plan["predicted"]),
            happened=f"{'reached in' if plan['success'] else 'not reached after'} {_actions(plan['steps'])}",
        )
        for plan, sample in plans
        if plan["success"] != (plan["predicted"] >= 0.5)
    ]


def _misunderstood(samples: Sequence[Sample]) -> list[Failure]:
    """Return goals that were not understood, or not declined, those that the model was surest of first."""
    wrong = [sample for sample in samples if not sample["right"]]
    wrong.sort(key=lambda sample: -(sample.get("log_probability") or -1e9))
    return [
        Failure(
            where=f"{sample['task']}, {sample['level']}, seed {sample['seed']}",
            goal=sample["goal"],
            plan=sample["first"],
            predicted=None,
            happened=f"right would be {sample['plan']}" if sample["plan"] else "no plan meets it",
        )
        for sample in wrong
    ]


def _surprises(samples: Sequence[Sample]) -> list[Failure]:
    """Return the episodes that surprised the world model most."""
    field = BABYAI.grid
    ordered = sorted(samples, key=lambda sample: -sample["nats"] / max(sample["frames"], 1))
    return [
        Failure(
            where=f"{sample['task']}, seed {sample['seed']}",
            goal=None,
            plan=None,
            predicted=None,
            happened=f"{sample['nats'] / max(sample['frames'], 1):.1f} nats a frame over {_actions(sample['frames'])}",
            strip=views_strip(field, sample["strip"], "views imagined from the first look, above the real ones")
            if sample.get("strip")
            else None,
        )
        for sample in ordered[:MOST]
    ]


def _astray(samples: Sequence[Sample]) -> list[Failure]:
    """Return the episodes of each world whose numbers were foretold worst, one of each world."""
    told = [sample for sample in samples if sample.get("strip")]
    told.sort(key=lambda sample: -_error(sample))
    worlds = {sample["task"]: sample for sample in reversed(told)}
    return [
        Failure(
            where=f"{task}, seed {sample['seed']}, {sample['acting']} acting",
            goal=None,
            plan=None,
            predicted=None,
            happened=f"{_error(sample):.2f} standard deviations off in the mean of all moments",
            strip=numbers_strip(world_of(task).spec.vector.variables, sample["strip"], "numbers imagined and real"),
        )
        for task, sample in sorted(worlds.items(), key=lambda pair: -_error(pair[1]))
    ]


def _error(sample: Sample) -> float:
    rows = sample["horizons"].values()
    return float(sum(row["error"] for row in rows) / max(sum(row["n"] for row in rows), 1))


def _actions(count: int) -> str:
    return f"{count} {'action' if count == 1 else 'actions'}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


_WORST: dict[str, Callable[[Sequence[Sample]], list[Failure]]] = {
    "rehearsal": _judgements,
    "world-model": _surprises,
    "planner": _misunderstood,
    "number-model": _astray,
}
