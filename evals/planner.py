"""The suite `planner`: does the language model say the plan that a goal means? Nothing is rehearsed or carried out.

Tasks: missions in the levels' own words, the same in words that no planner was trained on, plans that were tried in
vain and have to be revised, goals that no plan meets, goals for made-up worlds of numbers, and changes of their inputs,
in names and words that none was trained on. Every plan is decoded under its world's grammar. Scenes are what a look
around shows. Which plans are right never follows from words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gedanken.agent import whatif
from gedanken.agent.events import Proposed
from gedanken.agent.goals import GoalError, check_goal
from gedanken.agent.plan_practice import Task, Tasks, failed
from gedanken.agent.propose import Attempt, Promptable, propose
from gedanken.agent.readings import Reading, readings_of
from gedanken.evals.errors import EvalError
from gedanken.evals.measures import Estimate, Measure, Share, mean
from gedanken.evals.run_folder import Key
from gedanken.evals.statistics import mean_interval, paired_difference, wilson
from gedanken.evals.suite import SEEDS_PER_RUN, Options, Parts, Table, chunks, evaluation_seeds
from gedanken.worlds.babyai_aims import LEVELS
from gedanken.worlds.protocol import Wording
from gedanken.worlds.schema_goals import SchemaChange, SchemaGoal, other_goal, schema_change, schema_goal
from gedanken.worlds.spec import Plan
from gedanken.worlds.spoken import SpeakingWorld

MISSIONS, PARAPHRASES, REVISED, UNMET, SCHEMAS = "missions", "paraphrases", "revised", "unmet", "schemas"
CHANGES = "changes"
WORDINGS: dict[str, Wording] = {
    MISSIONS: "own",
    PARAPHRASES: "test",
    UNMET: "test",
    SCHEMAS: "test",
    REVISED: "test",
    CHANGES: "test",
}
"""The words of each task; an added task goes last, for goals are drawn by a task's number."""

LLM, UNTOLD, CHANCE = "llm", "untold", "random"
"""Arms: asked as in the loop; to revise, for other plans than those tried without a word of what failed; the floor: the
goal is not read, and the plan is one that is right for another goal on the same level or in the same made-up world."""

TURNS = 4
"""How often the levels take turns at most: other words may fit, and another step may fail."""

CHUNK = 24


@dataclass(frozen=True)
class Asked:
    """One question: the world whose plans may be said, the scene with its goal, its words, and what was tried."""

    world: Promptable
    task: Task
    goal: str
    attempts: Sequence[Attempt] = ()


@runtime_checkable
class Satisfying(Protocol):
    """A critic that says how likely plans are what a goal means."""

    def satisfies(self, goal: str, plans: Sequence[Plan], readings: Sequence[Reading] = ()) -> list[float]:
        """Return a probability for each plan, the goal taken as it was said or to mean one of `readings`."""
        ...


