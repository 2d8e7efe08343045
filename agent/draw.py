"""Draw views of categories as coloured cells. Knows the world's spec, no model and no loop."""

from __future__ import annotations

from collections.abc import Sequence

from rich.columns import Columns
from rich.text import Text

from gedanken.agent.events import Grid
from gedanken.worlds.spec import WorldSpec

GLYPHS = {"ball": "●", "box": "■", "key": "⚷", "door": "▯", "wall": "▒", "goal": "★", "lava": "≈", "agent": "▲"}
COLOURS = {"grey": "bright_black", "purple": "magenta"}


def draw(spec: WorldSpec, view: Grid) -> Text:
    """Return a view as text, two columns a cell, the agent at its place facing up."""
    lines = []
    for row, cells in enumerate(view):
        line = Text()
        for column, cell in enumerate(cells):
            line.append_text(_cell(spec, cell, at_agent=(row, column) == spec.observation.agent))
        lines.append(line)
    return Text("\n").join(lines)


def strip(spec: WorldSpec, views: Sequence[Grid]) -> Columns:
    """Return imagined frames side by side."""
    return Columns([draw(spec, view) for view in views], padding=(0, 2))


def _cell(spec: WorldSpec, cell: Sequence[int], *, at_agent: bool) -> Text:
    words = {
        channel.name: channel.categories[code]
        for channel, code in zip(spec.observation.channels, cell, strict=True)
        if 0 <= code < len(channel.categories)
    }
    first = spec.observation.channels[0].name
    kind, background = words.get(first, ""), cell[0] in spec.observation.background
    if at_agent:
        held = None if background else words.get("colour")
        return Text("▲ ", style=f"bold {_colour(held)}" if held else "bold red")
    if cell[0] == spec.observation.hidden:
        return Text("  ")
    if kind == "wall":
        return Text("▒▒", style="bright_black")
    if background:
        return Text(GLYPHS.get(kind, "·") + " ", style="dim")
    glyph = GLYPHS.get(kind, kind[:1].upper())
    if kind == "door":
        glyph = {"open": "▯", "closed": "▮", "locked": "◫"}.get(words.get("state", ""), glyph)
    return Text(glyph + " ", style=f"bold {_colour(words.get('colour'))}")


def _colour(name: str | None) -> str:
    return COLOURS.get(name or "", name or "white")
