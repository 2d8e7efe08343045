"""What is seen, as people see it."""

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from gedanken.agent.telling.draw import draw_known, picture, strip
from gedanken.worlds.babyai import SPEC
from gedanken.worlds.fields import Variable, VectorField
from gedanken.worlds.spec import WorldSpec

HOUSE = WorldSpec(
    name="house",
    observation=VectorField(
        name="state", variables=(Variable(name="room", unit="°C", low=10.0, high=30.0), Variable(name="power"))
    ),
    actions=("off",),
    attributes=(),
    skills=(),
)


def shown(thing: RenderableType) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    console.print(thing)
    file: Any = console.file
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_numbers_have_a_bar_where_they_are_bounded() -> None:
    room, power = shown(picture(HOUSE, [20.0, 1234.5]))
    assert room.startswith("room [°C]") and "20" in room and room.count("━") == room.count("─") == 6
    assert power.split() == ["power", "1.23e+03"]
    assert shown(draw_known(HOUSE, np.array([20.0, 1234.5]), ())) == [room, power]


@pytest.mark.parametrize("value", [-100.0, 100.0])
def test_a_number_out_of_bounds_fills_the_bar_or_leaves_it_empty(value: float) -> None:
    assert shown(picture(HOUSE, [value, 0.0]))[0].count("━") == (12 if value > 0 else 0)


def test_imagined_numbers_are_lines() -> None:
    room, power = shown(strip(HOUSE, [[18.0, 5.0], [19.0, 5.0], [20.0, 5.0]], 80))
    assert room.split() == ["room", "[°C]", "18", "▁▅█", "20"] and power.split() == ["power", "5", "▁▁▁", "5"]


def test_a_grid_is_cells() -> None:
    kinds, colours, _ = (channel.categories for channel in SPEC.grid.channels)
    view = np.zeros((SPEC.grid.height, SPEC.grid.width, 3), np.uint8)
    view[..., 0] = kinds.index("empty")
    view[0, 0] = kinds.index("ball"), colours.index("red"), 0
    lines = shown(picture(SPEC, view.tolist()))
    assert len(lines) == SPEC.grid.height and lines[0].startswith("●") and "▲" in lines[SPEC.grid.agent[0]]