class PlannerSuite:
    """See the module; implements `Suite`. `limit` counts goals a task."""

    name = "planner"
    default_limit = 1000
    arms = (LLM, UNTOLD, CHANCE)
    clocks = ("seconds",)
    measures: tuple[Measure, ...] = (
        Share("right: the first plan, or declining what cannot be met", lambda s: s["right"]),
        Estimate(
            "right among the candidates", mean(lambda s: s["rank"] is not None), only=lambda s: s["task"] != UNMET
        ),
        Estimate("tokens written for a goal", mean(lambda s: s["tokens"]), more_is_better=False),
    )

    def __init__(self, tasks: Sequence[str] = tuple(WORDINGS), levels: Sequence[str] = LEVELS) -> None:
        self.tasks, self.levels = tuple(tasks), tuple(levels)

    def count(self, options: Options) -> int:
        """Return the number of goals."""
        return sum(self.plays(name, arm) for name in self.tasks for arm in options.arms) * options.limit

    def plays(self, task: str, arm: str) -> bool:
        """Tell whether an arm is asked the questions of a task: only what was tried in vain can be left untold."""
        return arm != UNTOLD or task == REVISED

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield one sample per goal. Raises EvalError where the worlds say no goals."""
        seeds, tasks = evaluation_seeds(options.seed, options.limit), Tasks(_speaking(parts))
        for name in self.tasks:
            for chunk in chunks(seeds, CHUNK):
                both = [(seed, arm) for seed in chunk for arm in options.arms if self.plays(name, arm)]
                left = [(seed, arm) for seed, arm in both if (name, seed, arm) not in done]
                read = [(seed, arm) for seed, arm in left if arm != CHANCE]
                if name == CHANGES:
                    works = [partial(_changed, parts, seed, self.draw(name, seed)) for seed, _ in read]
                else:
                    asked = {seed: self.asked(tasks, name, seed) for seed, _ in read}
                    works = [partial(_sample, parts, name, asked[seed], arm) for seed, arm in read]
                yield from (self.unread(tasks, name, seed) for seed, arm in left if arm == CHANCE)
                yield from (
                    sample for _, sample in sorted(parts.together.run(works, width=CHUNK), key=lambda it: it[0])
                )

    def draw(self, name: str, seed: int) -> np.random.Generator:
        """Return what draws the question of one sample."""
        return np.random.default_rng((seed, list(WORDINGS).index(name), 11))

    def asked(self, tasks: Tasks, name: str, seed: int) -> Asked:
        """Return the question of one sample; the levels take turns until one has a goal that can be said."""
        rng = self.draw(name, seed)
        if name == SCHEMAS:
            made_up = schema_goal("test", rng)
            return Asked(made_up, Task(made_up.spec.name, seed, made_up.scene, made_up), made_up.text)
        for turn in range(TURNS * len(self.levels)):
            level = self.levels[(seed + turn) % len(self.levels)]
            task = tasks.task(level, seed, rng, WORDINGS[name], look=True)
            if task is None:
                continue
            world = tasks.world(level)
            if name == UNMET:
                return Asked(world, task, world.unmet_goal(rng, "test"))
            if name != REVISED:
                return Asked(world, task, task.goal.text)
            attempts, goal = failed(task, rng)
            if attempts:
                return Asked(world, replace(task, goal=goal), goal.text, attempts)
        raise EvalError(f"no level has a goal that can be said with seed {seed}; choose another --seed")

    def unread(self, tasks: Tasks, name: str, seed: int) -> dict[str, Any]:
        """Return the sample of one who answers with what is right for another question."""
        rng = np.random.default_rng((seed, list(WORDINGS).index(name), 12))
        nothing = {"log_probability": None, "tokens": 0, "prompt_tokens": 0, "seconds": 0.0}
        if name == CHANGES:
            change = schema_change("test", self.draw(name, seed))
            said = " ".join([str(rng.choice(change.inputs)), *schema_change("test", rng).change.split(" ")[1:]])
            return _told_of(change, seed, CHANCE, said) | nothing
        asked = self.asked(tasks, name, seed)
        goal = asked.task.goal
        if isinstance(goal, SchemaGoal):
            plan = other_goal(goal, rng).plan
        else:  # the levels take turns
            first = seed - seed % SEEDS_PER_RUN
            other = first + (seed - first + int(rng.integers(1, 100)) * len(self.levels)) % SEEDS_PER_RUN
            plan = self.asked(tasks, name, other).task.goal.plan
        right = name != UNMET and goal.right(plan)
        return _told(name, asked, CHANCE, [plan], 0 if right else None) | {"right": right, "plans": 1} | nothing

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return shares with Wilson intervals by task, by what is unusual about the words, and of declining."""
        asked = [sample for sample in samples if sample["arm"] == LLM]
        met = [sample for sample in asked if sample["task"] != UNMET]
        return {
            "tasks": [
                _row(name if arm == LLM else f"{name}, {arm}", rows)
                for name in self.tasks
                for arm in self.arms
                if (rows := [s for s in samples if (s["task"], s["arm"]) == (name, arm)])
            ],
            "telling": _telling([sample for sample in samples if sample["task"] == REVISED]),
            "traits": _by_trait([sample for sample in asked if sample["task"] == PARAPHRASES]),
            "schema traits": _by_trait([sample for sample in asked if sample["task"] == SCHEMAS]),
            "steps": [
                _right(f"{name}, {label}", rows)
                for name in (MISSIONS, PARAPHRASES, SCHEMAS)
                for label, fits in (("1 step", (1,)), ("2 steps", (2,)), ("3 to 6 steps", (3, 4, 5, 6)))
                if (rows := [s for s in met if s["task"] == name and s["steps"] in fits])
            ],
            "declining": _declining(samples),
        }

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return the results for people."""
        columns = ("task", "n", "first plan right %", "right among the plans %", "plans", "tokens", "read", "seconds")
        rows = [
            (row["task"], str(row["n"]), _percent(row["first"]), _percent(row["among"]))
            + tuple(f"{row[key]['value']:.{digits}f}" for key, digits in COSTS.items())
            for row in results["tasks"]
        ]
        tables = [
            Table(
                "planner",
                columns,
                tuple(rows),
                "Wilson 95 %; plans, tokens written and read, and seconds: means a goal",
            )
        ]
        titles = {
            "traits": "paraphrases, by trait",
            "schema traits": "schemas, by trait",
            "steps": "by number of steps",
        }
        for key, title in titles.items():
            if results[key]:
                cells = tuple((row["name"], str(row["n"]), _percent(row["right"])) for row in results[key])
                tables.append(Table(title, (title.partition(",")[0], "n", "first plan right %"), cells))
        if telling := results["telling"]:
            differences = tuple((words, _percent(telling[key])) for key, words in TELLING.items())
            note = "the same goals and scenes; paired difference, 95 %"
            tables.append(
                Table(
                    f"revision: what being told of the failure adds (n = {telling['n']})",
                    ("plans", "difference %"),
                    differences,
                    note,
                )
            )
        if declining := results["declining"]:
            names = {"precision": "declined goals that no plan meets", "recall": "goals that no plan meets, declined"}
            cells = tuple((words, str(declining[key]["n"]), _percent(declining[key])) for key, words in names.items())
            note = "declined: the language model knows no plan, or the critic finds none likely to be what is meant"
            tables.append(Table("declining", ("share", "n", "%"), cells, note))
        return tables


COSTS = {"plans": 1, "tokens": 0, "prompt_tokens": 0, "seconds": 2}
"""Means of a task's table, and their decimals."""


