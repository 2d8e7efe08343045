"""Run a suite from beginning to end: run folder, samples, summary, a table or JSON. stdout is the answer."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from json import dumps
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gedanken.agent.config import LoopConfig
from gedanken.evals import careful, on_ray
from gedanken.evals.errors import EvalError, RunError, meant
from gedanken.evals.own_suite import is_file, own_suite, split
from gedanken.evals.processes import Processes
from gedanken.evals.progress import Progress
from gedanken.evals.rerun import ROUNDING, compare_rerun
from gedanken.evals.run_folder import RunFolder, sha256
from gedanken.evals.suite import Options, Parts, Suite, Table, assemble, evaluation_seeds, summed, tabled
from gedanken.evals.workers import measure

SUITES = {
    "babyai-local": ("gedanken.evals.babyai_local", "BabyAILocal"),
    "babyai-levels": ("gedanken.evals.babyai_levels", "BabyAILevels"),
    "balrog-babyai": ("gedanken.evals.babyai_levels", "BalrogBabyAI"),
    "rehearsal": ("gedanken.evals.rehearsal", "RehearsalSuite"),
    "world-model": ("gedanken.evals.world_model", "WorldModelSuite"),
    "planner": ("gedanken.evals.planner", "PlannerSuite"),
    "shift": ("gedanken.evals.shift", "ShiftSuite"),
    "loop-ablation": ("gedanken.evals.loop_ablation", "LoopAblation"),
    "control": ("gedanken.evals.control", "ControlSuite"),
    "number-model": ("gedanken.evals.number_model", "NumberModelSuite"),
    "whatif": ("gedanken.evals.whatif", "WhatIfSuite"),
    "speed": ("gedanken.evals.speed", "SpeedSuite"),
    "serve": ("gedanken.evals.serve", "ServeSuite"),
}
DEFAULT = "babyai-local"
CRITIC = "critic.safetensors"
RUNS = Path("runs")


def load_suite(name: str, tasks: Sequence[str] | None = None) -> Suite:
    """Return a suite by name or by its file, of some of its tasks where they are named.

    Raises EvalError naming those there are.
    """
    if is_file(name):
        make = own_suite(name)
    elif name in SUITES:
        module, kind = SUITES[name]
        make = getattr(importlib.import_module(module), kind)
    else:
        known = f"there are {', '.join(SUITES)}, and files: NAME.toml or NAME.py"
        raise EvalError(f"no suite {name!r}{meant(name, SUITES)}; {known}")
    suite: Suite = make()
    if is_file(name) and suite.name in SUITES:
        raise EvalError(f"{name}: {suite.name} is the name of another suite; choose one of your own")
    more: Sequence[str] = getattr(suite, "more_tasks", ())  # measured only where they are named
    named = [task for task in tasks or () if task in more and task not in suite.tasks]
    there = _those((*suite.tasks, *named), tasks or suite.tasks, f"{suite.name} has no task")
    chosen: Suite = make(there)
    return chosen


def _one_task(name: str, task: str) -> Suite:
    return load_suite(name, [task])


@dataclass(frozen=True)
class Asked:
    """What a run is asked to measure; None leaves it to the suite, or to the run that is done again."""

    suite: str | None = None
    limit: int | None = None
    seed: int | None = None
    arms: Sequence[str] | None = None
    tasks: Sequence[str] | None = None
    checkpoint: str | Path | None = None
    llm: str | None = None
    loop: LoopConfig | None = None
    epochs: int | None = None
    max_samples: int | None = None

    def like(self, run: RunFolder) -> Asked:
        """Fill in what is left open from a run's own settings; a suite of one's own is the one kept there.

        Raises RunError for settings that this version can't read, and for another suite.
        """
        config, kept = run.about["config"], run.about.get("suite_sha256")
        own = is_file(self.suite or "") and sha256(split(self.suite or "")[0])
        if self.suite and own != (kept or False) or kept and sha256(split(run.suite)[0]) != kept:
            raise RunError(
                f"run {run.id} measured another {run.about['suite']} than {self.suite or run.suite}; start a new one"
            )
        try:
            loop = LoopConfig.model_validate(config.get("loop", {}) | ({"llm": self.llm} if self.llm else {}))
            limit, arms, checkpoint = config["limit"], config["arms"], config["checkpoint"]
            seed = run.about["seeds"]["seed"]
        except ValidationError as error:
            names = ", ".join(str(fault["loc"][0]) for fault in error.errors())
            raise RunError(f"run {run.id} is of another version ({names}); start a new one") from error
        except KeyError as error:
            raise RunError(f"run {run.id} is of another version ({error} is missing); start a new one") from error
        return Asked(
            suite=run.suite if kept else self.suite or run.suite,
            limit=self.limit or limit,
            epochs=self.epochs or config.get("epochs"),
            max_samples=self.max_samples or config.get("max_samples"),
            seed=seed if self.seed is None else self.seed,
            arms=arms if self.arms is None else self.arms,
            tasks=config.get("tasks") if self.tasks is None else self.tasks,
            checkpoint=self.checkpoint or checkpoint,
            loop=loop,
        )

    def parts(self) -> Parts:
        """Load the checkpoint; the rest is loaded when it is needed. Raises CheckpointError."""
        changes: dict[str, Any] = {"llm": self.llm} if self.llm else {}
        loop = self.loop or LoopConfig.preset(learn_steps=0, **changes)
        suite = load_suite(self.suite or DEFAULT, self.tasks)
        worlds: Mapping[str, str] = getattr(suite, "worlds", {})
        own: dict[str, Any] = {}
        if hasattr(suite, "make_world") and worlds:
            own = {"make_world": suite.make_world, "world_id": worlds[suite.tasks[0]]}
        tasks = [worlds.get(task, task) for task in suite.tasks]
        parts = assemble(self.checkpoint or loop.checkpoint, loop, tasks=tasks, **own)
        return replace(parts, max_samples=self.max_samples)


def run_suite(
    suite: str | None = None,
    *,
    limit: int | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    json: bool = False,
    arms: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    checkpoint: str | Path | None = None,
    llm: str | None = None,
    resume: str | None = None,
    rerun: str | None = None,
    workers: int = 1,
    ray: bool = False,
    max_samples: int | None = None,
    fail_on_error: bool = False,
    runs: Path = RUNS,
    parts: Parts | None = None,
) -> dict[str, Any]:
    """Measure, write the run folder, print the results, and return them with the run's id.

    `suite` is a name or a file. `limit` is the number of samples a task (the suite's own default where None), and each
    is done `epochs` times. `resume` goes on with a run that was cut off, and does again what raised; `rerun` does a
    finished one again and compares. Both name it by its id, its folder, or "last", and take their settings from it.
    `workers` processes share the work, on `ray` where that is asked for, each with `max_samples` samples under way at
    most; `parts`, where given, are measured in this one. A sample that raises is recorded, unless `fail_on_error`.
    Raises EvalError, and what loading a checkpoint or a language model raises.
    """
    if ray:
        on_ray.need_ray()
    asked = Asked(suite, limit, seed, arms, tasks, checkpoint, llm, epochs=epochs, max_samples=max_samples)
    begun = RunFolder.open(runs, resume or rerun or "last") if resume or rerun else None
    asked = asked.like(begun) if begun else asked
    measured = load_suite(asked.suite or DEFAULT, asked.tasks)
    usual: Sequence[str] = getattr(measured, "default_arms", measured.arms)  # the others play where they are named
    chosen = _able(measured, _those(measured.arms, asked.arms or usual, f"{measured.name} has no arm"))
    options = Options(asked.limit or measured.default_limit, asked.seed or 0, chosen, asked.epochs or 1)
    if options.epochs > 1 and not getattr(measured, "epochs", False):
        raise EvalError(f"{measured.name} sums up samples that are done once each; leave out --epochs")
    total = measured.count(options) * options.epochs
    several = (workers > 1 or ray) and parts is None
    parts = parts or asked.parts()
    folder = _folder(
        runs, measured, asked.suite or "", options, parts, begun, again=bool(rerun), workers=workers if several else 1
    )
    if ray:
        folder.note(on="ray")
    asked, done = replace(asked, suite=folder.suite), folder.done()
    found = (
        measure(
            measured,
            partial(_one_task, folder.suite),
            asked.parts,
            options,
            done,
            workers,
            fail_on_error=fail_on_error,
            make_crew=on_ray.OnRay if ray else Processes,
        )
        if several
        else careful.samples(measured, parts, options, done, fail_on_error=fail_on_error)
    )
    try:
        with Progress(f"{measured.name} {folder.id}", total, len(done)) as progress:
            _keep(folder, found, progress, fail_on_error=fail_on_error)
    except BaseException:
        print(f"what was measured is kept: go on with `gedanken eval --resume {folder.id}`", file=sys.stderr)
        raise
    finally:
        folder.note(_learned(measured, options))
    if hasattr(measured, "curves"):
        folder.note(curves=measured.curves(options))
    if not several and not resume and not getattr(measured, "elsewhere", False):
        folder.forget(_idle(parts))
    samples = folder.samples()
    if len(samples) < total:
        print(
            f"{len(samples)} of {total} samples: the others never came, or were called like one that did;"
            f" {measured.name} counts more than it measures",
            file=sys.stderr,
        )
    raised = careful.errors(samples)
    results = summed(measured, samples) | ({"errors": raised} if raised else {})
    summary = folder.finish(results)
    from gedanken.evals.page import Run, draw  # it reads runs with what is here

    draw(Run(summary, samples, folder.path), folder.path)
    about = {"suite": measured.name, "run": folder.id, "commit": summary["commit"], "seed": options.seed}
    answer = {**about, **summary["results"]}
    again = None
    if begun and rerun:
        rounding = 0.0 if begun.in_one_go and folder.in_one_go else ROUNDING
        again = compare_rerun(measured, begun.samples(), samples, rounding=rounding)
    if begun and again:
        answer["rerun"] = {"of": begun.id, **again.as_dict()}
    for sample in raised:
        name = " ".join(str(sample[part]) for part in ("task", "seed", "arm"))
        print(f"error, counted as {_counts(measured)}: {name}: {sample['error']}", file=sys.stderr)
    if json:
        print(dumps(answer))
        return answer
    show(tabled(measured, summary["results"]))
    if begun and again:
        print(f"{again.words()} {begun.id}")
    print(f"run {folder.id}, commit {summary['commit']}; everything in {folder.path}", file=sys.stderr)
    return answer


def _able(suite: Suite, arms: tuple[str, ...]) -> tuple[str, ...]:
    """Return the arms that can play here, and say why the others can't. Raises EvalError where none can."""
    unable: Mapping[str, str] = getattr(suite, "unable", lambda _: {})(arms)
    if unable and len(unable) == len(arms):
        raise EvalError("; ".join(f"{arm}: {why}" for arm, why in unable.items()))
    for arm, why in unable.items():
        print(f"{arm} left out: {why}", file=sys.stderr)
    return tuple(arm for arm in arms if arm not in unable)


def _idle(parts: Parts) -> list[Path]:
    """Return the weights of what was never asked for: another run of the same arms needs none of them."""
    path = parts.trained.path
    idle = [] if "critic" in vars(parts) or not path else [path / CRITIC]
    return idle + ([] if "llm" in vars(parts) else _adapter(parts.config.llm))


def _keep(folder: RunFolder, found: Iterable[dict[str, Any]], progress: Progress, *, fail_on_error: bool) -> None:
    """Write samples down as they come. Raises EvalError where too many in a row have raised."""
    in_a_row = 0
    for sample in found:
        folder.append(sample)
        progress.advance(str(sample["task"]))
        in_a_row = in_a_row + 1 if sample.get("error") else 0
        if in_a_row == careful.IN_A_ROW or (in_a_row and fail_on_error):
            times = f"{in_a_row} samples in a row" if in_a_row > 1 else "a sample"
            raise EvalError(f"{times} failed, the last ({sample['task']} {sample['seed']}) with {sample['error']}")


def _counts(suite: Suite) -> str:
    return "failed" if hasattr(suite, "failed") else "nothing"


def show(tables: Sequence[Table]) -> None:
    """Print tables on stdout."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as RichTable

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
    for table in tables:
        title, note = escape(table.title), escape(table.note) or None
        drawn = RichTable(title=title, caption=note, box=box.SIMPLE_HEAD, title_justify="left")
        for index, column in enumerate(table.columns):
            drawn.add_column(escape(column), justify="left" if index == 0 else "right")
        for row in table.rows:
            drawn.add_row(*map(escape, row))
        console.print(drawn)


def _those(there: Sequence[str], wanted: Sequence[str] | None, otherwise: str) -> tuple[str, ...]:
    """Return those wanted in the order of those there are, all for None. Raises EvalError naming those there are."""
    unknown = sorted(set(wanted or ()) - set(there))
    if unknown:
        raise EvalError(f"{otherwise} {', '.join(unknown)}; there are {', '.join(there)}")
    return tuple(name for name in there if wanted is None or name in wanted)


def refuse_seen(suite: Suite, options: Options, parts: Parts) -> None:
    """Raise EvalError where the checkpoint learnt from a person's episode with a seed to be measured."""
    seeds = evaluation_seeds(options.seed, options.limit)
    worlds: Mapping[str, str] = getattr(suite, "worlds", {})
    for world, seen in parts.trained.card.get("seen", {}).items():
        known = [seed for seed in seen if seed in seeds]
        if world in {worlds.get(task, task) for task in suite.tasks} and known:
            raise EvalError(
                f"{parts.trained.name} learnt from {world} with seed {known[0]}, which would be measured here; choose"
                " another --seed, or the checkpoint that was shipped"
            )


def _learned(suite: Suite, options: Options) -> list[Path]:
    """Return the weights that a suite's arms learn on their own."""
    found: list[Path] = getattr(suite, "weights", lambda _: [])(options)
    return found


def _adapter(llm: str) -> list[Path]:
    """Return the weights of the adapter that a language model's name names. Raises AdapterError for one not there."""
    from gedanken.agent.llm.adapter import WEIGHTS, resolve

    kind, _, name = llm.partition(":")
    return [resolve(name) / WEIGHTS] if kind == "embedded" and name else []


def _folder(
    runs: Path,
    suite: Suite,
    name: str,
    options: Options,
    parts: Parts,
    begun: RunFolder | None,
    *,
    again: bool,
    workers: int,
) -> RunFolder:
    """Begin a run, or take one up again. Raises RunError where `begun` was begun with other settings."""
    config = {
        "limit": options.limit,
        "epochs": options.epochs,
        "max_samples": parts.max_samples,
        "arms": list(options.arms),
        "tasks": list(suite.tasks),
        "checkpoint": parts.trained.name,
        "loop": parts.config.model_dump(mode="json", exclude={"checkpoint"}),
    }
    seeds, path = {"seed": options.seed}, parts.trained.path
    weights = [path / name for name in ("model.safetensors", CRITIC)] if path else []
    weights += [*_adapter(parts.config.llm), *_learned(suite, options)]
    config |= {"learning": learning} if (learning := getattr(suite, "learning", None)) else {}
    refuse_seen(suite, options, parts)
    more: dict[str, Any] = {"learnt": str(learnt)} if (learnt := parts.trained.card.get("learnt")) else {}
    more |= {"workers": workers}
    file, kind = split(name) if is_file(name) else (None, "")
    more |= {"suite_class": kind} if kind else {}
    if begun is None:
        return RunFolder.create(runs, suite.name, config, seeds, weights, file, **more)
    begun.agree(suite.name, config, seeds, weights)
    if not again:
        begun.go_on()
        return begun
    if (there := len(begun.samples())) < (total := suite.count(options) * options.epochs):
        raise RunError(f"run {begun.id} has {there} of {total} samples; finish it with --resume {begun.id}")
    return RunFolder.create(runs, suite.name, config, seeds, weights, file, rerun_of=begun.id, **more)
