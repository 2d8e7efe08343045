"""Charts as SVG: bars, a reliability diagram, curves. Colours are CSS classes (`charts.css`); knows no run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from markupsafe import Markup, escape

WIDTH = 360
"""Units of every chart, about the pixels of a phone, so that text is as large as the page's."""


@dataclass(frozen=True)
class Bar:
    """A share with its interval; `kind` is a CSS class."""

    label: str
    value: float
    low: float
    high: float
    kind: str = "main"


@dataclass(frozen=True)
class Dot:
    """One bin of a reliability diagram: mean prediction, share that happened with its interval, and how many."""

    predicted: float
    happened: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Curve:
    """Shares over horizons or coverages: (at, value, low, high); `kind` is a CSS class."""

    label: str
    points: tuple[tuple[float, float, float, float], ...]
    kind: str


def style() -> Markup:
    """Return the charts' CSS."""
    return Markup(resources.files("gedanken.evals").joinpath("charts.css").read_text(encoding="utf-8"))


def alone(chart: Markup) -> Markup:
    """Return a chart as an SVG document that needs nothing else, in light and in dark."""
    head = Markup('<svg xmlns="http://www.w3.org/2000/svg" width="720" style="background: var(--paper)"')
    css = Markup("<style>{}</style></svg>\n").format(style())
    return head + chart.removeprefix("<svg").removesuffix("</svg>") + css


def bars(rows: Sequence[Bar], about: str) -> Markup:
    """Draw horizontal bars from 0 to 100 % with whiskers and their numbers."""
    left, right, height = 84, 244, 22
    bottom = height * len(rows) + 4

    def x(share: float) -> float:
        return left + share * (right - left)

    parts = [_line(x(share), 0, x(share), bottom, "grid") for share in (0, 0.5, 1)]
    parts += [_text(x(share), bottom + 13, f"{share:.0%}", "tick middle") for share in (0, 0.5, 1)]
    for number, row in enumerate(rows):
        middle = height * number + height / 2 + 2
        numbers = f"{100 * row.value:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        parts += [
            _text(left - 6, middle + 4, row.label, "end"),
            _tag("rect", x=left, y=middle - 6, width=row.value * (right - left), height=12, class_=f"bar {row.kind}"),
            *_whisker(x(row.low), middle, x(row.high), middle, 4),
            _text(WIDTH, middle + 4, numbers, "number end"),
        ]
    return _chart(bottom + 18, about, parts)


def reliability_diagram(
    dots: Sequence[Dot], about: str, across: str = "predicted success", up: str = "really succeeded"
) -> Markup:
    """Draw what happened over what was predicted; on the dashed line predictions are true. Bars count predictions."""
    left, top, side = 44, 8, 300
    most = max((dot.n for dot in dots), default=1)

    def x(share: float) -> float:
        return left + share * side

    def y(share: float) -> float:
        return top + (1 - share) * side

    parts = [*_axes(left, top, side, side), _line(x(0), y(0), x(1), y(1), "ideal")]
    parts += [_text(x(share), y(0) + 15, f"{share:.0%}", "tick middle") for share in (0, 0.25, 0.5, 0.75, 1)]
    for dot in dots:
        tall = 50 * dot.n / most
        parts.append(_tag("rect", x=x(dot.predicted) - 7, y=y(0) - tall, width=14, height=tall, class_="count"))
    for dot in dots:
        said = (
            f"predicted {dot.predicted:.1%}, happened {dot.happened:.1%} [{dot.low:.1%}, {dot.high:.1%}], n = {dot.n}"
        )
        parts += [
            *_whisker(x(dot.predicted), y(dot.low), x(dot.predicted), y(dot.high), 4),
            _tag(
                "circle",
                _tag("title", said),
                cx=x(dot.predicted),
                cy=y(dot.happened),
                r=3 + 3 * math.sqrt(dot.n / most),
                class_="dot main",
            ),
        ]
    parts.append(_text(x(0.5), y(0) + 33, across, "label middle"))
    parts.append(_upright(13, top + side / 2, up))
    return _chart(top + side + 40, about, parts)


