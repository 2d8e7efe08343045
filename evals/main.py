"""Run a suite from beginning to end: run folder, samples, summary, a table or JSON. stdout is the answer."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Any

from gedanken.agent.config import LoopConfig
from gedanken.evals.errors import EvalError
from gedanken.evals.run_folder import RunFolder
from gedanken.evals.suite import Options, Parts, Suite, Table, assemble

SUITES = {
    "babyai-local": ("gedanken.evals.babyai_local", "BabyAILocal"),
    "rehearsal": ("gedanken.evals.rehearsal", "RehearsalSuite"),
    "world-model": ("gedanken.evals.world_model", "WorldModelSuite"),
    "speed": ("gedanken.evals.speed", "SpeedSuite"),
}
RUNS = Path("runs")
_EVERY_S = 20.0


def load_suite(name: str) -> Suite:
    """Return a suite by name. Raises EvalError naming those there are."""
    if name not in SUITES:
        raise EvalError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    module, kind = SUITES[name]
    suite: Suite = getattr(importlib.import_module(module), kind)()
    return suite


def run_suite(
    suite: str,
    *,
    limit: int | None = None,
    seed: int = 0,
    json: bool = False,
    arms: Sequence[str] | None = None,
    checkpoint: str | Path | None = None,
    llm: str | None = None,
    resume: str | None = None,
    runs: Path = RUNS,
    parts: Parts | None = None,
) -> dict[str, Any]:
    """Measure, write the run folder, print the results, and return them with the run's id.

    `limit` is the number of samples a task (the suite's own default where None), `resume` the id of a run that was cut
    off, or "last". Raises EvalError, and what loading a checkpoint or a language model raises.
    """
    measured = load_suite(suite)
    unknown = sorted(set(arms or ()) - set(measured.arms))
    if unknown:
        raise EvalError(f"{suite} has no arm {', '.join(unknown)}; there are {', '.join(measured.arms)}")
    chosen = tuple(arm for arm in measured.arms if arms is None or arm in arms)
    options = Options(limit or measured.default_limit, seed, chosen)
    total = measured.count(options)
    if parts is None:
        config = LoopConfig.preset(learn_steps=0)
        config = config.model_copy(update={"llm": llm or config.llm})
        parts = assemble(checkpoint or config.checkpoint, config)
    folder = _folder(runs, suite, options, parts, resume)
    done = folder.done()
    progress = _Progress(f"{suite} {folder.id}", total, len(done))
    try:
        for sample in measured.measure(parts, options, done):
            folder.append(sample)
            progress.advance(str(sample["task"]))
    except BaseException:
        progress.close()
        print(f"what was measured is kept: go on with the run {folder.id}", file=sys.stderr)
        raise
    progress.close()
    results = measured.summarise(folder.samples())
    summary = folder.finish(results)
    answer = {"suite": suite, "run": folder.id, "commit": summary["commit"], "seed": seed, **summary["results"]}
    if json:
        print(dumps(answer))
    else:
        show(measured.tables(summary["results"]))
        print(f"run {folder.id}, commit {summary['commit']}; everything in {folder.path}", file=sys.stderr)
    return answer


def show(tables: Sequence[Table]) -> None:
    """Print tables on stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
    for table in tables:
        drawn = RichTable(title=table.title, caption=table.note or None, box=box.SIMPLE_HEAD, title_justify="left")
        for index, column in enumerate(table.columns):
            drawn.add_column(column, justify="left" if index == 0 else "right")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)


def _folder(runs: Path, suite: str, options: Options, parts: Parts, resume: str | None) -> RunFolder:
    """Begin a run, or take one up again."""
    config = {
        "limit": options.limit,
        "arms": list(options.arms),
        "checkpoint": parts.trained.name,
        "loop": parts.config.model_dump(mode="json", exclude={"checkpoint"}),
    }
    seeds = {"seed": options.seed}
    if resume is None:
        path = parts.trained.path
        weights = [path / name for name in ("model.safetensors", "critic.safetensors")] if path else []
        return RunFolder.create(runs, suite, config, seeds, weights)
    folder = RunFolder.open(runs, resume)
    folder.go_on(suite, config, seeds)
    return folder


class _Progress:
    """A bar where there is a terminal, else a line now and then."""

    def __init__(self, title: str, total: int, done: int) -> None:
        self.title, self.total, self.done, self.first = title, total, done, done
        self.began = self.told = time.monotonic()
        self.bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task(title, total=total, completed=done)

    def advance(self, what: str) -> None:
        """Count one sample."""
        self.done += 1
        if self.bar is not None:
            self.bar.update(self.task, advance=1, description=what)
        elif time.monotonic() - self.told > _EVERY_S or self.done == self.total:
            self.told = time.monotonic()
            rate = (self.done - self.first) / max(self.told - self.began, 1e-9)
            left = (self.total - self.done) / rate
            print(f"{what}: {self.done} of {self.total}, {left:.0f} s left", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
