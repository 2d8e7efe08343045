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

from gedanken.evals.charts import alone, style
from gedanken.evals.compare import compare
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.errors import EvalError, RunError
from gedanken.evals.failures import Failure, worst
from gedanken.evals.figures import Figure, figures
from gedanken.evals.main import RUNS, load_suite
from gedanken.evals.run_folder import RunFolder, plain
from gedanken.evals.suite import Suite, Table, extent, summed

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
    "shift": "Where actions do something else",
    "speed": "Speed and cost",
    "serve": "A server under load",
}
WORST = {"world-model": "What surprised most", "number-model": "What was foretold worst"}
"""What the worst of a suite is called where it isn't failures."""


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
        results = plain(summed(suite, samples))
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
    for figure in figures(run.suite, run.summary, run.samples):
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
    config = summary["config"]
    settings = {**config.get("loop", {}), **{f"version of {name}": v for name, v in summary["versions"].items()}}
    try:
        facts = _facts(summary, suite)
        results = summary["results"]
        drawn, tables = tuple(figures(run.suite, run.summary, run.samples)), tuple(suite.tables(results))
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
        figures=drawn,
        tables=tables,
        arms=tuple((arm, suite.about.get(arm, "")) for arm in arms) if isinstance(suite, EpisodeSuite) else (),
        worst=WORST.get(suite.name, "The worst failures"),
        failures=tuple(worst(suite, run.samples)),
        note="" if run.samples else "Only the summary was kept; the run's folder would show its worst failures, too.",
    )


def _facts(summary: Mapping[str, Any], suite: Suite) -> dict[str, str]:
    config, machine = summary["config"], summary["machine"]
    return {
        "run": summary["run"],
        "commit": summary["commit"].replace("+changes", " and changes that were not committed"),
        "checkpoint": ", ".join(f"{name} {digest[:12]}" for name, digest in summary["checkpoints"].items())
        or config["checkpoint"],
        "seed": f"{summary['seeds']['seed']}, {extent(suite, config['limit'])}{_epochs(config)}",
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['torch_threads']} torch threads",
        "begun": summary["started"],
        "finished": summary["finished"],
    }


def _epochs(config: Mapping[str, Any]) -> str:
    return f", {config['epochs']} epochs" if config.get("epochs", 1) > 1 else ""


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