def horizon_curves(curves: Sequence[Curve], about: str) -> Markup:
    """Draw shares over the number of actions ahead, on a logarithmic axis, with bands for the intervals."""
    horizons = sorted({point[0] for curve in curves for point in curve.points})
    first, last = math.log2(horizons[0]), math.log2(horizons[-1])
    ticks = {h: (math.log2(h) - first) / (last - first) if last > first else 0.5 for h in horizons}
    return _curves(curves, about, ticks, "actions ahead, without looking", [(h, f"{h:g}") for h in horizons])


def coverage_curves(curves: Sequence[Curve], about: str) -> Markup:
    """Draw shares over how many were kept, those that were doubted least first, with bands for the intervals."""
    ticks = {point[0]: point[0] for curve in curves for point in curve.points}
    shown = [(at, f"{at:.0%}") for at in sorted(ticks) if round(100 * at) % 20 == 0]
    return _curves(curves, about, ticks, "kept, least doubted first", shown)


def _curves(
    curves: Sequence[Curve],
    about: str,
    places: Mapping[float, float],
    across: str,
    ticks: Sequence[tuple[float, str]],
) -> Markup:
    """Draw curves; `places` says how far along the axis, 0…1, a point is."""
    left, top, wide, high = 44, 8, 300, 190

    def x(at: float) -> float:
        return left + 10 + (wide - 20) * places[at]

    def y(share: float) -> float:
        return top + (1 - share) * high

    parts = _axes(left, top, wide, high)
    parts += [_text(x(at), y(0) + 15, words, "tick middle") for at, words in ticks]
    parts.append(_text(left + wide / 2, y(0) + 33, across, "label middle"))
    for curve in curves:
        upper = [(x(at), y(top_)) for at, _, _, top_ in curve.points]
        lower = [(x(at), y(low)) for at, _, low, _ in reversed(curve.points)]
        parts.append(_tag("polygon", points=_points(upper + lower), class_=f"band {curve.kind}"))
    for number, curve in enumerate(curves):
        line, below = [(x(at), y(value)) for at, value, _, _ in curve.points], y(0) + 56 + 18 * number
        parts.append(_tag("polyline", points=_points(line), class_=f"curve {curve.kind}"))
        parts += [_tag("circle", cx=px, cy=py, r=3, class_=f"dot {curve.kind}") for px, py in line]
        parts.append(_line(left, below - 4, left + 24, below - 4, f"curve {curve.kind}"))
        parts.append(_text(left + 32, below, curve.label, ""))
    return _chart(top + high + 46 + 18 * len(curves), about, parts)


def _axes(left: float, top: float, wide: float, high: float) -> list[Markup]:
    """Draw lines and ticks of shares from 0 to 100 %."""
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        at = top + (1 - share) * high
        parts += [_line(left, at, left + wide, at, "grid"), _text(left - 5, at + 4, f"{share:.0%}", "tick end")]
    return parts


def _whisker(x1: float, y1: float, x2: float, y2: float, half: float) -> list[Markup]:
    """Draw an interval with its ends."""
    dx, dy = (0.0, half) if y1 == y2 else (half, 0.0)
    ends = [_line(x - dx, y - dy, x + dx, y + dy, "whisker") for x, y in ((x1, y1), (x2, y2))]
    return [_line(x1, y1, x2, y2, "whisker"), *ends]


def _chart(height: float, about: str, parts: Sequence[Markup]) -> Markup:
    size = f"0 0 {WIDTH} {height:g}"
    return _tag("svg", _tag("title", about), *parts, viewBox=size, role="img", aria_label=about)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return _tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return _tag("text", text, x=x, y=y, class_=kind)


def _upright(x: float, y: float, text: str) -> Markup:
    return _tag("text", text, x=x, y=y, class_="label middle", transform=f"rotate(-90 {x:g} {y:g})")


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _tag(name: str, *content: str, **attributes: str | float) -> Markup:
    """Write an element; text is escaped, `class_` and `aria_label` become attributes."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), round(v, 2) if isinstance(v, float) else v)
        for key, v in attributes.items()
    )
    inside = Markup("").join(map(escape, content))
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inside)
