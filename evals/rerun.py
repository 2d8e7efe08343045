"""Is a run that was done again the same? Clocks aside, its tables to the last digit. Knows no particular suite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gedanken.evals.errors import EvalError
from gedanken.evals.run_folder import EpochKey, key_of, plain
from gedanken.evals.suite import Suite, Table, summed, tabled

SHOWN = 5
"""Samples whose differences are named."""

ROUNDING = 1e-5
"""How far apart fractions are at most that rounding may have moved."""

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Rerun:
    """Whether the results are the same, how many samples are not, and what the first of those differ in."""

    same: bool
    samples: int
    other_samples: int
    differences: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self) | {"differences": list(self.differences)}

    def words(self) -> str:
        """Say it in one sentence that ends before the name of the run."""
        first = f" ({'; '.join(self.differences)})" if self.differences else ""
        apart = f"{self.other_samples} of {self.samples} samples differ{first}"
        if self.same:
            also = f", though {apart}," if self.other_samples else ""
            return f"clocks aside, the tables are the same to the last digit{also} as those of"
        return f"the results are not the same, {apart}, as those of"


def compare_rerun(suite: Suite, before: Sequence[Sample], after: Sequence[Sample]) -> Rerun:
    """Compare samples one by one and what they come to, what clocks said set to nothing.

    What samples say only since a later version is not compared: the run that is done again may be older.
    """
    known = {name for sample in before for name in sample}
    after = [{name: value for name, value in s.items() if name in known or s.get("error")} for s in after]
    pairs = [{key_of(sample): _timeless(suite, sample) for sample in samples} for samples in (before, after)]
    keys = list(dict.fromkeys((*pairs[0], *pairs[1])))
    others = [key for key in keys if not alike(pairs[0].get(key), pairs[1].get(key))]
    results = [plain(summed(suite, list(samples.values()))) for samples in pairs]
    same = alike(*results) and _shown(suite, results[0]) == _shown(suite, results[1])
    differences = tuple(_difference(key, pairs[0].get(key, {}), pairs[1].get(key, {})) for key in others[:SHOWN])
    return Rerun(same, len(keys), len(others), differences)


def alike(one: Any, other: Any) -> bool:
    """Tell whether data are the same, fractions up to rounding: what was asked together decides their last digits."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return bool(one == other)


def _shown(suite: Suite, results: Mapping[str, Any]) -> list[Table] | None:
    """Return the tables of results; None where nothing is left to show without what clocks said."""
    try:
        return tabled(suite, results)
    except EvalError:
        return None


def _timeless(suite: Suite, sample: Sample) -> dict[str, Any]:
    return {name: 0.0 if name in suite.clocks else value for name, value in plain(sample).items()}


def _difference(key: EpochKey, before: Sample, after: Sample) -> str:
    which = f"{key[0]} {key[1]} {key[2]}" + (f" epoch {key[3]}" if key[3] > 1 else "")
    if not before or not after:
        return f"{which} is only in the {'first' if before else 'second'}"
    names = [name for name in {**before, **after} if not alike(before.get(name), after.get(name))]
    return f"{which} in {', '.join(names)}"
