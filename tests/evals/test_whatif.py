"""The suite `whatif`: the real change and the foretold one are of the same input, plan and beginning."""

from typing import Any

import numpy as np
import pytest

from gedanken.evals import whatif
from gedanken.evals.control_learning import Setting, world_of
from gedanken.evals.suite import Options, keys
from gedanken.evals.whatif import WhatIfSuite

TASK = "Pendulum-gravity"
QUICK = Setting(1500, 0, size="debug", changes={"random": 1500, "first": 800, "rounds": 1, "explored": 0.0})


def test_the_change_foretold_is_compared_with_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(whatif.PLANS, TASK, "maximize(reward, for 5)")
    suite, options, unused = WhatIfSuite([TASK], {TASK: QUICK}), Options(8, 0, ("model",)), None
    parts: Any = unused
    samples = list(suite.measure(parts, options, set()))
    assert keys(suite, options) == [(s["task"], s["seed"], s["arm"]) for s in samples]
    about = world_of(TASK).adapter.exogenous["gravity"]
    for sample in samples:
        assert about.low <= sample["now"] <= about.high and about.low <= sample["then"] <= about.high
        assert len(sample["real"]) == len(sample["foretold"]) == len(sample["inside"]) == 3, "not the input itself"
        same = sample["now"] == sample["then"]
        assert same or np.any(np.abs(sample["real"]) > 1e-4)
    assert list(suite.measure(parts, options, {(TASK, 0, "model")})) == samples[1:]
    [row] = suite.summarise(samples)["tasks"]
    assert row["error"]["value"] < row["nothing"]["value"] and row["correlation"]["value"] > 0.5
    [table] = suite.tables(suite.summarise(samples))
    assert table.rows[0][:2] == (TASK, "8")
