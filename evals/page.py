"""Runs as one HTML page that needs nothing else: charts, tables with intervals, the worst failures."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gedanken.evals.arms import ALONE, IDLE, REPLAN
from gedanken.evals.charts import (
    Bar,
    Curve,
    Dot,
    alone,
    bars,
    coverage_curves,
    horizon_curves,
    reliability_diagram,
    style,
)
from gedanken.evals.compare import compare
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.errors import EvalError, RunError
from gedanken.evals.failures import Failure, worst
from gedanken.evals.main import RUNS, load_suite
from gedanken.evals.run_folder import RunFolder, plain
from gedanken.evals.statistics import reliability, wilson
from gedanken.evals.suite import Suite, Table, counted, extent

HEADINGS = {
    "babyai-local": "The loop, its floors and its ceilings",
    "babyai-levels": "All of BabyAI",
    "balrog-babyai": "BALROG's BabyAI tasks",
    "rehearsal": "Is rehearsal worth something?",
    "world-model": "Open-loop prediction",
    "planner": "Does the language model say what a goal means?",
    "loop-ablation": "What each part of the loop is worth",
    "control": "Worlds of numbers",
    "number-model": "What is foretold in worlds of numbers",
    "whatif": "What if an input were another",
    "speed": "Speed and cost",
    "serve": "A server under load",
}
WORST = {"world-model": "What surprised most"}
"""What the worst of a suite is called where it isn't failures."""

KINDS = {
    "loop": "main",
    REPLAN: "second",
    ALONE: "second",
    "oracle-plan": "third",
    "bot": "third",
    "random": "floor",
    IDLE: "floor",
}
"""CSS class of each arm's bar."""


@dataclass(frozen=True)
class Figure:
    """A chart and what it shows."""

    title: str
    chart: Markup
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One run on the page."""

    id: str
    heading: str
    facts: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    arms: tuple[tuple[str, str], ...]
    worst: str
    failures: tuple[Failure, ...]
    note: str


@dataclass(frozen=True)
class Change:
    """What changed from one run to the next."""

    tables: tuple[Table, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A run as it was kept: its summary, and its samples where there are any."""

    summary: Mapping[str, Any]
    samples: Sequence[Mapping[str, Any]]
    folder: Path | None

    @property
    def suite(self) -> Suite:
        """The suite that was run; somebody's own is in the run's folder. Raises EvalError where it is not."""
        if self.folder is None or "suite_file" not in self.summary:
            return load_suite(self.summary["suite"])
        return load_suite(RunFolder(self.folder, dict(self.summary)).suite)

    @classmethod
    def read(cls, name: str, runs: Path = RUNS) -> Run:
        """Read a run folder by its id or path, or a summary's file. Raises RunError for neither."""
        path = Path(name)
        if path.suffix == ".json" and path.is_file():
            try:
                summary = json.loads(path.read_text(encoding="utf-8"))
                load_suite(summary["suite"])
                return cls(summary, (), None)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise RunError(f"{path} is no run summary ({error!r}); name a run's folder") from error
        folder = RunFolder.open(runs, name)
        samples = folder.samples()
        if not samples:
            raise RunError(f"run {folder.id} has no samples yet; go on with `gedanken eval --resume {folder.id}`")
        suite = load_suite(folder.suite)
        results = plain(suite.summarise(counted(suite, samples)))
        finished = f"{len(samples)} samples, {'finished' if folder.finished else 'NOT FINISHED'}"
        return cls({"run": folder.id, **folder.about, "finished": finished, "results": results}, samples, folder.path)


def write_page(names: Sequence[str], target: Path, runs: Path = RUNS) -> Path:
    """Write the page of some runs. Raises EvalError for a run that can't be shown, and OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page([Run.read(name, runs) for name in names]), encoding="utf-8")
    return target


def draw(run: Run, folder: Path) -> list[Path]:
    """Write every chart of a run into a folder, each as an SVG file that stands alone. Raises OSError."""
    written = []
    for figure in _figures(run):
        name = re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-")
        written.append(folder / f"{name}.svg")
        written[-1].write_text(alone(figure.chart), encoding="utf-8")
    return written


def page(found: Sequence[Run]) -> str:
    """Return the page of some runs. Raises EvalError for a summary that another version made."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = resources.files("gedanken.evals").joinpath("page.html.jinja").read_text(encoding="utf-8")
    sections = [_section(run) for run in {run.summary["run"]: run for run in found}.values()]
    return environment.from_string(text).render(style=style(), sections=sections, changes=list(_changes(found))) + "\n"


