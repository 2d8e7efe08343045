from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gedanken.agent.llm.grammar import matches
from gedanken.worlds.babyai import SPEC as BABYAI
from gedanken.worlds.fields import Variable, VectorField
from gedanken.worlds.objectives import (
    OBJECTIVES,
    Avoid,
    Keep,
    Optimize,
    Reach,
    attainable,
    objective_of,
    outcome,
    standing,
)
from gedanken.worlds.spec import Plan, SpecError, Step, WorldSpec

NAMES = ("x", "obs[0]", "arm.speed", "height", "reward")


def spec(**changes: Any) -> WorldSpec:
    field = VectorField(
        name="state",
        variables=tuple(Variable(name=name) for name in NAMES[:3]),
        expressions=(("height", "2 * x + abs(obs[0])"),),
    )
    return WorldSpec(
        name="numbers",
        observation=VectorField(**{**dict(field), **changes}),
        actions=("a", "b"),
        attributes=(),
        skills=OBJECTIVES,
    )


SPEC = spec()
names = st.sampled_from(NAMES)
finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(1, 9999)
plain = st.decimals(-99999, 99999, places=4, allow_nan=False).map(float)
amounts = st.decimals(0, 99999, places=4, allow_nan=False).map(float)


def text(value: float) -> str:
    return f"{value + 0.0:.4f}".rstrip("0").rstrip(".")


factors = st.one_of(names, names.map(lambda name: f"abs({name})"))
terms = st.one_of(factors, st.tuples(amounts.map(text), factors).map(" * ".join))
expressions = (
    st.tuples(terms, st.sampled_from((" + ", " - ")), terms).map("".join) | terms.map(lambda t: f"-{t}") | terms
)
comparisons = st.tuples(factors, st.sampled_from((" < ", " <= ", " > ", " >= ")), plain.map(text)).map("".join)
conditions = comparisons | st.tuples(comparisons, st.sampled_from((" and ", " or ")), comparisons).map("".join)
calls = st.one_of(
    st.builds(lambda v, t, a, n: f"reach({v}, {text(t)} ± {text(a)}, within {n})", names, plain, amounts, counts),
    st.builds(lambda v, a, b, n: f"keep({v}, {text(a)}..{text(b)}, for {n})", names, plain, plain, counts),
    st.builds(lambda s, e, n: f"{s}({e}, for {n})", st.sampled_from(("maximize", "minimize")), expressions, counts),
    conditions.map(lambda c: f"avoid({c})"),
)


@settings(max_examples=60)
@given(calls)
def test_what_the_grammar_allows_is_read_and_survives_being_written(call: str) -> None:
    assert matches(GRAMMAR, f"{call}\n")
    step = SPEC.parse_step(call)
    assert SPEC.parse_step(str(step)) == step and str(SPEC.parse_step(str(step))) == str(step)
    assert objective_of(SPEC, step) == objective_of(SPEC, SPEC.parse_step(str(step)))


@given(names, finite, finite.map(abs), finite, counts)
def test_numbers_survive_to_the_last_digit(name: str, target: float, tolerance: float, high: float, n: int) -> None:
    step = SPEC.parse_step(f"reach({name}, {target!r} +- {tolerance!r}, within {n})")
    assert objective_of(SPEC, step) == Reach(name, target, tolerance, n)
    keep = SPEC.parse_step(f"keep({name}, {target!r}..{high!r}, for {n})")
    assert objective_of(SPEC, keep) == Keep(name, min(target, high), max(target, high), n)
    assert SPEC.parse_step(str(keep)) == keep


GRAMMAR = SPEC.grammar()


