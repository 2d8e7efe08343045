"""What was imagined beside what really happened, as SVG: views of cells moment by moment, numbers as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from gedanken.evals import svg
from gedanken.worlds.fields import GridField, Variable

View = Sequence[Sequence[Sequence[int]]]
"""Codes of cells, ``[height, width, C]``."""

LEFT, GAP, MOST = 54, 6, 5
"""Space for the rows' names, between views, and most views beside each other."""

PANEL, EDGE = 62, 4
"""Height of one number's lines, and space beside them."""


def views_strip(field: GridField, looks: Mapping[str, tuple[View, View]], about: str) -> Markup:
    """Draw views by the number of actions before them, imagined above real ones; cells that are wrong are framed."""
    shown = list(looks.items())[:MOST]
    side = (svg.WIDTH - LEFT - (MOST - 1) * GAP) / MOST
    cell, parts = side / max(field.width, field.height), []
    high = cell * field.height
    for row, name in enumerate(("imagined", "really")):
        parts.append(svg.text(LEFT - 6, 16 + row * (high + GAP) + high / 2 + 4, name, "label end"))
    for column, (ahead, (imagined, real)) in enumerate(shown):
        x = LEFT + column * (side + GAP)
        words = f"{ahead} action{'s' * (ahead != '1')}" if not column else ahead
        parts.append(svg.text(x + cell * field.width / 2, 10, words, "tick middle"))
        parts += _view(field, imagined, real, x, 16, cell, imagined_it=True)
        parts += _view(field, real, real, x, 16 + high + GAP, cell, imagined_it=False)
    below = 16 + 2 * high + GAP + 14
    parts.append(svg.text(LEFT, below, "one future, imagined from the first look; framed: wrong", "tick"))
    return svg.chart(below + 4, about, parts)


def _view(
    field: GridField, view: View, real: View, x: float, y: float, cell: float, *, imagined_it: bool
) -> list[Markup]:
    parts, frames = [], []
    for row, codes in enumerate(view):
        for column, seen in enumerate(codes):
            left, top, truth = x + column * cell, y + row * cell, real[row][column]
            parts += _cell(field, seen, left, top, cell, at_agent=(row, column) == field.agent)
            if imagined_it and truth[0] != field.hidden and list(seen) != list(truth):
                inside = {"x": left + 0.5, "y": top + 0.5, "width": cell - 1, "height": cell - 1}
                frames.append(svg.tag("rect", class_="wrong", **inside))
    return parts + frames


def _cell(field: GridField, codes: Sequence[int], x: float, y: float, cell: float, *, at_agent: bool) -> list[Markup]:
    """Draw a cell: a disc for a ball, a frame for a door, a square for a box, a bar for a key, or a first letter."""
    names = {c.name: c.categories[code] for c, code in zip(field.channels, codes, strict=True)}
    kind, background = names[field.channels[0].name], codes[0] in field.background
    colour = f"thing {names.get('colour', '')}"
    below = "unseen" if codes[0] == field.hidden and not at_agent else "wall" if kind == "wall" else "floor"
    parts = [svg.tag("rect", x=x, y=y, width=cell, height=cell, class_=f"cell {below}")]

    def box(wide: float, high: float, kind: str) -> Markup:
        left, top = x + (1 - wide) / 2 * cell, y + (1 - high) / 2 * cell
        return svg.tag("rect", x=left, y=top, width=wide * cell, height=high * cell, class_=kind)

    def disc(down: float, radius: float, kind: str) -> Markup:
        return svg.tag("circle", cx=x + cell / 2, cy=y + down * cell, r=radius * cell, class_=kind)

    if at_agent:
        corners = [(x + across * cell, y + down * cell) for across, down in ((0.5, 0.12), (0.15, 0.88), (0.85, 0.88))]
        parts.append(svg.tag("polygon", points=svg.points(corners), class_="agent" if background else colour))
    elif codes[0] == field.hidden or background:
        pass
    elif kind == "door":
        parts.append(box(0.8, 0.8, f"{colour} door {names.get('state', '')}"))
        parts += [disc(0.5, 0.14, "lock")] if names.get("state") == "locked" else []
    elif kind == "ball":
        parts.append(disc(0.5, 0.34, colour))
    elif kind == "box":
        parts.append(box(0.6, 0.6, colour))
    elif kind == "key":
        parts += [box(0.2, 0.7, colour), disc(0.3, 0.22, colour)]
    else:
        parts.append(svg.text(x + cell / 2, y + 0.85 * cell, kind[:1].upper(), f"{colour} middle"))
    return parts


def numbers_strip(variables: Sequence[Variable], moments: Sequence[Sequence[Sequence[float]]], about: str) -> Markup:
    """Draw each number over the actions ahead: what happened, the mean of the futures, and nine tenths of them.

    `moments` are ``[T, V, 4]``, see `number_open_loop.strip`.
    """
    parts = []
    for number, variable in enumerate(variables):
        parts += _number(variable, [moment[number] for moment in moments], 15.0 + number * PANEL)
    below = len(variables) * PANEL + 12.0
    parts += [
        svg.line(EDGE, below - 4, EDGE + 24, below - 4, "curve real"),
        svg.text(EDGE + 30, below, "really", ""),
        svg.line(90, below - 4, 114, below - 4, "curve main"),
        svg.text(120, below, f"imagined, without looking, {len(moments)} actions", ""),
    ]
    return svg.chart(below + 6, about, parts)


def _number(variable: Variable, told: Sequence[Sequence[float]], top: float) -> list[Markup]:
    low, high = min(map(min, told)), max(map(max, told))
    across, down = (svg.WIDTH - 2 * EDGE) / max(len(told) - 1, 1), (PANEL - 24) / (high - low or 1.0)

    def path(which: int) -> list[tuple[float, float]]:
        return [(EDGE + n * across, top + (high - values[which]) * down) for n, values in enumerate(told)]

    return [
        svg.text(EDGE, top - 5, f"{variable.name}, {variable.unit}" if variable.unit else variable.name, ""),
        svg.text(svg.WIDTH - EDGE, top - 5, f"{low:.3g} to {high:.3g}", "tick end"),
        svg.tag("polygon", points=svg.points([*path(3), *reversed(path(2))]), class_="band main"),
        svg.tag("polyline", points=svg.points(path(1)), class_="curve main"),
        svg.tag("polyline", points=svg.points(path(0)), class_="curve real"),
    ]
