"""The load generator against a real server whose agent is scripted: what it counts, never how quick that is."""

import asyncio
import os
from typing import Any

import pytest
from serving import served

from gedanken.tools.load import Load, load, peak_memory
from gedanken.tools.refusals import Busy
from gedanken.tools.runs import Runs

GOAL = {"goal": "go to the red key"}


def test_answers_and_failures_are_counted(runs: Runs) -> None:
    bodies = [{**GOAL, "plans": ["go_to(red key)"]}, {**GOAL, "plans": ["fly(x)"]}]
    with served(runs) as url:
        found = asyncio.run(load(url, "/rehearse", bodies, clients=2, seconds=0.5)).as_dict()
    assert found["failed"].keys() == {"422"}, found
    answered = found["answered"]
    assert found["clients"] == 2 and answered["n"] >= 1 and answered["p50"] <= answered["p95"] <= answered["p99"]
    assert found["refused"]["n"] == found["unserved"] == 0


def test_those_sent_away_are_counted_apart(opening: Any, gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, refusals = Runs.submit, 0

    def refusing(runs: Runs, request: Any) -> Any:
        nonlocal refusals
        try:
            return submit(runs, request)
        except Busy:  # each who is sent away was refused when he came and when his patience was at its end
            refusals += 1
            if refusals == 4:
                gate.open.set()
            raise

    monkeypatch.setattr(Runs, "submit", refusing)
    monkeypatch.setattr("gedanken.tools.load.LONGEST_WAIT", 0.1)  # of patience in line
    with Runs(opening(gate), waiting=1, together=1) as runs, served(runs) as url:
        runs.wake()
        found = asyncio.run(load(url, "/plan", [GOAL], clients=4, seconds=1))
    assert found.refusals and found.unserved and not found.failed and found.latencies
    assert all(wait >= seconds for wait, seconds in zip(found.waits, found.latencies, strict=True))


def test_nothing_answered_has_no_quantiles() -> None:
    assert Load(3).as_dict()["answered"] == {"n": 0, "p50": None, "p95": None, "p99": None}


def test_memory_is_that_of_the_process() -> None:
    memory = peak_memory(os.getpid())
    assert memory is None or memory > 10
    assert peak_memory(0) is None
