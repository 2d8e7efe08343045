"""The suite `rehearsal`: is what the critic says of imagined plans true when they are really carried out?

A sample is a situation: one beginning of a level with a set of right and wrong plans and the language model's own. All
are judged first, from the belief after the first view, then each is carried out from the same beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from gedanken.agent.deliberate import Option, choose
from gedanken.agent.propose import propose
from gedanken.agent.readings import Reading, readings_of
from gedanken.agent.session import Session
from gedanken.agent.situations import WRITTEN, Executed, Job, Situation, execute_many, situations
from gedanken.agent.verdict import Verdict
from gedanken.evals.babyai_local import TASKS
from gedanken.evals.judging import MEASURES, summarise, tables
from gedanken.evals.run_folder import Key
from gedanken.evals.suite import Options, Parts, Table, chunks, evaluation_seeds
from gedanken.worldmodel.protocol import Belief
from gedanken.worldmodel.rehearse import rehearse
from gedanken.worlds.spec import Plan

GROUPS = ("all", "made", "written")
CHUNK = 25


@dataclass(frozen=True)
class Judged:
    """One plan: what the critic said of it, and what really happened."""

    kind: str
    written: bool  # by the language model; a made plan may be among its candidates, too
    plan: str
    predicted: float
    carried_out: float
    satisfies: float | None  # None where nobody judged what the goal means
    expected_steps: float | None
    disagreement: float
    success: bool
    done: bool  # all its steps were really achieved, or the level ended well before
    steps: int


class RehearsalSuite:
    """See the module; implements `Suite`. Without a language model the sets hold made plans only."""

    name = "rehearsal"
    default_limit = 50
    arms = ("critic",)
    clocks: tuple[str, ...] = ()
    measures = MEASURES

    def __init__(self, tasks: Sequence[str] = TASKS, size: int = 6) -> None:
        self.tasks, self.size = tuple(tasks), size

    def count(self, options: Options) -> int:
        """Return the number of situations."""
        return len(self.tasks) * options.limit

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield one sample per situation."""
        seeds = evaluation_seeds(options.seed, options.limit)
        for task in self.tasks:
            for chunk in chunks(seeds, CHUNK):
                left = [seed for seed in chunk if (task, seed, "critic") not in done]
                if left:
                    found = list(situations(parts.make_world, [task], chunk, size=self.size))
                    yield from (sample for sample in _judge_and_try(parts, found) if sample["seed"] in left)

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return ranking, calibration and choice, for all plans, the made ones and the language model's."""
        return summarise(samples)

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return the results for people."""
        return tables(results)


@dataclass(frozen=True)
class _Believed:
    """A situation with the language model's plans added, and the belief after the first view."""

    situation: Situation
    belief: Belief
    written: tuple[Plan, ...]
    readings: tuple[Reading, ...] = ()

    def members(self, group: str) -> list[int]:
        """Return the indices of a group's plans."""
        kinds, plans = self.situation.kinds, self.situation.plans
        if group == "written":
            return [i for i, plan in enumerate(plans) if plan in self.written]
        return [i for i, kind in enumerate(kinds) if group == "all" or kind != WRITTEN]


def _judge_and_try(parts: Parts, found: Sequence[Situation]) -> Iterator[dict[str, Any]]:
    """Judge all plans of some situations, then carry them out."""
    works = [partial(_believe, parts, situation) for situation in found]
    if parts.load_llm is None:
        believed = [work() for work in works]
    else:
        answers = dict(parts.together.run(works, width=CHUNK))
        believed = [answers[index] for index in range(len(works))]
    verdicts = [_verdicts(parts, item) for item in believed]
    jobs = [Job(item.situation.world, item.situation.seed, plan) for item in believed for plan in item.situation.plans]
    controller, config = parts.trained.controller, parts.config
    executed = iter(
        execute_many(
            parts.make_world, jobs, controller, config.seed, patience=config.patience, standstill=config.standstill
        )
    )
    for item, words in zip(believed, verdicts, strict=True):
        yield _sample(parts, item, words, [next(executed) for _ in words])


def _believe(parts: Parts, situation: Situation) -> _Believed:
    world = parts.make_world(situation.world)
    session = Session.begin(world, parts.trained, situation.seed, free=False)
    session.imagine_goal()
    belief, scene = session.belief, world.describe(*session.known())
    session.close()
    if parts.load_llm is None:
        return _Believed(situation, belief, ())
    proposed = propose(world, parts.together, scene, situation.goal, parts.config)
    plans = tuple(world.spec.parse_plan(candidate.plan) for candidate in proposed.candidates)
    readings = readings_of(world, parts.together, proposed.candidates)
    return _Believed(situation.with_plans(plans, WRITTEN), belief, plans, readings)


def _verdicts(parts: Parts, item: _Believed) -> list[Verdict]:
    config = parts.config
    rehearsal = rehearse(
        parts.trained.controller,
        item.belief,
        item.situation.plans,
        samples=config.samples,
        horizon=config.horizon,
        standstill=config.standstill,
        seed=config.seed,
    )
    return parts.critic.judge(item.situation.goal, rehearsal, readings=item.readings)


def _sample(parts: Parts, item: _Believed, verdicts: Sequence[Verdict], executed: Sequence[Executed]) -> dict[str, Any]:
    situation = item.situation
    judged = [
        Judged(
            kind=kind,
            written=plan in item.written,
            plan=plan.line(),
            predicted=verdict.success,
            carried_out=verdict.carried_out,
            satisfies=verdict.satisfies,
            expected_steps=verdict.steps,
            disagreement=verdict.disagreement,
            success=really.success,
            done=really.success or all(really.achieved),
            steps=really.steps,
        )
        for kind, plan, verdict, really in zip(situation.kinds, situation.plans, verdicts, executed, strict=True)
    ]
    picked = {}
    for group in GROUPS:
        members = item.members(group)
        if members:
            best = choose([Option(verdicts[i], 0, None) for i in members], parts.config.tie)
            picked[group] = situation.plans.index(best.plan)
    return {
        "task": situation.world,
        "seed": situation.seed,
        "arm": "critic",
        "goal": situation.goal,
        "plans": [asdict(plan) for plan in judged],
        "members": {group: item.members(group) for group in GROUPS},
        "picked": picked,
        "first_written": situation.plans.index(item.written[0]) if item.written else None,
    }
