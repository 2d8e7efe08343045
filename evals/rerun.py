"""Is a run that was done again the same? Clocks aside, to the last digit. Knows no particular suite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gedanken.evals.run_folder import EpochKey, key_of, plain
from gedanken.evals.suite import Suite, summed, tabled

SHOWN = 5
"""Samples whose differences are named."""

ROUNDING = 1e-5
"""How far apart fractions are at most of samples that were asked in other company, which decides their last digits."""

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
            return f"clocks aside, the results are the same to the last digit{also} as those of"
        return f"the results are not the same, {apart}, as those of"


def compare_rerun(suite: Suite, before: Sequence[Sample], after: Sequence[Sample], *, rounding: float = 0.0) -> Rerun:
    """Compare samples one by one and what they come to, what clocks said set to nothing.

    `rounding` is how far fractions may be apart, for runs whose samples were asked in other company.

    What samples say only since a later version is not compared: the run that is done again may be older.
    """
    known = {name for sample in before for name in sample}
    after = [{name: value for name, value in s.items() if name in known or s.get("error")} for s in after]
    pairs = [{key_of(sample): _timeless(suite, sample) for sample in samples} for samples in (before, after)]
    keys = list(dict.fromkeys((*pairs[0], *pairs[1])))
    others = [key for key in keys if not alike(pairs[0].get(key), pairs[1].get(key), rounding)]
    results = [plain(summed(suite, list(samples.values()))) for samples in pairs]
    same = results[0] == results[1] or (
        alike(results[0], results[1], rounding) and tabled(suite, results[0]) == tabled(suite, results[1])
    )
    differences = tuple(
        _difference(key, pairs[0].get(key, {}), pairs[1].get(key, {}), rounding) for key in others[:SHOWN]
    )
    return Rerun(same, len(keys), len(others), differences)


def alike(one: Any, other: Any, rounding: float) -> bool:
    """Tell whether data are the same, fractions as far apart as `rounding` at most."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[key], other[key], rounding) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(alike(a, b, rounding) for a, b in zip(one, other, strict=True))
    if rounding and isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=rounding, abs_tol=rounding)
    return bool(one == other)


def _timeless(suite: Suite, sample: Sample) -> dict[str, Any]:
    return {name: 0.0 if name in suite.clocks else value for name, value in plain(sample).items()}


def _difference(key: EpochKey, before: Sample, after: Sample, rounding: float) -> str:
    which = f"{key[0]} {key[1]} {key[2]}" + (f" epoch {key[3]}" if key[3] > 1 else "")
    if not before or not after:
        return f"{which} is only in the {'first' if before else 'second'}"
    names = [name for name in {**before, **after} if not alike(before.get(name), after.get(name), rounding)]
    return f"{which} in {', '.join(names)}"
