import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gedanken.worlds.expressions import LONGEST, ExpressionError, is_name, parse

NAMES = ("x", "obs[0]", "arm.speed")
VALUES = {"x": 0.5, "obs[0]": -2.0, "arm.speed": 3.0}

numbers = st.one_of(st.sampled_from(NAMES), st.floats(0, 100, allow_nan=False).map(repr), st.integers(0, 9).map(str))
arithmetic = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda t: f"-{t}"),
        inner.map(lambda t: f"({t}) ** 2"),
        st.tuples(st.sampled_from(("abs", "sin", "cos")), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
    ),
    max_leaves=6,
).map(lambda text: f"x + {text}")
conditions = st.recursive(
    st.tuples(arithmetic, st.sampled_from(("<", "<=", ">", ">=")), arithmetic).map(" ".join),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(("and", "or")), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
        inner.map(lambda t: f"not ({t})"),
    ),
    max_leaves=2,
)


@given(st.one_of(arithmetic, conditions).filter(lambda text: len(text) <= LONGEST // 2))
def test_an_expression_survives_being_written_and_read(text: str) -> None:
    expression = parse(text, NAMES)
    again = parse(expression.text, NAMES)
    assert again == expression and again.text == expression.text
    values = {name: np.asarray(value) for name, value in VALUES.items()}
    assert np.array_equal(again(values), expression(values), equal_nan=True)


@given(arithmetic.filter(lambda text: len(text) <= LONGEST), st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_numpy_and_torch_agree_with_python(text: str, given_values: list[float]) -> None:
    named = dict(zip(NAMES, given_values, strict=True))
    expression = parse(text, NAMES)
    real = expression({name: np.full(2, value) for name, value in named.items()})
    imagined = expression({n: torch.full((2,), v, dtype=torch.float64) for n, v in named.items()}, torch)
    np.testing.assert_allclose(real, imagined.numpy(), rtol=1e-9)
    spelled = text.replace("obs[0]", "o").replace("arm.speed", "s")
    places = {"x": named["x"], "o": named["obs[0]"], "s": named["arm.speed"]}
    known: dict[str, Any] = {"abs": abs, "max": max, "sin": math.sin, "cos": math.cos, "__builtins__": {}}
    try:
        wanted = eval(spelled, known, places)  # the test's own text; the code under test never does this
    except (ZeroDivisionError, OverflowError, ValueError):
        return
    np.testing.assert_allclose(real, wanted, rtol=1e-9)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x < 1 and obs[0] < 0", True),
        ("not x < 1 or obs[0] > 0", False),
        ("0 < x < 0.4", False),
        ("x == 0.5", True),
        ("atan2(x, obs[0]) > 0", True),
        ("min(x, obs[0]) <= -2", True),
    ],
)
def test_a_condition_is_true_or_false(text: str, value: bool) -> None:
    expression = parse(text, NAMES)
    assert expression.condition
    assert bool(expression({name: np.asarray(v) for name, v in VALUES.items()})) is value
    assert expression({n: torch.full((2,), v) for n, v in VALUES.items()}, torch).tolist() == [value] * 2


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "no expression"),
        ("x +", "no expression"),
        ("y + 1", r"no variable 'y'; there are arm.speed, obs\[0\], x"),
        ("obs[1]", r"no variable 'obs\[1\]'"),
        ("x.real", "no variable 'x.real'"),
        ("1 + 2", "names no variable"),
        ("__import__('os').system('true')", "not understood"),
        ("(lambda: x)()", "not understood"),
        ("x if x > 1 else 2", "not understood"),
        ("[x for x in x]", "not understood"),
        ("x ** 99999999", "not understood"),
        ("x ** x", "not understood"),
        ("'x' * 9", "not understood"),
        ("True", "not understood"),
        ("x * 1e999", "not understood"),
        ("sin(x, x)", r"sin takes 1 argument"),
        ("sin(x=x)", "not understood"),
        ("1 + (x > 2)", "should be a number"),
        ("x and x > 2", "should be a condition"),
        ("(" * 150 + "x" + ")" * 150, "at most 300 characters"),
        ("-" * 250 + "x", None),
        ("x\0", "no expression"),
    ],
)
def test_what_is_no_arithmetic_is_refused(text: str, advice: str | None) -> None:
    if advice is None:
        assert parse(text, NAMES).names == {"x"}
        return
    with pytest.raises(ExpressionError, match=advice):
        parse(text, NAMES)


def test_impossible_arithmetic_is_no_error() -> None:
    values = {"x": np.asarray(0.0)}
    assert np.isinf(parse("1 / x", ["x"])(values)) and np.isnan(parse("sqrt(x - 1)", ["x"])(values))
    assert torch.isinf(parse("x + 1 / (1 - 1)", ["x"])({"x": torch.zeros(2)}, torch)).all()


@pytest.mark.parametrize("text", ["x", "obs[0]", "a.b[2].c", "θ1"])
def test_names(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "2x", "a b", "class", "abs", "x[y]", "x[-1]", "f(x)", "x ", "a-b"])
def test_no_names(text: str) -> None:
    assert not is_name(text)