def _section(run: Run) -> Section:
    summary, suite = run.summary, run.suite
    config, machine = summary["config"], summary["machine"]
    facts = {
        "run": summary["run"],
        "commit": summary["commit"].replace("+changes", " and changes that were not committed"),
        "checkpoint": ", ".join(f"{name} {digest[:12]}" for name, digest in summary["checkpoints"].items())
        or config["checkpoint"],
        "seed": f"{summary['seeds']['seed']}, {extent(suite, config['limit'])}{_epochs(config)}",
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['torch_threads']} torch threads",
        "begun": summary["started"],
        "finished": summary["finished"],
    }
    settings = {**config.get("loop", {}), **{f"version of {name}": v for name, v in summary["versions"].items()}}
    try:
        results = summary["results"]
        figures, tables = tuple(_figures(run)), tuple(suite.tables(results))
        arms: list[str] = [results["arm"], *results["arms"]] if isinstance(suite, EpisodeSuite) else []
    except KeyError as error:
        raise EvalError(
            f"the summary of {summary['run']} was made by another version ({error} is missing); name the run's folder"
        ) from error
    return Section(
        id=summary["run"],
        heading=HEADINGS.get(suite.name, suite.name),
        facts=tuple(facts.items()),
        settings=tuple((name, str(value)) for name, value in settings.items()),
        figures=figures,
        tables=tables,
        arms=tuple((arm, suite.about.get(arm, "")) for arm in arms) if isinstance(suite, EpisodeSuite) else (),
        worst=WORST.get(suite.name, "The worst failures"),
        failures=tuple(worst(suite, run.samples)),
        note="" if run.samples else "Only the summary was kept; the run's folder would show its worst failures, too.",
    )


def _epochs(config: Mapping[str, Any]) -> str:
    return f", {config['epochs']} epochs" if config.get("epochs", 1) > 1 else ""


def _figures(run: Run) -> Iterator[Figure]:
    suite, results = run.summary["suite"], run.summary["results"]
    if isinstance(run.suite, EpisodeSuite):
        yield from _success(results)
        mine = [sample for sample in run.samples if sample["arm"] == results["arm"]]
        told = [sample for sample in mine if sample.get("predicted") is not None]
        if told:
            yield _reliability([sample["predicted"] for sample in told], [sample["success"] for sample in told])
    elif suite == "rehearsal":
        rows = results["reliability"]
        dots = [Dot(r["predicted"], r["happened"], r["ci_low"], r["ci_high"], r["n"]) for r in rows]
        yield _diagram(dots, "plans")
        kinds = [Bar(_short(r["kind"]), r["happened"], r["ci_low"], r["ci_high"]) for r in results["kinds"]]
        yield Figure("Really succeeded, by kind of plan", bars(kinds, "success by kind of plan"), "Wilson 95 %")
    elif suite == "world-model":
        yield from _horizons(results["horizons"])
        for name in ("ending", "reward"):
            yield from _foretold(results[name], name)
        yield from _doubted(results.get("disagreement", ()))


def _success(results: Mapping[str, Any]) -> Iterator[Figure]:
    """Draw success by arm: all levels together, then level by level."""
    arms = {results["arm"]: results["tasks"], **results["arms"]}
    together = []
    for arm, rows in arms.items():
        rate = wilson(round(sum(row["n"] * row["success"] for row in rows)), sum(row["n"] for row in rows))
        together.append(Bar(arm, rate.value, rate.low, rate.high, KINDS.get(arm, "second")))
    counts = {row["n"] for rows in arms.values() for row in rows}
    each = f"n = {' or '.join(map(str, sorted(counts)))} a level and arm, Wilson 95 %"
    yield Figure("Success, all levels", bars(together, "success of every arm over all levels"), each)
    for task in [row["task"] for row in results["tasks"]]:
        mine = [(arm, row) for arm, rows in arms.items() for row in rows if row["task"] == task]
        level = [Bar(arm, row["success"], row["ci_low"], row["ci_high"], KINDS.get(arm, "second")) for arm, row in mine]
        yield Figure(task, bars(level, f"success of every arm in {task}"))


