"""Revisions for made-up worlds of numbers: what is said of a failed plan is true of it, and the goal stays the goal."""

from dataclasses import replace

import numpy as np
import pytest

from gedanken.agent.critic import NOT_ASKED
from gedanken.agent.propose import Attempt
from gedanken.agent.readings import Reading, kept_to
from gedanken.agent.schema_practice import tried
from gedanken.worlds.objectives import Keep, Reach, objective_of
from gedanken.worlds.schema_goals import SchemaGoal, schema_goal
from gedanken.worlds.spec import Plan

Found = tuple[SchemaGoal, list[Attempt], Plan]


@pytest.fixture(scope="module")
def found() -> list[Found]:
    goals = [schema_goal("training", np.random.default_rng(seed)) for seed in range(300)]
    return [(goal, *tried(goal, np.random.default_rng((seed, 1)))) for seed, goal in enumerate(goals)]


def test_the_goal_is_never_changed(found: list[Found]) -> None:
    for goal, _, plan in found:
        reading = Reading(goal.plan, goal.plan, goal.text, 1, 0.0)
        assert kept_to([plan], [reading]) == [1.0]


def test_what_is_kept_out_of_its_range_is_brought_there_first(found: list[Found]) -> None:
    brought = [(goal, attempts, plan) for goal, attempts, plan in found if len(plan.steps) > len(goal.plan.steps)]
    assert len(brought) > 30
    for goal, [attempt], plan in brought:
        assert attempt.plan == str(goal.plan) and "futures" in attempt.reasons
        at = next(i for i, step in enumerate(plan.steps) if step not in goal.plan.steps)
        there, then = (objective_of(goal.spec, step) for step in plan.steps[at : at + 2])
        assert isinstance(there, Reach) and isinstance(then, Keep) and there.variable == then.variable
        now = {n.name: np.float64(n.value) for n in goal.schema.variables}
        assert not then.holds(now)
        around = np.linspace(2 * then.low - then.high, 2 * then.high - then.low, 99)
        reached = [value for value in around if there.holds({there.variable: value})]
        assert len(reached) > 10 and all(then.holds({then.variable: value}) for value in reached)


def test_a_range_that_holds_everything_fails_in_no_future() -> None:
    wide = schema_goal("training", np.random.default_rng(3))
    named = wide.schema.variables[0]
    plan = wide.spec.parse_plan(f"keep({named.name}, {named.low - 1:g}..{named.high + 1:g}, for 9)")
    for seed in range(20):
        attempts, then = tried(replace(wide, plan=plan), np.random.default_rng(seed))
        assert (attempts, then) == ([], plan)


def test_a_misread_goal_is_told_as_such_and_is_not_what_was_asked(found: list[Found]) -> None:
    misread = [(goal, attempts, plan) for goal, attempts, plan in found if [a.reasons for a in attempts] == [NOT_ASKED]]
    assert len(misread) > 20
    for goal, [attempt], plan in misread:
        assert attempt.plan != str(goal.plan) and plan == goal.plan
