"""The suite `planner`: sums by hand, and a scripted model whose plans are right where it knows them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gedanken.agent.llm.protocol import Training
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.plan_practice import Tasks
from gedanken.agent.propose import as_read
from gedanken.evals.errors import EvalError
from gedanken.evals.failures import worst
from gedanken.evals.main import run_suite
from gedanken.evals.planner import (
    CHANCE,
    CHANGES,
    LLM,
    MISSIONS,
    PARAPHRASES,
    REVISED,
    SCHEMAS,
    UNMET,
    UNTOLD,
    PlannerSuite,
)
from gedanken.evals.suite import Options, Parts, keys
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.babyai_aims import LEVELS
from gedanken.worlds.schema_goals import schema_change
from gedanken.worlds.spec import Plan, SpecError

FEW = ("BabyAI-UnlockLocal-v0", "BabyAI-GoToLocal-v0", "BabyAI-PutNextLocal-v0")


def sample(
    task: str, rank: int | None, declined: bool | None, traits: Sequence[str] = (), **changes: Any
) -> dict[str, Any]:
    right = bool(declined) if task == UNMET else rank == 0
    plain = {"task": task, "seed": 0, "arm": "llm", "level": "x", "goal": "g", "first": "p", "plan": None, "steps": 1}
    costs = {"plans": 5, "tokens": 40, "prompt_tokens": 300, "seconds": 0.5, "log_probability": -0.1}
    return {**plain, **costs, "rank": rank, "right": right, "declined": declined, "traits": list(traits), **changes}


SAMPLES = [
    sample("missions", 0, False),
    sample("missions", 2, False, steps=2),
    sample("paraphrases", 0, False, ["typo"]),
    sample("paraphrases", None, True, ["typo", "polite"], log_probability=-0.01),
    sample("paraphrases", 0, False),
    sample("unmet", None, True),
    sample("unmet", None, True),
    sample("unmet", None, False, log_probability=-2.0),
]


ASKED = (LLM, UNTOLD)


def test_sums_by_hand() -> None:
    results = PlannerSuite().summarise(SAMPLES)
    missions, paraphrases, unmet = results["tasks"]
    assert (missions["n"], missions["first"]["value"], missions["among"]["value"]) == (2, 0.5, 1.0)
    assert paraphrases["first"]["value"] == pytest.approx(2 / 3) and paraphrases["among"]["value"] == pytest.approx(
        2 / 3
    )
    assert (unmet["n"], unmet["first"]) == (3, None) and missions["tokens"]["value"] == 40
    traits = {row["name"]: (row["n"], row["right"]["value"]) for row in results["traits"]}
    assert traits == {"typo": (2, 0.5), "polite": (1, 0.0), "none of these": (1, 1.0)}
    assert {row["name"]: row["n"] for row in results["steps"]} == {
        "missions, 1 step": 1, "missions, 2 steps": 1, "paraphrases, 1 step": 3,
    }  # fmt: skip
    declining = results["declining"]
    assert (declining["precision"]["value"], declining["precision"]["n"]) == (pytest.approx(2 / 3), 3)
    assert (declining["recall"]["value"], declining["recall"]["n"]) == (pytest.approx(2 / 3), 3)
    titles = [table.title for table in PlannerSuite().tables(results)]
    assert titles == ["planner", "paraphrases, by trait", "by number of steps", "declining"]
    assert "50.0 [9.5, 90.5]" in PlannerSuite().tables(results)[0].rows[0]


def test_without_a_critic_nothing_is_said_of_declining() -> None:
    results = PlannerSuite().summarise([sample("unmet", None, None), sample("missions", 0, None)])
    assert results["declining"] is None
    assert [table.title for table in PlannerSuite().tables(results)] == ["planner", "by number of steps"]


def test_the_worst_are_those_that_the_model_was_surest_of() -> None:
    failed = worst(PlannerSuite(), SAMPLES)
    assert [failure.where.split(",")[0] for failure in failed] == ["paraphrases", "missions", "unmet"]


class Reader:
    """A critic that believes that a plan is meant when the goal names one of its kinds of things."""

    def satisfies(self, goal: str, plans: Sequence[Plan], readings: object = ()) -> list[float]:
        return [0.9 if set(re.findall("ball|box|key|door", str(plan))) & set(goal.split()) else 0.0 for plan in plans]


def knows_missions(prompt: str) -> list[str]:
    """Write the right plan for missions in minigrid's words, and always a wrong one."""
    goal = prompt.rsplit("Goal: ", 1)[1].splitlines()[0]
    things = re.findall(r"(?:the|a) ((?:[a-z]+ )?(?:ball|box|key|door)(?: (?:on your|in front|behind)[a-z ]*)?)", goal)
    lock = re.search(r"locked ([a-z]+) door", prompt.rsplit("Note: ", 1)[-1])
    plan = {"go": "go_to({0})", "pu": "put_next_to({0}, {1})", "op": "open({0})"}.get(goal[:2], "drop()")
    plan = "pick_up({2} key)\n" * bool(lock and goal.startswith("op")) + plan
    text = plan.format(*things, *[""] * (2 - len(things)), lock[1] if lock else "")
    try:
        SPEC.parse_plan(text)
    except SpecError:  # no mission in minigrid's words
        text = "drop()"
    return [f"{text}\n", "go_to(door)\n"]