def test_the_grammar_bounds_what_can_be_written() -> None:
    assert matches(GRAMMAR, "reach(x, 0.5 ± 0.1, within 50)\nkeep(obs[0], -1..1, for 9)\n")
    for wrong in (
        "reach(y, 0.5 ± 0.1, within 50)\n",
        "reach(x, 0.5 ± -0.1, within 50)\n",
        "reach(x, 123456 ± 0.1, within 50)\n",
        "reach(x, 0.55555 ± 0.1, within 50)\n",
        "keep(x, 0..1, for 0)\n",
        "keep(x, 0..1, for 10000)\n",
        "keep(x, 0..1)\n",
        "maximize(x > 1, for 5)\n",
        "avoid(x)\n",
        "maximize(__import__(x), for 5)\n",
    ):
        assert not matches(GRAMMAR, wrong), wrong


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        ("reach(y, 1 ± 0, within 5)", "variable: no variable 'y'; there are .*height"),
        ("reach(x, 1, within 5)", "target ± tolerance: '1' should look like '0.5 ± 0.1'"),
        ("reach(x, nan ± 1, within 5)", "should look like"),
        ("reach(x, 1e400 ± 1, within 5)", "should look like"),
        ("reach(x, 1 ± -1, within 5)", "tolerance .* is negative"),
        ("reach(x, 1 ± 1, within 0)", "choose from 1 to 9999 actions"),
        ("keep(x, 5, for 3)", "should look like '-0.2..0.2'"),
        ("keep(x, 0..1, for 99999)", "choose from 1 to 9999 actions"),
        ("maximize(x > 1, for 3)", "no expression; write, for example"),
        ("avoid(x)", "no condition; write, for example, x > 2"),
        ("avoid(min(x, 1))", "no condition"),
        ("avoid()", r"takes 1 argument\(s\), 'avoid\(\)' has 0"),
        ("maximize(x)", r"takes 2 argument\(s\)"),
        ("hover(x)", "no skill 'hover'.*reach, keep, maximize, minimize, avoid"),
        ("go", "not a step.*reach"),
    ],
)
def test_what_is_no_objective_is_refused_with_advice(call: str, advice: str) -> None:
    with pytest.raises(SpecError, match=advice):
        SPEC.parse_step(call)


def course(step: str, x: list[float], xp: Any) -> list[tuple[bool, bool]]:
    """Achieved and failed after each action, the variable x taking these values, by both definitions of the moment."""
    objective = objective_of(SPEC, SPEC.parse_step(step))
    result = []
    for spent, value in enumerate(x, 1):
        if xp is np:
            values = SPEC.vector.values(np.array([value, -1.0, 0.0]), np.asarray(0.5))
            achieved, failed = outcome(objective, spent, values)
            result.append((bool(achieved), bool(failed)))
        else:
            rows = torch.tensor([[value, -1.0, 0.0]] * 3, dtype=torch.float64)
            achieved, failed = outcome(objective, spent, SPEC.vector.values(rows, torch.full((3,), 0.5), torch), torch)
            assert achieved.shape == failed.shape == (3,) and achieved.unique().numel() == failed.unique().numel() == 1
            result.append((bool(achieved[0]), bool(failed[0])))
    return result


YES, NO, GO = (True, False), (False, True), (False, False)


@pytest.mark.parametrize("xp", [np, torch])
@pytest.mark.parametrize(
    ("step", "x", "happens"),
    [
        ("reach(x, 2 ± 0.5, within 3)", [0, 1.5], [GO, YES]),
        ("reach(x, 2 ± 0.5, within 3)", [0, 1, 2.6], [GO, GO, NO]),
        ("reach(x, 2 ± 0.5, within 3)", [0, 1, 2.5], [GO, GO, YES]),
        ("reach(height, 5 ± 0, within 3)", [0, 2], [GO, YES]),  # height is 2 x + 1 here
        ("keep(x, 0..1, for 3)", [0, 1, 0.5], [GO, GO, YES]),
        ("keep(x, 0..1, for 3)", [0, 1.1], [GO, NO]),
        ("maximize(x, for 2)", [0, -9], [GO, YES]),
        ("minimize(x - obs[0], for 1)", [0], [YES]),
        ("avoid(x > 1 or x < -1)", [0.5, 2, -2], [YES, NO, NO]),
        ("reach(reward, 0.5 ± 0, within 1)", [0], [YES]),
    ],
)
def test_an_objective_means_the_same_in_reality_and_imagination(
    step: str, x: list[float], happens: list[tuple[bool, bool]], xp: Any
) -> None:
    assert course(step, x, xp) == happens


@pytest.mark.parametrize("step", ["reach(x, 0 ± 1, within 1)", "keep(x, -1..1, for 1)", "maximize(x, for 1)"])
def test_what_is_no_number_holds_nothing(step: str) -> None:
    assert course(step, [float("nan")], np) == course(step, [float("nan")], torch) == [NO]


