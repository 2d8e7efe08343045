"""What can be compared between two runs: numbers that samples with partners come to. Knows no suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gedanken.evals.statistics import Interval, Statistic, paired_bootstrap, paired_difference

Sample = Mapping[str, Any]
FEWEST = 10
"""Pairs below which resampling them says nothing."""


@dataclass(frozen=True)
class Difference:
    """A measure in two runs, and the second minus the first."""

    before: float
    after: float
    interval: Interval


class Measure(Protocol):
    """One number; `percent` says how it is written, `more_is_better` which way is up."""

    @property
    def name(self) -> str:
        """Return what it is called."""
        ...

    @property
    def more_is_better(self) -> bool:
        """Return which way is up."""
        ...

    @property
    def percent(self) -> bool:
        """Return whether it is written in per cent."""
        ...

    def counts(self, sample: Sample) -> bool:
        """Return whether a sample has this number; both of a pair must."""
        ...

    def difference(self, before: Sequence[Sample], after: Sequence[Sample], level: float) -> Difference:
        """Return the difference over pairs, with an interval of that level; NaN bounds for too few pairs."""
        ...


@dataclass(frozen=True)
class Share:
    """How many samples say yes."""

    name: str
    of: Callable[[Sample], bool]
    more_is_better: bool = True
    percent: bool = True

    def counts(self, sample: Sample) -> bool:
        """Return True."""
        return True

    def difference(self, before: Sequence[Sample], after: Sequence[Sample], level: float) -> Difference:
        """See `Measure`; the interval is that of paired proportions."""
        if len(scenes := scenes_of(before)) > len(set(scenes)):  # what shares one is no sample of its own
            return Estimate(self.name, mean(self.of)).difference(before, after, level)
        first, second = ([bool(self.of(sample)) for sample in samples] for samples in (before, after))
        return Difference(float(np.mean(first)), float(np.mean(second)), paired_difference(second, first, level=level))


@dataclass(frozen=True)
class Estimate:
    """What samples come to together; the interval is a paired bootstrap."""

    name: str
    of: Callable[[Sequence[Sample]], Statistic]
    more_is_better: bool = True
    percent: bool = False
    only: Callable[[Sample], bool] = lambda _: True

    def counts(self, sample: Sample) -> bool:
        """Return whether `only` holds."""
        return self.only(sample)

    def difference(self, before: Sequence[Sample], after: Sequence[Sample], level: float) -> Difference:
        """See `Measure`."""
        first, second, n = self.of(before), self.of(after), len(before)
        rows = np.arange(n, dtype=np.int64)
        interval = paired_bootstrap(second, first, n, level=level, groups=scenes_of(before))
        if interval.n < FEWEST:
            interval = Interval(interval.value, float("nan"), float("nan"), interval.n)
        return Difference(first(rows), second(rows), interval)


def scenes_of(samples: Sequence[Sample]) -> list[tuple[str, int]]:
    """Return every sample's scene, its world (or task) and seed: epochs, and tasks of one world, have it in common."""
    return [(sample.get("world", sample["task"]), sample["seed"]) for sample in samples]


def ratio(part: Callable[[Sample], float], whole: Callable[[Sample], float]) -> Callable[[Sequence[Sample]], Statistic]:
    """Return how to make the statistic Σ part / Σ whole, NaN where the wholes add up to nothing."""

    def of(samples: Sequence[Sample]) -> Statistic:
        parts, wholes = np.array([part(s) for s in samples], float), np.array([whole(s) for s in samples], float)

        def statistic(rows: NDArray[np.int64]) -> float:
            total = float(wholes[rows].sum())
            return float(parts[rows].sum()) / total if total else float("nan")

        return statistic

    return of


def mean(value: Callable[[Sample], float]) -> Callable[[Sequence[Sample]], Statistic]:
    """Return how to make the statistic of a mean."""
    return ratio(value, lambda _: 1.0)


def over_parts(
    parts: Callable[[Sample], Sequence[tuple[float, bool]]], statistic: Callable[[Any, Any], float]
) -> Callable[[Sequence[Sample]], Statistic]:
    """Return how to make a statistic of (prediction, outcome) pairs, of which a sample holds several."""

    def of(samples: Sequence[Sample]) -> Statistic:
        tables = [np.array(parts(sample), float).reshape(-1, 2) for sample in samples]

        def drawn(rows: NDArray[np.int64]) -> float:
            together = np.concatenate([tables[row] for row in rows])
            return statistic(together[:, 0], together[:, 1])

        return drawn

    return of
