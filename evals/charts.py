"""Charts as SVG: bars, a reliability diagram, curves. Colours are CSS classes (`charts.css`); knows no run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from markupsafe import Markup

from gedanken.evals import svg


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
    """Shares over horizons or coverages, or numbers over numbers: (at, value, low, high); `kind` is a CSS class."""

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

    parts = [svg.line(x(share), 0, x(share), bottom, "grid") for share in (0, 0.5, 1)]
    parts += [svg.text(x(share), bottom + 13, f"{share:.0%}", "tick middle") for share in (0, 0.5, 1)]
    for number, row in enumerate(rows):
        middle = height * number + height / 2 + 2
        wide = row.value * (right - left)
        numbers = f"{100 * row.value:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        parts += [
            svg.text(left - 6, middle + 4, row.label, "end"),
            svg.tag("rect", x=left, y=middle - 6, width=wide, height=12, class_=f"bar {row.kind}"),
            *_whisker(x(row.low), middle, x(row.high), middle, 4),
            svg.text(svg.WIDTH, middle + 4, numbers, "number end"),
        ]
    return svg.chart(bottom + 18, about, parts)


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

    parts = [*_axes(left, top, side, side), svg.line(x(0), y(0), x(1), y(1), "ideal")]
    parts += [svg.text(x(share), y(0) + 15, f"{share:.0%}", "tick middle") for share in (0, 0.25, 0.5, 0.75, 1)]
    for dot in dots:
        tall = 50 * dot.n / most
        parts.append(svg.tag("rect", x=x(dot.predicted) - 7, y=y(0) - tall, width=14, height=tall, class_="count"))
    for dot in dots:
        said = (
            f"predicted {dot.predicted:.1%}, happened {dot.happened:.1%} [{dot.low:.1%}, {dot.high:.1%}], n = {dot.n}"
        )
        parts += [
            *_whisker(x(dot.predicted), y(dot.low), x(dot.predicted), y(dot.high), 4),
            svg.tag(
                "circle",
                svg.tag("title", said),
                cx=x(dot.predicted),
                cy=y(dot.happened),
                r=3 + 3 * math.sqrt(dot.n / most),
                class_="dot main",
            ),
        ]
    parts.append(svg.text(x(0.5), y(0) + 33, across, "label middle"))
    parts.append(_upright(13, top + side / 2, up))
    return svg.chart(top + side + 40, about, parts)


def horizon_curves(curves: Sequence[Curve], about: str, *, numbers: bool = False) -> Markup:
    """Draw shares, or numbers, over the actions ahead, on a logarithmic axis, with bands for the intervals."""
    horizons = sorted({point[0] for curve in curves for point in curve.points})
    first, last = math.log2(horizons[0]), math.log2(horizons[-1])
    ticks = {h: (math.log2(h) - first) / (last - first) if last > first else 0.5 for h in horizons}
    shown, up = [(h, f"{h:g}") for h in horizons], _ticks(0, _values(curves)[-1]) if numbers else ()
    return _curves(curves, about, ticks, "actions ahead, without looking", shown, up)


def coverage_curves(curves: Sequence[Curve], about: str) -> Markup:
    """Draw shares over how many were kept, those that were doubted least first, with bands for the intervals."""
    ticks = {point[0]: point[0] for curve in curves for point in curve.points}
    shown = [(at, f"{at:.0%}") for at in sorted(ticks) if round(100 * at) % 20 == 0]
    return _curves(curves, about, ticks, "kept, least doubted first", shown)


def number_curves(curves: Sequence[Curve], about: str, across: str) -> Markup:
    """Draw numbers over numbers, both axes as long as what is drawn."""
    places = [point[0] for curve in curves for point in curve.points]
    up, along = _ticks(_values(curves)[0], _values(curves)[-1]), _ticks(min(places), max(places))
    wide = along[-1] - along[0]
    ticks = {at: (at - along[0]) / wide for at in {*places, *along}}
    return _curves(curves, about, ticks, across, [(at, _short(at)) for at in along], up)


def _curves(
    curves: Sequence[Curve],
    about: str,
    places: Mapping[float, float],
    across: str,
    ticks: Sequence[tuple[float, str]],
    numbers: Sequence[float] = (),
) -> Markup:
    """Draw curves; `places` says how far along the axis, 0…1, a point is. They are shares, or as high as `numbers`."""
    left, top, wide, high = 44, 8, 300, 190
    low, most = (numbers[0], numbers[-1]) if numbers else (0.0, 1.0)

    def x(at: float) -> float:
        return left + 10 + (wide - 20) * places[at]

    def y(value: float) -> float:
        return top + (most - value) / (most - low) * high

    bottom = top + high
    if numbers:
        parts = [mark for value in numbers for mark in _level(left, y(value), wide, _short(value))]
    else:
        parts = _axes(left, top, wide, high)
    parts += [svg.text(x(at), bottom + 15, words, "tick middle") for at, words in ticks]
    parts.append(svg.text(left + wide / 2, bottom + 33, across, "label middle"))
    for curve in curves:
        upper = [(x(at), y(top_)) for at, _, _, top_ in curve.points]
        lower = [(x(at), y(low_)) for at, _, low_, _ in reversed(curve.points)]
        parts.append(svg.tag("polygon", points=svg.points(upper + lower), class_=f"band {curve.kind}"))
    for number, curve in enumerate(curves):
        line, below = [(x(at), y(value)) for at, value, _, _ in curve.points], bottom + 56 + 18 * number
        parts.append(svg.tag("polyline", points=svg.points(line), class_=f"curve {curve.kind}"))
        parts += [svg.tag("circle", cx=px, cy=py, r=3, class_=f"dot {curve.kind}") for px, py in line]
        parts.append(svg.line(left, below - 4, left + 24, below - 4, f"curve {curve.kind}"))
        parts.append(svg.text(left + 32, below, curve.label, ""))
    return svg.chart(top + high + 46 + 18 * len(curves), about, parts)


def _axes(left: float, top: float, wide: float, high: float) -> list[Markup]:
    """Draw lines and ticks of shares from 0 to 100 %."""
    shares = (0, 0.25, 0.5, 0.75, 1)
    return [mark for share in shares for mark in _level(left, top + (1 - share) * high, wide, f"{share:.0%}")]


def _level(left: float, at: float, wide: float, words: str) -> list[Markup]:
    """Draw one level of an axis, and say how high it is."""
    return [svg.line(left, at, left + wide, at, "grid"), svg.text(left - 5, at + 4, words, "tick end")]


def _values(curves: Sequence[Curve]) -> list[float]:
    """Return all that curves and their bands reach, the least first."""
    return sorted(number for curve in curves for point in curve.points for number in point[1:])


def _ticks(low: float, high: float) -> list[float]:
    """Return four to seven round numbers, evenly apart, between which all lies."""
    spread = high - low or abs(high) or 1.0
    size = 10 ** math.floor(math.log10(spread / 4))
    step = next(size * times for times in (1, 2, 5, 10) if spread / (size * times) <= 5)
    first = math.floor(low / step)
    return [round(step * count, 10) for count in range(first, max(math.ceil(high / step), first + 1) + 1)]


def _short(value: float) -> str:
    """Write a number in few letters."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def _whisker(x1: float, y1: float, x2: float, y2: float, half: float) -> list[Markup]:
    """Draw an interval with its ends."""
    dx, dy = (0.0, half) if y1 == y2 else (half, 0.0)
    ends = [svg.line(x - dx, y - dy, x + dx, y + dy, "whisker") for x, y in ((x1, y1), (x2, y2))]
    return [svg.line(x1, y1, x2, y2, "whisker"), *ends]


def _upright(x: float, y: float, text: str) -> Markup:
    return svg.tag("text", text, x=x, y=y, class_="label middle", transform=f"rotate(-90 {x:g} {y:g})")