@pytest.fixture
def parts(make_parts: Callable[..., Parts], trained: Trained) -> Parts:
    made = make_parts()
    reader: Any = Reader()
    return Parts(BabyAIWorld, trained, made.config, lambda: ScriptedModel(knows_missions), lambda _: reader)


def test_what_the_model_knows_is_right_and_what_it_does_not_is_not(parts: Parts) -> None:
    suite = PlannerSuite(["missions", "paraphrases", "unmet"], levels=FEW)
    options = Options(limit=6, seed=0, arms=ASKED)
    samples = list(suite.measure(parts, options, set()))
    assert len(samples) == suite.count(options) == 18
    assert [(s["task"], s["seed"]) for s in samples] == [(t, s) for t in suite.tasks for s in range(6)]
    by = {task: [s for s in samples if s["task"] == task] for task in suite.tasks}
    assert all(s["right"] and s["declined"] is False for s in by["missions"]), by["missions"]
    assert not any(s["right"] for s in by["paraphrases"]), "it knows no other words"
    assert all(s["right"] == s["declined"] and s["plan"] is None for s in by["unmet"])
    assert samples == list(suite.measure(parts, options, set())), "seeds fix everything"
    done = {(s["task"], s["seed"], s["arm"]) for s in samples if s["seed"] != 4}
    assert [s["seed"] for s in suite.measure(parts, options, done)] == [4, 4, 4]


