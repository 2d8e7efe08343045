"""Draw what is seen: categories as coloured cells, numbers as bars and lines. Knows the world's spec, no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gedanken.agent.events import Grid
from gedanken.worlds.fields import GridField, Variable, VectorField
from gedanken.worlds.protocol import Observation
from gedanken.worlds.spec import WorldSpec

GLYPHS = {"ball": "●", "box": "■", "key": "⚷", "door": "▯", "wall": "▒", "goal": "★", "lava": "≈", "agent": "▲"}
COLOURS = {"grey": "grey70", "purple": "magenta", "red": "bright_red", "blue": "dodger_blue1"}
FLOOR, WALL, UNSURE = "grey11", "grey35", "on dark_orange3"
BAR, LINE = 12, "▁▂▃▄▅▆▇█"

Seen = Grid | Sequence[float]
"""A view as events have it: cells, or numbers in the order of the world's variables."""


def picture(spec: WorldSpec, view: Seen) -> RenderableType:
    """Return a view as people see it."""
    field = spec.observation
    return draw(spec, cast(Grid, view)) if isinstance(field, GridField) else _numbers(field, cast(list[float], view))


def draw(
    spec: WorldSpec, view: Grid, agent: tuple[int, int] | None = None, unsure: NDArray[np.bool_] | None = None
) -> Text:
    """Return a view as text, two columns a cell, the agent at its place facing up; cells ``[H, W]`` can be marked."""
    place, lines = agent or spec.grid.agent, []
    for row, cells in enumerate(view):
        line = Text()
        for column, cell in enumerate(cells):
            drawn = _cell(spec, cell, at_agent=(row, column) == place)
            if unsure is not None and unsure[row, column]:
                drawn.stylize(UNSURE)
            line.append_text(drawn)
        lines.append(line)
    return Text("\n").join(lines)


def draw_known(spec: WorldSpec, known: Observation, agent: tuple[int, ...]) -> RenderableType:
    """Return a map ``[P, P, C]`` without the rows and columns that nothing is known of; or numbers, where those are."""
    if isinstance(spec.observation, VectorField):
        return _numbers(spec.observation, known.tolist())
    seen = known[..., 0] != spec.grid.hidden
    row, column = agent
    seen[row, column] = True
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    part = known[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return draw(spec, part.tolist(), (row - int(rows[0]), column - int(columns[0])))


def strip(spec: WorldSpec, views: Sequence[Seen], width: int) -> Table:
    """Return imagined frames side by side, as many as fit into `width` columns, the last one among them.

    Numbers are drawn as a line each, from the first frame to the last.
    """
    table = Table.grid(padding=(0, 2, 0, 0))
    if isinstance(spec.observation, VectorField):
        for variable, values in zip(spec.observation.variables, np.array(views).T.tolist(), strict=True):
            first, last = (f"{value:.3g}" for value in (values[0], values[-1]))
            table.add_row(_named(variable), first, Text(_line(values), style="cyan"), last)
        return table
    grids = cast(list[Grid], views)
    fitting = max(1, width // (2 * len(grids[0][0]) + 2))
    table.add_row(*(draw(spec, view) for view in [*grids[: fitting - 1], grids[-1]]))
    return table


def _numbers(field: VectorField, values: Sequence[float]) -> Table:
    """Return numbers below each other, each with a bar where it is bounded."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for variable, value in zip(field.variables, values, strict=True):
        bar = Text()
        if variable.low is not None and variable.high is not None and variable.high > variable.low:
            share = (value - variable.low) / (variable.high - variable.low)
            filled = round(BAR * min(1.0, max(0.0, share)))
            bar = Text.assemble(("━" * filled, "cyan"), ("─" * (BAR - filled), "grey35"))
        table.add_row(_named(variable), Text(f"{value:.3g}", justify="right"), bar)
    return table


def _named(variable: Variable) -> Text:
    return Text(f"{variable.name} [{variable.unit}]" if variable.unit else variable.name, style="dim")


def _line(values: Sequence[float]) -> str:
    """Draw numbers as a line of blocks between their least and their greatest."""
    least, most = min(values), max(values)
    spread = most - least or 1.0
    return "".join(LINE[round((value - least) / spread * (len(LINE) - 1))] for value in values)


def _cell(spec: WorldSpec, cell: Sequence[int], *, at_agent: bool) -> Text:
    words = {
        channel.name: channel.categories[code]
        for channel, code in zip(spec.grid.channels, cell, strict=True)
        if 0 <= code < len(channel.categories)
    }
    first = spec.grid.channels[0].name
    kind, background = words.get(first, ""), cell[0] in spec.grid.background
    if at_agent:
        held = None if background else words.get("colour")
        return Text("▲ ", style=f"bold {_colour(held)} on {FLOOR}")
    if cell[0] == spec.grid.hidden:
        return Text("  ")
    if kind == "wall":
        return Text("▒▒", style=f"{WALL} on {WALL}")
    if background:
        return Text(GLYPHS.get(kind, "·") + " ", style=f"grey30 on {FLOOR}")
    glyph = GLYPHS.get(kind, kind[:1].upper())
    if kind == "door":
        glyph = {"open": "▯", "closed": "▮", "locked": "◫"}.get(words.get("state", ""), glyph)
    return Text(glyph + " ", style=f"bold {_colour(words.get('colour'))} on {FLOOR}")


def _colour(name: str | None) -> str:
    return COLOURS.get(name or "", name or "white")
