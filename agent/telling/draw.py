"""Draw views of categories as coloured cells. Knows the world's spec, no model and no loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from gedanken.agent.events import Grid
from gedanken.worlds.protocol import Observation
from gedanken.worlds.spec import WorldSpec

GLYPHS = {"ball": "●", "box": "■", "key": "⚷", "door": "▯", "wall": "▒", "goal": "★", "lava": "≈", "agent": "▲"}
COLOURS = {"grey": "grey70", "purple": "magenta", "red": "bright_red", "blue": "dodger_blue1"}
FLOOR, WALL, UNSURE = "grey11", "grey35", "on dark_orange3"


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


def draw_known(spec: WorldSpec, known: Observation, agent: tuple[int, int]) -> Text:
    """Return a map ``[P, P, C]`` as `draw` does, without the rows and columns that nothing is known of."""
    seen = known[..., 0] != spec.grid.hidden
    seen[agent] = True
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    part = known[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return draw(spec, part.tolist(), (agent[0] - int(rows[0]), agent[1] - int(columns[0])))


def strip(spec: WorldSpec, views: Sequence[Grid], width: int) -> Table:
    """Return imagined frames side by side, as many as fit into `width` columns, the last one among them."""
    fitting = max(1, width // (2 * len(views[0][0]) + 2))
    shown = [*views[: fitting - 1], views[-1]]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row(*(draw(spec, view) for view in shown))
    return table


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
