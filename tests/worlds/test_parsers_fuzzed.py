"""Plans, logs and what is said of logs, made up by hypothesis: each is read, or refused in words."""

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gedanken.worlds import babyai
from gedanken.worlds.fields import Variable, VectorField
from gedanken.worlds.logs import LogSpec, Repairs, read_log, read_log_spec
from gedanken.worlds.objectives import OBJECTIVES
from gedanken.worlds.spec import SpecError, WorldSpec

ROOM = WorldSpec(
    name="room",
    observation=VectorField(name="state", variables=tuple(Variable(name=n) for n in ("room", "arm[0].speed"))),
    actions=("wait", "heat"),
    attributes=(),
    skills=OBJECTIVES,
)
WORDS = [*"()±.,-+*/ \n\t\r\x00\u2028²٣", "..", "within ", "for ", "<", "or ", "1e999", "9" * 40, "(" * 90, "-" * 90]
WORDS += ["room", "arm[0].speed", "reward", "abs(", "reach(", "keep(", "maximize(", "avoid(", "20", "0.5"]
WORDS += ["go_to(", "put_next_to(", "red ", "ball", "door", "behind you"]
PLANS = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=24).map("".join) | st.text(max_size=60)


@pytest.mark.parametrize("spec", [babyai.SPEC, ROOM], ids=["words", "numbers"])
@settings(max_examples=400)
@given(text=PLANS)
@example(text="reach(room, 20 ± 0.5, within 30)\nkeep(arm[0].speed, 1..2, for 4)")
@example(text="go_to(red ball behind you)\ndrop()")
def test_what_is_read_as_a_plan_is_written_and_read_as_the_same(spec: WorldSpec, text: str) -> None:
    try:
        plan = spec.parse_plan(text)
    except SpecError as error:
        assert str(error)
        return
    assert spec.parse_plan(str(plan)) == plan


LOG = LogSpec.model_validate(
    {
        "time": "when",
        "every": "30 min",
        "episode": "day",
        "observe": [{"column": "room"}],
        "actions": [{"column": "valve", "low": 0, "high": 1}],
    }
)
CELLS = st.sampled_from(
    ["", "0", "1", "nan", "1e999", "-1", "1800", "2026-01-01", "0001-01-01T00:00+14:00", "9999-12-31"]
)
CELLS |= st.text(max_size=6) | st.floats().map(str) | st.datetimes().map(str)
TABLES = st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=6).map("\n".join)
LITTLE = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LITTLE
@given(
    content=TABLES.map(lambda rows: f"when,day,room,valve\n{rows}\n".encode(errors="replace")) | st.binary(max_size=60)
)
@example(content=b"when,day,room,valve\n0,a,20,0\n1800,a,21,1\n")
def test_a_log_is_read_or_refused_with_the_place(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    try:
        pieces = list(read_log(path, LOG, Repairs()))
    except SpecError as error:
        assert "log.csv" in str(error)
        return
    assert all(len(piece.observations) == len(piece.actions) + 1 >= 2 for piece in pieces)


VALUES: Any = st.recursive(
    st.sampled_from(['"when"', '"30 min"', "0", "-1", "1e3", "true", "nan", '"²"', "2026-01-01"])
    | st.text(string.printable, max_size=6),
    lambda more: st.lists(more, max_size=3).map(lambda values: f"[{', '.join(values)}]"),
    max_leaves=5,
)
LINES = st.sampled_from(["[[observe]]", "[[actions]]", "[expressions]", "[[exogenous]]", "[observe]"])
LINES |= st.tuples(
    st.sampled_from(["column", "name", "unit", "low", "high", "time", "every", "episode", "reward", "x"]), VALUES
).map(" = ".join)


@LITTLE
@given(content=st.lists(LINES, max_size=12).map("\n".join).map(str.encode) | st.binary(max_size=60))
def test_what_is_said_of_a_log_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.toml"
    path.write_bytes(content)
    try:
        read_log_spec(path).world("log")
    except SpecError as error:
        assert str(error)
