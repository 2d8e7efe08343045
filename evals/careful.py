"""A suite's samples, epoch by epoch, and one by one where something raises. Knows no process and no folder.

A sample that raises is found by measuring those that are left alone, and stands in the run with its trace.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from gedanken.agent.llm.protocol import ModelCorrupt, ModelUnavailable
from gedanken.evals.errors import EvalError
from gedanken.evals.run_folder import EpochKey, Key, key_of
from gedanken.evals.suite import Options, Parts, Suite, keys
from gedanken.worldmodel.checkpoint import CheckpointError

FATAL = (EvalError, CheckpointError, ModelUnavailable, ModelCorrupt)
"""What every other sample would raise, too."""

IN_A_ROW = 5
"""Samples in a row that raise: then a run stops."""

Sample = dict[str, Any]


def samples(
    suite: Suite, parts: Parts, options: Options, done: AbstractSet[EpochKey], *, fail_on_error: bool = False
) -> Iterator[Sample]:
    """Yield the samples of all epochs that are not done; one that raises is recorded, see `failed`.

    With `fail_on_error` it is raised.
    """
    for number in range(1, options.epochs + 1):
        yield from epoch(suite, parts, options, number, done, fail_on_error=fail_on_error)


def epoch(
    suite: Suite,
    parts: Parts,
    options: Options,
    number: int,
    done: AbstractSet[EpochKey],
    *,
    fail_on_error: bool = False,
) -> Iterator[Sample]:
    """Yield the samples of one epoch, see `samples`."""
    there = {key[:3] for key in done if key[3] == number}
    for sample in _samples(suite, parts.in_epoch(number), options, there, fail_on_error):
        yield {**sample, "epoch": number}


def _samples(suite: Suite, parts: Parts, options: Options, done: set[Key], fail_on_error: bool) -> Iterator[Sample]:
    while True:
        try:
            for sample in suite.measure(parts, options, frozenset(done)):
                done.add(key_of(sample)[:3])
                yield sample
            return
        except FATAL:
            raise
        except Exception:
            left = [key for key in keys(suite, options) if key not in done]
            if fail_on_error or not left:
                raise
        for key in left:
            found = alone(suite, parts, options, key)
            done.add(key)
            yield from found
            if any(sample.get("error") for sample in found):
                break  # the rest may be measured together again


def alone(suite: Suite, parts: Parts, options: Options, key: Key) -> list[Sample]:
    """Measure one sample; return it, or what is recorded where it raises."""
    others = frozenset(other for other in keys(suite, options) if other != key)
    try:
        return list(suite.measure(parts, options, others))
    except FATAL:
        raise
    except Exception as error:
        return [failed(suite, key, f"{type(error).__name__}: {error}", traceback.format_exc())]


def failed(suite: Suite, key: Key, error: str, trace: str = "") -> Sample:
    """Return what stands for a sample that came to nothing."""
    task, seed, arm = key
    stands: Sample = getattr(suite, "failed", lambda *_: {})(task, seed, arm)
    return {**stands, "task": task, "seed": seed, "arm": arm, "error": error, "trace": trace}


def errors(samples: Iterable[Sample]) -> list[Sample]:
    """Return which samples raised, and what."""
    return [
        {name: sample.get(name) for name in ("task", "seed", "arm", "epoch", "error")}
        for sample in samples
        if sample.get("error")
    ]
