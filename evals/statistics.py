"""Proportions, ranks and calibration with their uncertainty. Knows nothing of worlds, models or runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""

ROUNDS = 1000
"""Resamples of a bootstrap."""

COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Where a risk–coverage curve is drawn."""

Floats = NDArray[np.float64]
Statistic = Callable[[NDArray[np.int64]], float]
"""Takes the indices of rows, some of them more than once, and returns what they come to."""


@dataclass(frozen=True)
class Interval:
    """An estimate from `n` observations with its 95 % interval; NaN where there is nothing to estimate."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, None instead of NaN."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


def wilson(successes: float, n: int) -> Interval:
    """Return a proportion with Wilson's score interval (1927). Raises ValueError for more successes than trials.

    A trial that was repeated may count as a part of a success.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials")
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0, 0)
    share, square = successes / n, Z95**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = Z95 * np.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return Interval(share, low, high, n)


def paired_difference(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the difference of two proportions, first minus second, over the same samples.

    The value is the observed difference, the interval is Bonett and Price's adjusted Wald interval for paired
    proportions (2012), at `level`. Raises ValueError for different lengths.
    """
    a, b = _column(first).astype(bool), _column(second).astype(bool)
    if len(a) != len(b):
        raise ValueError(f"pairs of {len(a)} and {len(b)} outcomes")
    n = len(a)
    if n == 0:
        return Interval(float("nan"), -1.0, 1.0, 0)
    gained, lost = int((a & ~b).sum()), int((b & ~a).sum())
    more, less = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = quantile(level) * np.sqrt((more + less - (more - less) ** 2) / (n + 2))
    low, high = max(-1.0, more - less - half), min(1.0, more - less + half)
    return Interval((gained - lost) / n, float(low), float(high), n)


def paired_bootstrap(
    first: Statistic,
    second: Statistic,
    n: int,
    *,
    level: float = 0.95,
    seed: int = 0,
    groups: Sequence[object] | None = None,
) -> Interval:
    """Return first minus second over the same n rows, with the normal interval of its bootstrap standard error.

    Each draw takes the same rows for both; rows of one of `groups` are drawn together, and `n` then counts groups.
    Percentiles of a thousand draws would say nothing of levels far above 95 %. Draws for which the difference is NaN
    are left out; NaN bounds where fewer than two are left.
    """
    rng, rows = np.random.default_rng(seed), np.arange(n, dtype=np.int64)
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    value = first(rows) - second(rows)
    members: dict[object, list[int]] = {}
    for row in range(n):
        members.setdefault(row if groups is None else groups[row], []).append(row)
    parts = [np.array(part, dtype=np.int64) for part in members.values()]
    n = len(parts)
    picks = (np.concatenate([parts[part] for part in pick]) for pick in rng.integers(n, size=(ROUNDS, n)))
    draws = [draw for pick in picks if (draw := first(pick) - second(pick)) == draw]
    half = quantile(level) * float(np.std(draws, ddof=1)) if len(draws) > 1 else float("nan")
    return Interval(value, value - half, value + half, n)


def quantile(level: float) -> float:
    """Return how many standard errors a two-sided normal interval of that level reaches to each side."""
    return NormalDist().inv_cdf((1 + level) / 2)


def auroc(scores: ArrayLike, outcomes: ArrayLike) -> float:
    """Return the chance that a success was scored above a failure, ties counting half; NaN for one class."""
    score, happened = _column(scores), _column(outcomes).astype(bool)
    positives, negatives = int(happened.sum()), int((~happened).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # midranks
    return float((ranks[happened].sum() - positives * (positives + 1) / 2) / (positives * negatives))


@dataclass(frozen=True)
class RiskCoverage:
    """How much goes wrong among those that are doubted least: (coverage, share that went wrong), and the area below."""

    points: tuple[tuple[float, Interval], ...]
    area: Interval


def risk_coverage(
    doubts: ArrayLike, wrong: ArrayLike, groups: ArrayLike, at: Sequence[float] = COVERAGES
) -> RiskCoverage:
    """Return the risk–coverage curve (El-Yaniv and Wiener, 2010), with bootstrap intervals over groups.

    The risk at a coverage c is the share of wrong ones among the share c with the least doubt; equal doubts share their
    mean. The area is the mean of the risks at all coverages: without any order it would be the risk at coverage 1.
    """
    doubt, missed = _column(doubts), _column(wrong)

    def risks(rows: NDArray[np.int64]) -> Floats:
        _, inverse, counts = np.unique(doubt[rows], return_inverse=True, return_counts=True)
        means = np.bincount(inverse, missed[rows]) / counts
        risk = np.cumsum(np.repeat(means, counts)) / np.arange(1, len(rows) + 1)
        return np.array([*(risk[max(round(c * len(rows)), 1) - 1] for c in at), risk.mean()])

    *points, area = bootstrap_all(risks, groups, len(at) + 1)
    return RiskCoverage(tuple(zip(at, points, strict=True)), area)


@dataclass(frozen=True)
class Bin:
    """One row of a reliability table: predictions in `low`…`high`, their mean, and how often it really happened."""

    low: float
    high: float
    n: int
    predicted: float
    happened: Interval


def reliability(predicted: ArrayLike, outcomes: ArrayLike, *, bins: int = 10, equal_mass: bool = False) -> list[Bin]:
    """Return the reliability table: equal-width bins of 0…1 (the last one closed), or bins of equal numbers.

    Empty bins are left out. Raises ValueError for predictions outside 0…1.
    """
    chance, happened = _column(predicted), _column(outcomes)
    if len(chance) and (chance.min() < 0 or chance.max() > 1):
        raise ValueError(f"probabilities range from {chance.min()} to {chance.max()}")
    if equal_mass:
        parts = [part for part in np.array_split(np.argsort(chance, kind="stable"), bins) if len(part)]
        edges = [(float(chance[part[0]]), float(chance[part[-1]])) for part in parts]
    else:
        index = np.minimum((chance * bins).astype(int), bins - 1)
        full = [b for b in range(bins) if (index == b).any()]
        parts = [np.flatnonzero(index == b) for b in full]
        edges = [(b / bins, (b + 1) / bins) for b in full]
    return [
        Bin(low, high, len(part), float(chance[part].mean()), wilson(int(happened[part].sum()), len(part)))
        for (low, high), part in zip(edges, parts, strict=True)
    ]


def calibration_error(predicted: ArrayLike, outcomes: ArrayLike, *, bins: int = 10, equal_mass: bool = False) -> float:
    """Return the expected calibration error over `reliability`'s bins: the mean gap, weighted by the bins' sizes."""
    table = reliability(predicted, outcomes, bins=bins, equal_mass=equal_mass)
    total = sum(row.n for row in table)
    return sum(row.n * abs(row.predicted - row.happened.value) for row in table) / total if total else float("nan")


def brier(predicted: ArrayLike, outcomes: ArrayLike) -> float:
    """Return the mean squared error of predicted probabilities."""
    return float(np.mean((_column(predicted) - _column(outcomes)) ** 2))


def quantiles(values: ArrayLike, at: Sequence[float] = (0.1, 0.5, 0.9)) -> list[float]:
    """Return quantiles, interpolated linearly; NaN for no values."""
    column = _column(values)
    return [float(q) for q in np.quantile(column, at)] if len(column) else [float("nan")] * len(at)


def bootstrap(
    statistic: Statistic,
    groups: ArrayLike,
    *,
    seed: int = 0,
) -> Interval:
    """Return a statistic of all rows with its percentile interval over resampled groups.

    `groups` names the group of every row: what belongs together (the plans of one situation, the frames of one episode)
    is drawn together. `statistic` takes row indices; draws for which it is NaN are left out. `n` counts the groups.
    """
    (interval,) = bootstrap_all(lambda rows: np.array([statistic(rows)]), groups, 1, seed=seed)
    return interval


def bootstrap_all(
    statistics: Callable[[NDArray[np.int64]], Floats], groups: ArrayLike, count: int, *, seed: int = 0
) -> list[Interval]:
    """Return `count` statistics that are worked out together, each with its interval as `bootstrap` has it."""
    _, labels = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(labels, kind="stable").astype(np.int64)
    if not len(order):
        return [Interval(float("nan"), float("nan"), float("nan"), 0)] * count
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)

    def draw() -> NDArray[np.int64]:
        picked = rng.integers(len(sizes), size=len(sizes))
        ends = np.cumsum(sizes[picked])
        offsets = np.repeat(starts[picked] - ends + sizes[picked], sizes[picked])
        rows: NDArray[np.int64] = order[offsets + np.arange(ends[-1])]
        return rows

    draws = np.stack([statistics(draw()) for _ in range(ROUNDS)], 1)  # [count, ROUNDS]
    found = []
    for value, column in zip(statistics(order), draws, strict=True):
        known = column[~np.isnan(column)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        found.append(Interval(float(value), float(low), float(high), len(sizes)))
    return found


def auroc_interval(scores: ArrayLike, outcomes: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the AUROC with its bootstrap interval over groups (over rows where none are given)."""
    score, happened = _column(scores), _column(outcomes)
    return bootstrap(
        lambda rows: auroc(score[rows], happened[rows]), np.arange(len(score)) if groups is None else groups
    )


def mean_interval(values: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the mean with its bootstrap interval over groups (over rows where none are given)."""
    column = _column(values)
    return bootstrap(lambda rows: float(column[rows].mean()), np.arange(len(column)) if groups is None else groups)


def ratio_interval(parts: ArrayLike, wholes: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return Σ parts / Σ wholes with its bootstrap interval; NaN where the wholes add up to nothing."""
    return ratio_intervals({"": (parts, wholes)}, groups)[""]


def ratio_intervals(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]], groups: ArrayLike | None = None
) -> dict[str, Interval]:
    """Return `ratio_interval` of several (parts, wholes) of the same rows, by name."""
    part, whole = (np.stack([_column(pair[side]) for pair in pairs.values()]) for side in (0, 1))  # [K, rows]

    def ratios(rows: NDArray[np.int64]) -> Floats:
        totals = whole[:, rows].sum(1)
        shares: Floats = part[:, rows].sum(1) / np.where(totals == 0, np.nan, totals)
        return shares

    rows = np.arange(part.shape[1]) if groups is None else groups
    return dict(zip(pairs, bootstrap_all(ratios, rows, len(pairs)), strict=True))


def _column(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64).reshape(-1)