def test_losses_lead_to_what_is_asked_for() -> None:
    def loss(step: str, x: float) -> float:
        values = SPEC.vector.values(np.array([x, 0.0, 0.0]), np.asarray(0.0))
        return float(objective_of(SPEC, SPEC.parse_step(step)).loss(values))

    assert loss("reach(x, 2 ± 0.5, within 3)", 1) == 1 and loss("reach(x, 2 ± 0.5, within 3)", 2) == 0
    keep = [loss("keep(x, 0..1, for 3)", x) for x in (-1, -0.1, 0, 0.1, 0.5, 1, 3)]
    assert (
        keep[:5] == sorted(keep[:5], reverse=True) and keep[4:] == sorted(keep[4:]) and keep[0] == pytest.approx(1.105)
    )
    assert loss("maximize(x, for 3)", 1) < loss("maximize(x, for 3)", 0)
    assert loss("minimize(x, for 3)", 1) > loss("minimize(x, for 3)", 0)
    assert loss("avoid(x > 1)", 2) == 1 and loss("avoid(x > 1)", 0) == 0


def test_what_is_to_be_avoided_stands_for_the_rest_of_the_plan() -> None:
    plan = SPEC.parse_plan("avoid(x > 1)\nkeep(x, 0..1, for 5)\navoid(x < 0)\nreach(x, 0 ± 1, within 5)")
    assert [len(standing(SPEC, plan.steps[: k + 1])) for k in range(4)] == [0, 1, 1, 2]
    assert isinstance(standing(SPEC, plan.steps)[0], Avoid) and SPEC.parse_plan(str(plan)) == plan
    assert isinstance(plan, Plan)


def test_only_the_worlds_own_reward_is_paid() -> None:
    paid = [
        objective_of(SPEC, SPEC.parse_step(f"maximize({e}, for 9)")) for e in ("reward", "2 * reward", "reward - x")
    ]
    assert [isinstance(o, Optimize) and o.paid for o in paid] == [True, True, False]


def test_an_objective_has_no_codes_and_a_grid_no_objectives() -> None:
    with pytest.raises(SpecError, match="is an objective and has no codes"):
        SPEC.step_codes(SPEC.parse_step("avoid(x > 1)"))
    with pytest.raises(SpecError):
        objective_of(BABYAI, Step(skill="drop"))
    with pytest.raises(SpecError, match="'babyai' shows a grid"):
        _ = BABYAI.vector
    with pytest.raises(SpecError, match="'numbers' shows numbers"):
        _ = SPEC.grid


@pytest.mark.parametrize(
    ("expressions", "advice"),
    [
        ((("tip", "y + 1"),), "no variable 'y'"),
        ((("tip", "x > 1"),), "a number, not a condition"),
        ((("x", "x + 1"),), "name of its own"),
        ((("reward", "x + 1"),), "name of its own"),
        ((("sin", "x + 1"),), "name of its own"),
        ((("two words", "x + 1"),), "name of its own"),
        ((("a", "b + x"), ("b", "2 * x")), "no variable 'b'"),
    ],
)
def test_bad_expressions_are_refused_where_they_are_named(expressions: Any, advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        VectorField(name="state", variables=(Variable(name="x"),), expressions=expressions)


def test_new_expressions_need_no_new_model_but_new_variables_do() -> None:
    assert spec(expressions=()).hash == SPEC.hash
    others = [
        spec(variables=SPEC.vector.variables[:2]),
        spec(variables=(Variable(name="x", categories=3),), expressions=()),
    ]
    assert len({SPEC.hash, *(other.hash for other in others)}) == 3
    assert WorldSpec.model_validate_json(SPEC.model_dump_json()) == SPEC


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("reach(x, 5 ± 1, within 9)", True),
        ("reach(x, 5.5 ± 0.4, within 9)", False),
        ("reach(x, -0.5 ± 0.6, within 9)", True),
        ("keep(x, 4..9, for 9)", True),
        ("keep(x, -9..-1, for 9)", False),
        ("keep(obs[0], -9..-1, for 9)", True),  # no bounds
        ("reach(arm.speed, 1 ± 1, within 9)", False),  # an input of the world
        ("maximize(arm.speed, for 9)", True),
        ("avoid(x > 9)", True),
        ("reach(height, 99 ± 1, within 9)", True),  # nobody says where an expression ends
    ],
)
def test_what_acting_can_bring_about(text: str, possible: bool) -> None:
    bounds = Variable(name="x", low=0, high=5), Variable(name="obs[0]"), Variable(name="arm.speed", exogenous=True)
    world = spec(variables=bounds)
    assert attainable(objective_of(world, world.parse_step(text)), world.vector) is possible
