"""Samples that raise or end their process: found, recorded, counted as failed; the others are what they were."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gedanken.agent.config import LoopConfig
from gedanken.agent.loading import load_practice
from gedanken.evals.careful import IN_A_ROW, samples
from gedanken.evals.compare import compare
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.errors import EvalError
from gedanken.evals.main import CRITIC, _idle, _one_task, run_suite
from gedanken.evals.run_folder import RunFolder
from gedanken.evals.sample import Sample
from gedanken.evals.suite import Options, Parts, Table, summed
from gedanken.evals.workers import measure
from gedanken.worldmodel.checkpoint import CheckpointError


def even(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Succeed on even seeds, in the second epoch on all; all at once, so that one that raises takes the rest along."""
    for seed in seeds:
        if task == "raises" and seed % 5 == 3:
            raise ZeroDivisionError(f"seed {seed}")
        if task == "always":
            raise ZeroDivisionError(f"seed {seed}")
        if task == "misused":
            raise CheckpointError("no such checkpoint")
        if task == "killed" and seed == 3:
            os._exit(9)
    yield from (Sample(task, seed, "even", seed % 2 == 0 or parts.config.seed > 0, 1, "go") for seed in seeds)


def mended(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Do the same, and raise nothing."""
    yield from (replace(sample, task=task) for sample in even(parts, "fine", seeds))


class Odd(EpisodeSuite):
    name = "odd"
    default_limit = 10
    players = {"even": even}
    default_arms = ("even",)
    levels = ("fine", "raises")
    more_tasks = ("always", "misused", "killed")


class Untold(Odd):
    """Has as many samples again that nobody knows of beforehand."""

    def count(self, options: Options) -> int:
        return 2 * super().count(options)


no_parts = partial(Parts, load_practice, None, LoopConfig())
"""Makes parts of an arm that asks for a seed only; a worker can do it, too."""

odd_on, untold_on = (partial(_one_task, f"{__file__}:{name}") for name in ("Odd", "Untold"))


OPTIONS = Options(10, 0, ("even",))


def test_what_raises_is_found_among_those_that_are_measured_together() -> None:
    suite = Odd(["raises"])
    found = list(samples(suite, no_parts(), OPTIONS, set()))
    assert sorted(s["seed"] for s in found) == list(range(10)), "each once"
    bad = [s for s in found if s["error"]]
    assert [(s["seed"], s["error"], s["success"]) for s in bad] == [
        (3, "ZeroDivisionError: seed 3", False),
        (8, "ZeroDivisionError: seed 8", False),
    ]
    assert "in even" in bad[0]["trace"] and "raise ZeroDivisionError" in bad[0]["trace"]
    (row,) = suite.summarise(found)["tasks"]
    assert (row["n"], row["success"], row["errors"]) == (10, 0.4, 2), "8 was even"
    assert "2 of the episodes raised an error and count as failed" in suite.tables(suite.summarise(found))[0].note


def test_what_all_would_raise_is_raised() -> None:
    with pytest.raises(CheckpointError):
        list(samples(Odd(["misused"]), no_parts(), OPTIONS, set()))
    with pytest.raises(ZeroDivisionError, match="seed 3"):
        list(samples(Odd(["raises"]), no_parts(), OPTIONS, set(), fail_on_error=True))


@pytest.fixture
def odd_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    from gedanken.evals import main

    monkeypatch.setitem(main.SUITES, "odd", ("odd", "Odd"))
    monkeypatch.setitem(sys.modules, "odd", sys.modules[__name__])


def test_a_run_goes_on_names_what_raised_and_does_it_again_when_resumed(
    odd_suite: None,
    make_parts: Callable[..., Parts],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen: dict[str, Any] = {"limit": 10, "runs": tmp_path, "parts": make_parts()}
    answer = run_suite("odd", **chosen)
    said = capsys.readouterr()
    assert [(e["task"], e["seed"]) for e in answer["errors"]] == [("raises", 3), ("raises", 8)]
    assert "error, counted as failed: raises 3 even: ZeroDivisionError: seed 3" in said.err
    lines = (tmp_path / answer["run"] / "samples.jsonl").read_text().splitlines()
    assert sum("raise ZeroDivisionError" in line for line in lines) == 2, "with their traces"
    monkeypatch.setattr(Odd, "players", {"even": mended})
    again = run_suite(resume="last", runs=tmp_path, parts=make_parts())
    assert "errors" not in again and [row["success"] for row in again["tasks"]] == [0.5, 0.5]
    assert len((tmp_path / again["run"] / "samples.jsonl").read_text().splitlines()) == len(lines) + 2


def test_too_many_in_a_row_stop_a_run(
    odd_suite: None,
    make_parts: Callable[..., Parts],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Odd, "levels", ("always",))
    says = f"{IN_A_ROW} samples in a row failed, the last .always 4. with ZeroDivisionError: seed 4"
    with pytest.raises(EvalError, match=says):
        run_suite("odd", limit=10, runs=tmp_path, parts=make_parts())
    assert "--resume" in capsys.readouterr().err
    assert len(RunFolder.open(tmp_path, "last").samples()) == IN_A_ROW


def test_a_worker_that_a_sample_ends_is_replaced_and_the_sample_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    found = list(measure(Odd(["killed"]), odd_on, no_parts, OPTIONS, set(), 1))
    assert sorted(s["seed"] for s in found) == list(range(10))
    assert [(s["seed"], s["success"]) for s in found if s["error"]] == [(3, False)]
    assert "ended from outside, perhaps for want of memory, twice" in next(s["error"] for s in found if s["error"])
    said = capsys.readouterr().err
    assert "what it had not measured of killed is done again, one by one" in said
    assert "again: killed 3 even is recorded as an error" in said


def test_what_a_worker_raises_is_raised() -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        list(measure(Odd(["misused"]), odd_on, no_parts, OPTIONS, set(), 1))


def test_epochs_differ_in_the_agents_draws_and_count_as_one_sample(
    odd_suite: None, make_parts: Callable[..., Parts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Odd, "levels", ("fine",))
    once = run_suite("odd", limit=10, runs=tmp_path, parts=make_parts())
    twice = run_suite("odd", limit=10, epochs=2, runs=tmp_path, parts=make_parts())
    lines = (tmp_path / twice["run"] / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 20 and {json.loads(line)["epoch"] for line in lines} == {1, 2}
    (row,) = twice["tasks"]
    assert (row["n"], row["success"]) == (10, 0.75), "half of them half of the time"
    assert row["ci_high"] - row["ci_low"] > 0.4, "ten seeds tell no more than ten seeds, however often"
    cut = (tmp_path / twice["run"] / "samples.jsonl").write_text("".join(line + "\n" for line in lines[:13]))
    assert cut and run_suite(resume=twice["run"], runs=tmp_path, parts=make_parts())["tasks"] == twice["tasks"]
    assert run_suite(rerun=twice["run"], runs=tmp_path, parts=make_parts())["rerun"]["samples"] == 20
    found = compare(once["run"], twice["run"], tmp_path)
    assert (found.pairs, found.unpaired) == (10, (0, 10))
    again = compare(twice["run"], twice["run"], tmp_path)
    assert again.pairs == 20 and again.changes[0].difference.interval.n == 10, "pairs of seeds"
    with pytest.raises(EvalError, match="rehearsal sums up samples that are done once each; leave out --epochs"):
        run_suite("rehearsal", limit=1, epochs=2, runs=tmp_path, parts=make_parts())


def test_no_more_samples_are_under_way_than_asked(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    parts = make_parts()
    parts.max_samples, live, most = 2, 0, 0

    def work() -> int:
        nonlocal live, most
        live += 1
        most = max(most, live)
        parts.together.complete(
            [f"go to the red ball {most} {live}"], n=1, grammar=None, temperature=0.0, max_tokens=8, seed=0
        )
        live -= 1
        return 1

    assert sum(result for _, result in parts.together.run([work] * 6, width=16)) == 6
    assert most == 2


def test_an_error_beside_all_samples_is_raised_once() -> None:
    """Neither swallowed nor met for ever: no sample is left that it could be put down to."""

    class Careless(Odd):
        def measure(self, parts: Parts, options: Options, done: Any) -> Iterator[dict[str, Any]]:
            yield from super().measure(parts, options, done)
            raise ZeroDivisionError("after all of them")

    found = samples(Careless(["fine"]), no_parts(), Options(3, 0, ("even",)), frozenset())
    assert sum(1 for _ in zip(range(3), found, strict=False)) == 3
    with pytest.raises(ZeroDivisionError, match="after all of them"):
        next(found)


def test_of_samples_that_can_not_be_told_apart_none_is_lost_silently() -> None:
    with pytest.raises(EvalError, match="ended from outside"):
        list(measure(Untold(["killed"]), untold_on, no_parts, Options(4, 0, ("even",)), set(), 1))


class Faulty(Odd):
    """Can't sum up, show, or count; and says things that look like markup."""

    def summarise(self, samples: Sequence[Any]) -> dict[str, Any]:
        if samples[0]["task"] == "raises":
            raise ZeroDivisionError("nothing there")
        return super().summarise(samples)

    def count(self, options: Options) -> int:
        return super().count(options) + 3

    def tables(self, results: Any) -> list[Table]:
        return [Table("[/b] door", ("[red] one",), (("[bold]1",),), "`pip install gedanken[peers]`")]


def test_a_suite_that_cannot_sum_up_is_told_where(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EvalError, match=r"odd can't sum up .*ZeroDivisionError: nothing there; test_careful.py, line"):
        summed(Faulty(["raises"]), [{"task": "raises", "seed": 0, "arm": "even"}])


def test_what_is_shown_is_no_markup_and_what_is_missing_is_told(
    make_parts: Callable[..., Parts],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("gedanken.evals.main.load_suite", lambda name, tasks=None: Faulty(["fine"]))
    monkeypatch.setattr("gedanken.evals.page.draw", lambda *_: None)
    run_suite("odd", limit=4, runs=tmp_path, parts=make_parts())
    said = capsys.readouterr()
    shown = "".join(said.out.split())  # narrow columns break lines
    for words in ("[/b]door", "[red]one", "[bold]1", "gedanken[peers]"):
        assert words in shown
    assert "4 of 7 samples" in said.err


def test_weights_without_a_part_in_it_do_not_bind_a_run(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    """A planner that ships later hinders nobody to do again what was played without one."""
    weights = [tmp_path / name for name in ("model.safetensors", CRITIC)]
    for path in weights:
        path.write_text(path.name)
    folder = RunFolder.create(tmp_path, "odd", {}, {}, weights)
    folder.forget([tmp_path / CRITIC, tmp_path / "unknown"])
    weights[1].write_text("another")
    RunFolder.open(tmp_path, folder.id).agree("odd", {}, {}, weights)
    weights[0].write_text("another")
    with pytest.raises(EvalError, match="another .*model.safetensors"):
        RunFolder.open(tmp_path, folder.id).agree("odd", {}, {}, weights)
    parts = replace(make_parts(), trained=replace(make_parts().trained, path=tmp_path))
    assert [path.name for path in _idle(parts)] == [CRITIC, "adapter_model.safetensors"]
    assert parts.critic and _idle(parts) == []