def test_goals_for_made_up_worlds_are_right_number_for_number(parts: Parts) -> None:
    suite, limit = PlannerSuite([SCHEMAS]), 8
    asked = [suite.asked(Tasks(BabyAIWorld), SCHEMAS, seed) for seed in range(limit)]
    plans = {question.goal: str(question.task.goal.plan) for question in asked}
    off = {goal: re.sub(r"(\d)(?=\D*$)", lambda m: str((int(m[1]) + 1) % 10), plan) for goal, plan in plans.items()}

    def knows(prompt: str) -> list[str]:
        goal = prompt.rsplit("Goal: ", 1)[1].splitlines()[0]
        first = off if list(plans).index(goal) % 2 else plans
        return [f"{first[goal]}\n", f"{plans[goal]}\n"]

    refusing: Any = lambda _: None  # noqa: E731
    made = Parts(BabyAIWorld, parts.trained, parts.config, lambda: ScriptedModel(knows), refusing)
    samples = list(suite.measure(made, Options(limit=limit, seed=0, arms=ASKED), set()))
    assert [sample["rank"] for sample in samples] == [0, 1] * (limit // 2)
    assert all(sample["declined"] is None and sample["level"].startswith("made up") for sample in samples)
    results = suite.summarise(samples)
    assert results["tasks"][0]["first"]["value"] == 0.5 and results["traits"] == []
    assert sum(row["n"] for row in results["schema traits"]) >= limit
    assert "schemas, by trait" in [table.title for table in suite.tables(results)]


def test_who_is_told_what_failed_can_do_better(parts: Parts) -> None:
    suite, limit = PlannerSuite([REVISED], levels=FEW), 6
    questions = (suite.asked(Tasks(BabyAIWorld), REVISED, seed) for seed in range(limit))
    asked = {as_read(question.goal, question.task.scene, SPEC): question for question in questions}
    for question in asked.values():
        spec, right = question.world.spec, question.task.goal.right
        assert question.attempts and right(question.task.goal.plan)
        assert not any(right(spec.parse_plan(attempt.plan)) for attempt in question.attempts)

    def mends_what_it_is_told(prompt: str) -> list[str]:
        goal = prompt.rsplit("Goal: ", 1)[1].splitlines()[0]
        told = all(attempt.reasons in " ".join(prompt.split()) for attempt in asked[goal].attempts)
        return [f"{asked[goal].task.goal.plan}\n" if told else "go_to(door)\n", *("go_to(box)\n",) * 2]

    class Tuned(ScriptedModel):
        training = Training("plan")  # whose prompt shows attempts as they are

    made = Parts(BabyAIWorld, parts.trained, parts.config, lambda: Tuned(mends_what_it_is_told), None)
    options = Options(limit=limit, seed=0, arms=ASKED)
    samples = list(suite.measure(made, options, set()))
    assert {(s["task"], s["seed"], s["arm"]) for s in samples} == set(keys(suite, options))
    assert len(samples) == suite.count(options) == 2 * limit
    both = keys(PlannerSuite([PARAPHRASES, REVISED], levels=FEW), options)
    assert len(both) == 3 * limit and (PARAPHRASES, 0, UNTOLD) not in both
    assert {arm: {s["right"] for s in samples if s["arm"] == arm} for arm in ASKED} == {
        LLM: {True},
        UNTOLD: {False},
    }
    results = suite.summarise(samples)
    assert [row["task"] for row in results["tasks"]] == ["revised", "revised, untold"]
    assert results["telling"]["n"] == limit and results["telling"]["first"]["value"] == 1.0
    assert any("being told" in table.title for table in suite.tables(results))


def test_the_floor_answers_without_reading(parts: Parts) -> None:
    """Where a level has one mission only, whoever knows the level is right; declining is never right by chance."""
    tasks = (MISSIONS, PARAPHRASES, UNMET, SCHEMAS, CHANGES)
    suite, limit = PlannerSuite(tasks, levels=["BabyAI-GoToRedBall-v0", "BabyAI-PutNextLocal-v0"]), 8
    options = Options(limit=limit, seed=0, arms=(CHANCE,))
    samples = list(suite.measure(parts, options, set()))
    assert len(samples) == suite.count(options) == limit * len(suite.tasks)
    assert samples == list(suite.measure(parts, options, set())) and all(s["first"] for s in samples)
    for sample in samples:
        if sample["task"] in (MISSIONS, PARAPHRASES):
            assert sample["right"] or sample["level"] == "BabyAI-PutNextLocal-v0"
    assert not any(s["right"] for s in samples if s["task"] in (UNMET, SCHEMAS, CHANGES))
    spec = {s["seed"]: suite.asked(Tasks(BabyAIWorld), SCHEMAS, s["seed"]).world.spec for s in samples}
    for sample in samples:
        if sample["task"] == SCHEMAS:
            assert spec[sample["seed"]].parse_plan(sample["first"].replace(" → ", "\n"))
    results = suite.summarise(samples)
    assert {row["task"] for row in results["tasks"]} == {f"{task}, random" for task in suite.tasks}
    assert results["declining"] is None and results["traits"] == results["steps"] == []


def test_the_runner_runs_it(parts: Parts, tmp_path: Path) -> None:
    result = run_suite("planner", limit=1, seed=3, tasks=["missions", "unmet"], runs=tmp_path, parts=parts)
    rows = [row["task"] for row in result["tasks"]]
    assert rows == ["missions", "missions, random", "unmet", "unmet, random"]


def test_a_change_is_right_to_the_last_digit_or_wrong(parts: Parts) -> None:
    suite, limit = PlannerSuite([CHANGES]), 6
    changes = [schema_change("test", suite.draw(CHANGES, seed)) for seed in range(limit)]
    right = {change.text: change.change for change in changes}
    off = {text: re.sub(r"\d(?=\D*$)", lambda m: str((int(m[0]) + 1) % 10), change) for text, change in right.items()}

    def knows(prompt: str) -> list[str]:
        text = prompt.rsplit("Words: ", 1)[1].splitlines()[0]
        return [f"{(off if list(right).index(text) % 2 else right)[text]}\n"]

    made = Parts(BabyAIWorld, parts.trained, parts.config, lambda: ScriptedModel(knows), None)
    samples = list(suite.measure(made, Options(limit=limit, seed=0, arms=ASKED), set()))
    assert [sample["right"] for sample in samples] == [True, False] * (limit // 2)
    assert len(samples) == suite.count(Options(limit=limit, seed=0, arms=ASKED))
    assert suite.summarise(samples)["tasks"][0]["first"]["value"] == 0.5


def test_worlds_that_say_no_goals_are_an_error(parts: Parts) -> None:
    mute: Any = lambda name: object()  # noqa: E731
    silent = Parts(mute, parts.trained, parts.config, parts.load_llm)
    with pytest.raises(EvalError, match="says no goals"):
        list(PlannerSuite(["missions"]).measure(silent, Options(limit=1, seed=0, arms=("llm",)), set()))


def test_a_thousand_test_goals_are_a_thousand() -> None:
    """The default limit's goals differ, as far as a part of them shows; all are within what the agent reads."""
    suite, tasks = PlannerSuite(), Tasks(BabyAIWorld)
    assert suite.default_limit >= 1000
    asked = [suite.asked(tasks, PARAPHRASES, seed) for seed in range(60)]
    assert len({q.goal for q in asked}) >= 58 and max(len(q.goal) for q in asked) <= 300
    assert {q.task.world for q in asked} == set(LEVELS)
    asked = [suite.asked(tasks, SCHEMAS, seed) for seed in range(200)]
    assert len({q.goal for q in asked}) == 200 and max(len(q.goal) for q in asked) <= 300