TELLING = {"first": "the first plan right", "among": "right among the plans"}
"""What is compared between the arms of `REVISED`."""


def _speaking(parts: Parts) -> Callable[[str], SpeakingWorld]:
    def make(name: str) -> SpeakingWorld:
        world = parts.make_world(name)
        if not isinstance(world, SpeakingWorld):
            raise EvalError(f"{name} says no goals in words for testing")
        return world

    return make


def _sample(parts: Parts, name: str, asked: Asked, arm: str) -> dict[str, Any]:
    world, task, goal = asked.world, asked.task, asked.goal
    tried = [attempt.plan for attempt in asked.attempts]
    told = asked.attempts if arm == LLM else ()
    proposed = propose(
        world, parts.together, task.scene, goal, parts.config, attempts=told, known=tried, may_decline=not tried
    )
    plans = [world.spec.parse_plan(candidate.plan) for candidate in proposed.candidates]
    readings = readings_of(world, parts.together, proposed.candidates)
    meant = None if name == SCHEMAS else _meant(parts, goal, plans, readings)  # the critic knows no objectives
    declined = None if meant is None else max(meant, default=0.0) < parts.config.meaning
    rank = None if name == UNMET else next((i for i, plan in enumerate(plans) if task.goal.right(plan)), None)
    right = bool(declined) if name == UNMET else rank == 0
    judged = {"right": right, "declined": declined, "satisfies": meant}
    return _told(name, asked, arm, plans, rank) | judged | _cost(proposed)


def _told(name: str, asked: Asked, arm: str, plans: Sequence[Plan], rank: int | None) -> dict[str, Any]:
    """Return what a sample says of a question and of its answer."""
    task = asked.task
    return {
        "task": name,
        "seed": task.seed,
        "arm": arm,
        "level": task.world,
        "scene": task.scene,
        "goal": asked.goal,
        "attempts": [{"plan": attempt.plan, "reasons": attempt.reasons} for attempt in asked.attempts],
        "traits": [] if name == UNMET else list(task.goal.traits),
        "plan": None if name == UNMET else task.goal.plan.line(),
        "steps": 0 if name == UNMET else len(task.goal.plan.steps),
        "first": plans[0].line() if plans else None,
        "rank": rank,
        "declined": None,
        "satisfies": None,
    }


