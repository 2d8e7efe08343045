"""Practice in bettering plans for made-up worlds of numbers: what was tried, why it was found wanting, the next plan.

What is to be kept in a range that it is not in has to be brought there first. What failed in some futures, and nothing
better can be said, is the answer again; a goal is never changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gedanken.agent.critic import NOT_ASKED
from gedanken.agent.objective_critic import told_failing
from gedanken.agent.propose import Attempt
from gedanken.worlds.objectives import Avoid, Keep, Optimize, Reach, objective_of, shortfall, standing
from gedanken.worlds.schema_goals import USUAL, SchemaGoal
from gedanken.worlds.slots import number_text
from gedanken.worlds.spec import Plan, Step

FUTURES = 16
"""Of a rehearsal that a failed plan is said to have had."""

TRIES = 20
"""Draws of values at which a step could fail."""

MISREAD = 0.3
"""Share of plans that can be done and are not what was asked."""


def tried(asked: SchemaGoal, rng: np.random.Generator) -> tuple[list[Attempt], Plan]:
    """Return what was tried for a goal, nothing where nothing can go wrong with it, and the plan that follows."""
    if rng.random() < MISREAD and (wrong := _misread(asked.plan, asked, rng)):
        return [Attempt(str(wrong), NOT_ASKED)], asked.plan
    now = {named.name: named.value for named in asked.schema.variables}
    objectives = [objective_of(asked.spec, step) for step in asked.plan.steps]
    outside = [
        at for at, objective in enumerate(objectives) if isinstance(objective, Keep) and not bool(objective.holds(now))
    ]
    if outside:
        at, failed = outside[0], int(rng.integers(12, FUTURES + 1))
        attempts = _failing(asked, at, failed, rng)
        steps = [*asked.plan.steps[:at], *([_brought(asked, at)] if attempts else []), *asked.plan.steps[at:]]
        return attempts, Plan(steps=tuple(steps))
    pursued = [at for at, objective in enumerate(objectives) if isinstance(objective, Keep | Reach)]
    if not pursued:
        return [], asked.plan
    at = pursued[int(rng.integers(len(pursued)))]
    return _failing(asked, at, int(rng.integers(4, FUTURES + 1)), rng), asked.plan


def _brought(asked: SchemaGoal, at: int) -> Step:
    """Return the step that brings a variable well into the range in which it is to be kept."""
    step = asked.plan.steps[at]
    keep = objective_of(asked.spec, step)
    assert isinstance(keep, Keep)
    middle, reach = (keep.low + keep.high) / 2, (keep.high - keep.low) / 4
    target = f"{number_text(round(middle, 4))} ± {number_text(round(reach, 4))}"
    return asked.spec.parse_plan(f"reach({keep.variable}, {target}, within {USUAL})").steps[0]


def _failing(asked: SchemaGoal, at: int, failed: int, rng: np.random.Generator) -> list[Attempt]:
    """Tell of a step that fails, with values as they may be by then; of none where it can hardly fail.

    What is to be avoided is the reason only where the step itself has nothing wrong.
    """
    plan, field = asked.plan, asked.spec.vector
    objective, standby = objective_of(asked.spec, plan.steps[at]), standing(asked.spec, plan.steps[: at + 1])
    now = {n.name: np.float64(n.value + 0.05 * (n.high - n.low) * rng.normal()) for n in asked.schema.variables}
    for _ in range(TRIES):
        if not bool(objective.holds(now)):
            why = shortfall(field, objective, (), now)
            return [Attempt(str(plan), told_failing(plan, at, failed, FUTURES, why))]
        if not all(bool(condition.holds(now)) for condition in standby):
            why = shortfall(field, objective, standby, now)
            return [Attempt(str(plan), told_failing(plan, at, failed, FUTURES, why))]
        now |= {n.name: np.float64(rng.uniform(n.low, n.high)) for n in asked.schema.variables}
    return []


def _misread(plan: Plan, asked: SchemaGoal, rng: np.random.Generator) -> Plan | None:
    """Return another plan of the same steps: one left out, their order turned round, or the other way of an extreme."""
    steps, others = plan.steps, list[Sequence[Step]]()
    objectives = [objective_of(asked.spec, step) for step in steps]
    for at, objective in enumerate(objectives):
        if isinstance(objective, Optimize):
            text = str(steps[at])
            other = {"maximize": "minimize", "minimize": "maximize"}[text[:8]]
            turned = asked.spec.parse_plan(f"{other}{text[8:]}").steps[0]
            others.append([*steps[:at], turned, *steps[at + 1 :]])
        if len(steps) > 1:
            others.append([*steps[:at], *steps[at + 1 :]])
    if len(steps) > 1 and not any(isinstance(objective, Avoid) for objective in objectives):
        others.append(steps[::-1])
    found = [Plan(steps=tuple(other)) for other in others if tuple(other) != steps]
    return found[int(rng.integers(len(found)))] if found else None