def _reliability(predicted: Sequence[float], happened: Sequence[bool]) -> Figure:
    table = reliability(predicted, happened)
    rows = [(row.predicted, row.happened, row.n) for row in table]
    return _diagram([Dot(at, rate.value, rate.low, rate.high, n) for at, rate, n in rows], "episodes of the loop")


def _diagram(dots: Sequence[Dot], what: str) -> Figure:
    total = sum(dot.n for dot in dots)
    note = f"{total:,} {what} in bins of 10 %; whiskers: Wilson 95 %; grey: how many predictions; dashed: as predicted"
    return Figure("Is predicted success true?", reliability_diagram(dots, "reliability diagram"), note)


def _horizons(rows: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Draw the error over the horizon, and that of a world that froze."""
    names = {
        "changed": ("cells that changed", "main"),
        "visible": ("all visible cells", "second"),
        "seen": ("those that had been seen before", "third"),
        "frozen": ("all visible cells, if the world froze", "floor"),
    }
    curves = []
    for key, (label, kind) in names.items():
        known = [(row["horizon"], found) for row in rows if None not in ((found := _measured(row, key))[:2])]
        points = tuple((horizon, 1 - value, 1 - high, 1 - low) for horizon, (value, low, high) in known)
        curves += [Curve(label, points, kind)] if points else []
    if curves:
        chart = horizon_curves(curves, "cells predicted wrong over the number of actions ahead")
        note = "bands: 95 %; a frozen world has every changed cell wrong"
        yield Figure("Cells wrong, open loop", chart, note)


def _measured(row: Mapping[str, Any], key: str) -> tuple[Any, Any, Any]:
    found = row.get(key, {})
    return found.get("value"), found.get("low"), found.get("high")


def _foretold(signal: Mapping[str, Any], name: str) -> Iterator[Figure]:
    """Draw whether something is as likely as it was foretold one action ahead, where it ever happened."""
    rows = signal.get("reliability", ()) if signal["happened"] else ()
    if not rows:
        return
    shares = [(row["predicted"], row["happened"], row["n"]) for row in rows]
    dots = [Dot(at, rate["value"], rate["low"], rate["high"], n) for at, rate, n in shares]
    chart = reliability_diagram(dots, f"reliability of a foretold {name}", f"foretold {name}", "really happened")
    note = f"{signal['frames']:,} actions, {signal['happened']:,} times it happened; whiskers: Wilson 95 %"
    yield Figure(f"Is a foretold {name} true?", chart, note)


def _doubted(rows: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Draw, for some horizons, how much is wrong among the rollouts that are doubted least."""
    for name, words in (("seen", "in what had been seen"), ("visible", "in sight")):
        curves = []
        for horizon, kind in ((1, "main"), (4, "second"), (16, "third")):
            for row in rows:
                if row["horizon"] == horizon and row["rollouts"]:
                    points = tuple((p["coverage"], p["value"], p["low"], p["high"]) for p in row[name]["risk"])
                    curves.append(Curve(f"{horizon} {'action' if horizon == 1 else 'actions'} ahead", points, kind))
        if curves:
            chart = coverage_curves(curves, f"views wrong {words} over coverage")
            note = "the ensemble's disagreement orders the rollouts; level where it tells nothing; bands: 95 %"
            yield Figure(f"Views wrong {words}, by disagreement", chart, note)


def _changes(found: Sequence[Run]) -> Iterator[Change]:
    """Compare each run with the next one of its suite, where they have pairs."""
    for suite in dict.fromkeys(run.summary["suite"] for run in found):
        mine = [run.folder for run in found if run.summary["suite"] == suite and run.folder is not None]
        for before, after in itertools.pairwise(mine):
            try:
                comparison = compare(str(before), str(after))
            except EvalError:
                continue
            yield Change(tuple(comparison.tables()), tuple(comparison.words().split("\n")))


def _short(kind: str) -> str:
    return kind.replace("prerequisite", "key").replace("language model", "LLM's")