def _changed(parts: Parts, seed: int, rng: np.random.Generator) -> dict[str, Any]:
    """Ask which change of which input words mean; it is right to the last digit or not."""
    change = schema_change("test", rng)
    said = whatif.ask(change.inputs, parts.together, change.text, parts.config.seed)
    cost = {"tokens": said.completion_tokens, "prompt_tokens": said.prompt_tokens, "seconds": said.seconds}
    return _told_of(change, seed, LLM, said.text.strip()) | {"log_probability": said.log_probability} | cost


def _told_of(change: SchemaChange, seed: int, arm: str, said: str) -> dict[str, Any]:
    """Return what a sample says of a change and of how it was understood."""
    right = said == change.change
    return {
        "task": CHANGES,
        "seed": seed,
        "arm": arm,
        "level": "made up inputs",
        "scene": ", ".join(change.inputs),
        "goal": change.text,
        "attempts": [],
        "traits": [],
        "plan": change.change,
        "steps": 1,
        "first": said,
        "rank": 0 if right else None,
        "right": right,
        "declined": None,
        "satisfies": None,
        "plans": 1,
    }


def _cost(proposed: Proposed) -> dict[str, Any]:
    return {
        "plans": len(proposed.candidates),
        "log_probability": proposed.candidates[0].log_probability if proposed.candidates else None,
        "tokens": proposed.tokens,
        "prompt_tokens": proposed.prompt_tokens,
        "seconds": proposed.seconds,
    }


def _meant(parts: Parts, goal: str, plans: Sequence[Plan], readings: Sequence[Reading]) -> list[float] | None:
    """Return what the critic says of plans, no chance for a goal it refuses to read; None for one that can't tell."""
    if parts.load_critic is None or not isinstance(parts.critic, Satisfying):
        return None
    if not plans:
        return []
    try:
        return [round(p, 4) for p in parts.critic.satisfies(check_goal(goal), plans, readings)]
    except GoalError:
        return [0.0 for _ in plans]


def _row(name: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    n = 0 if name == UNMET else len(samples)
    return {
        "task": name,
        "n": len(samples),
        "first": wilson(sum(s["rank"] == 0 for s in samples), n).as_dict() if n else None,
        "among": wilson(sum(s["rank"] is not None for s in samples), n).as_dict() if n else None,
        **{key: mean_interval([s[key] for s in samples]).as_dict() for key in COSTS},
    }


def _telling(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what the reasons in the prompt add, over the goals that both arms were asked; None without such goals."""
    ranks = {arm: {s["seed"]: s["rank"] for s in samples if s["arm"] == arm} for arm in (LLM, UNTOLD)}
    seeds = sorted(ranks[LLM].keys() & ranks[UNTOLD].keys())
    if not seeds:
        return None
    pairs = [(ranks[LLM][seed], ranks[UNTOLD][seed]) for seed in seeds]
    first = paired_difference([told == 0 for told, _ in pairs], [untold == 0 for _, untold in pairs])
    among = paired_difference([told is not None for told, _ in pairs], [untold is not None for _, untold in pairs])
    return {"n": len(seeds), "first": first.as_dict(), "among": among.as_dict()}


def _by_trait(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return shares of goals with each trait, and of those with none."""
    traits = sorted({trait for sample in samples for trait in sample["traits"]})
    rows = {trait: [sample for sample in samples if trait in sample["traits"]] for trait in traits}
    rows["none of these"] = [sample for sample in samples if not sample["traits"]]
    return [_right(name, some) for name, some in rows.items() if some]


def _right(name: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"name": name, "n": len(samples), "right": wilson(sum(s["right"] for s in samples), len(samples)).as_dict()}


def _declining(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return precision and recall of declining, and the shares behind them; None where nobody could tell."""
    told = [sample for sample in samples if sample["declined"] is not None]
    unmet = [sample for sample in told if sample["task"] == UNMET]
    if not unmet:
        return None
    declined = [sample for sample in told if sample["declined"]]
    true = sum(sample["task"] == UNMET for sample in declined)
    return {
        "precision": wilson(true, len(declined)).as_dict(),
        "recall": wilson(true, len(unmet)).as_dict(),
        "among": {name: sum(sample["task"] == name for sample in told) for name in WORDINGS},
    }


def _percent(interval: Mapping[str, Any] | None) -> str:
    if interval is None or interval["value"] is None:
        return "–"
    return f"{100 * interval['value']:.1f} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"
