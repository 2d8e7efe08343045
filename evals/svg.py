"""Elements of SVG, escaped: what charts and strips are drawn with. Knows neither."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH = 360
"""Units of every chart, about the pixels of a phone, so that text is as large as the page's."""


def chart(height: float, about: str, parts: Sequence[Markup]) -> Markup:
    """Return a chart as high as that, and as wide as all; `about` says what it shows to who can't see it."""
    size = f"0 0 {WIDTH} {height:g}"
    return tag("svg", tag("title", about), *parts, viewBox=size, role="img", aria_label=about)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Draw a line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def text(x: float, y: float, text: str, kind: str) -> Markup:
    """Write text; it is escaped."""
    return tag("text", text, x=x, y=y, class_=kind)


def points(places: Sequence[tuple[float, float]]) -> str:
    """Return points as an attribute."""
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in places)


def tag(name: str, *content: str, **attributes: str | float) -> Markup:
    """Write an element; text is escaped, `class_` and `aria_label` become attributes."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), round(v, 2) if isinstance(v, float) else v)
        for key, v in attributes.items()
    )
    inside = Markup("").join(map(escape, content))
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inside)
