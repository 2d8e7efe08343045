"""`gedanken collect`, `train`, `eval` and `models`: thin commands over what the folders do."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from gedanken.cli import NOT_REACHED, REACHED
from gedanken.options import json_option, world_option


@click.command(name="collect")
@world_option
@click.option("--episodes", "-n", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes.")
@json_option
def collect_command(world: str, episodes: int, workers: int, as_json: bool) -> int:
    """Make practice episodes with the world's demonstrator and store them; seeds go on where the last ones ended."""
    from gedanken.agent.loading import load_practice, places
    from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
    from gedanken.worldmodel.experience import ExperienceStore

    load_practice(world)
    with ExperienceStore(places().store) as store:
        first = max(
            (seed + 1 for seed in store.seeds(world) if seed >= FIRST_TRAINING_SEED), default=FIRST_TRAINING_SEED
        )
        seeds, actions, stored = range(first, first + episodes), 0, 0
        for episode in practise(load_practice, [(world, 1.0)], seeds, Practice(), workers):
            store.append(episode)
            stored, actions = stored + 1, actions + len(episode)
            if sys.stderr.isatty():
                click.echo(f"\r{stored} of {episodes} episodes, {actions} actions", nl=False, err=True)
        if sys.stderr.isatty():
            click.echo(err=True)
        answer = {"world": world, "episodes": stored, "actions": actions, "first_seed": first, "store": str(store.path)}
    click.echo(json.dumps(answer) if as_json else f"{stored} episodes ({actions} actions) stored in {answer['store']}")
    return REACHED


@click.command(name="train")
@click.option("--planner", is_flag=True, help="Train the language model to plan instead: an adapter for --llm.")
@click.option("--name", help="Name of the checkpoint or of the adapter.  [default: babyai, planner]")
@click.option("--folder", type=click.Path(path_type=Path), default=None, help="Where to work; the same goes on there.")
@click.option("--family", type=click.Choice(["spatial", "rssm"]), default="spatial", show_default=True)
@click.option("--recipe", "recipe_name", type=click.Choice(["babyai", "rooms"]), default="babyai", show_default=True)
@click.option("--size", type=click.Choice(["debug", "small", "base", "wide"]), help="[default: the recipe's own]")
@click.option("--seed", type=click.IntRange(0, 19), default=0, show_default=True, help="Seed of everything.")
@click.option("--steps", type=click.IntRange(1), help="With --planner: gradient steps.  [default: the size's own]")
@click.option("--begins-from", metavar="ADAPTER", help="With --planner: go on with a planner there is.")
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Processes that practise.")
@click.option("--calibrate", metavar="CHECKPOINT", help="Only calibrate the critic of a checkpoint anew, in a copy.")
def train_command(
    planner: bool,
    name: str | None,
    folder: Path | None,
    family: str,
    recipe_name: str,
    size: str | None,
    seed: int,
    steps: int | None,
    begins_from: str | None,
    workers: int,
    calibrate: str | None,
) -> int:
    """Make a checkpoint from nothing: practise, train, correct, learn what goals mean, calibrate. Takes hours.

    With --planner the embedded language model learns to write plans; `--llm embedded:planner` then uses the adapter.
    With --calibrate a critic learns from plans really carried out what its evidence is worth, minutes: after another
    planner, or another world model.
    """
    if calibrate and (planner or folder):
        raise click.UsageError("--calibrate makes a checkpoint by --name; it takes no --planner and no --folder")
    if planner:
        return _train_planner(name or "planner", folder, size or "base", seed, begins_from, steps)
    if begins_from or steps:
        raise click.UsageError("--begins-from and --steps are a planner's; say --planner as well")
    name = name or (f"{Path(calibrate).name}-calibrated" if calibrate else recipe_name)
    from gedanken.agent import llm, recipe
    from gedanken.agent.calibrate import recalibrate
    from gedanken.agent.llm.protocol import Encoder
    from gedanken.agent.loading import load_practice
    from gedanken.agent.recipes import RECIPES, debug
    from gedanken.worldmodel.checkpoint import home, resolve

    def encoder() -> Encoder:
        model = llm.load("embedded:planner")
        assert isinstance(model, Encoder)
        return model

    make = partial(debug, RECIPES[recipe_name]) if size == "debug" else RECIPES[recipe_name]
    config = make(family=family, seed=seed, workers=workers, **({"size": size} if size else {}))
    say = partial(click.echo, err=True)
    if calibrate:
        seeds, writer = recipe.calibration_seeds(config), llm.load("embedded:planner")
        path = recalibrate(resolve(calibrate), home() / "checkpoints" / name, load_practice, config, seeds, writer, say)
    else:
        where = folder or home() / "training" / f"{name}-{family}-{config.size}-{seed}"
        path = recipe.reproduce(config, load_practice, encoder, where, name, say=say)
    click.echo(str(path))
    return REACHED


def need_peft() -> None:
    """Raise click.UsageError where what trains the language model is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise click.UsageError("training the language model needs peft: pip install 'gedanken[tune]'")


def _train_planner(
    name: str, folder: Path | None, size: Any, seed: int, begins_from: str | None, steps: int | None
) -> int:
    need_peft()
    from gedanken.agent.llm.adapter import Adapter, resolve
    from gedanken.agent.planner import train_planner
    from gedanken.worlds.babyai import BabyAIWorld
    from gedanken.worlds.babyai_aims import LEVELS

    path = train_planner(
        BabyAIWorld,
        LEVELS,
        name=name,
        size=size,
        seed=seed,
        begins_from=Adapter.open(resolve(begins_from)) if begins_from else None,
        steps=steps,
        folder=folder,
        say=lambda line: click.echo(line, err=True),
    )
    click.echo(str(path))
    return REACHED


@click.command(name="eval")
@click.argument("suite", required=False)
@click.option("--limit", type=click.IntRange(1), help="Samples a task.  [default: the suite's own]")
@click.option(
    "--epochs",
    type=click.IntRange(1, 1000),
    help="Do every sample so often, with other draws; in suites of episodes.  [default: 1]",
)
@click.option("--seed", type=click.IntRange(0), help="Which seeds: 100,000 from SEED x 100,000 on.  [default: 0]")
@click.option("--arm", "arms", multiple=True, metavar="ARM", help="Only this arm; may be repeated.")
@click.option("--task", "tasks", multiple=True, metavar="TASK", help="Only this task; may be repeated.")
@click.option("--checkpoint", help="World model: a name that `gedanken models` lists, or a folder.")
@click.option("--llm", help="Language model: embedded, embedded:ADAPTER, openai:URL[#model] or scripted:FILE.json.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was cut off, by its id, its folder, or `last`.")
@click.option("--rerun", metavar="RUN", help="Do a finished run again, and say whether the results are the same.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that measure.")
@click.option("--ray", is_flag=True, help="Take the processes from Ray, here or on its cluster (an extra).")
@click.option("--max-samples", type=click.IntRange(1), help="Samples under way at once in a process, at most.")
@click.option("--fail-on-error", is_flag=True, help="Stop at the first sample that raises, instead of recording it.")
@json_option
def eval_command(
    suite: str | None,
    limit: int | None,
    epochs: int | None,
    seed: int | None,
    arms: tuple[str, ...],
    tasks: tuple[str, ...],
    checkpoint: str | None,
    llm: str | None,
    resume: str | None,
    rerun: str | None,
    workers: int,
    ray: bool,
    max_samples: int | None,
    fail_on_error: bool,
    as_json: bool,
) -> int:
    """Measure the agent on SUITE, with 95 % intervals.

    Suites: babyai-local (the default), babyai-levels, balrog-babyai, rehearsal, world-model, planner, shift,
    loop-ablation, control, number-model, whatif, speed, serve; or your own: SUITE.toml, SUITE.py or SUITE.py:Name
    (docs/evals.md).

    Everything is kept in a folder of its own under runs/. --resume and --rerun take all that is left out from the run;
    --resume also does again what raised, and --rerun exits with 3 where the results are not the same. A sample that
    raises is recorded with its trace and counts as failed; five in a row stop the run.

    `gedanken eval compare RUN_A RUN_B` says what changed between two runs.
    """
    from gedanken.evals.main import run_suite

    if resume and rerun:
        raise click.UsageError("--resume goes on with a run and --rerun does it again; choose one")
    answer = run_suite(
        suite,
        limit=limit,
        epochs=epochs,
        seed=seed,
        arms=arms or None,
        tasks=tasks or None,
        checkpoint=checkpoint,
        llm=llm,
        resume=resume,
        rerun=rerun,
        workers=workers,
        ray=ray,
        max_samples=max_samples,
        fail_on_error=fail_on_error,
        json=as_json,
    )
    return NOT_REACHED if rerun and not answer["rerun"]["same"] else REACHED


@click.command(name="compare")
@click.argument("before", metavar="RUN_A")
@click.argument("after", metavar="RUN_B")
@click.option("--fail-on-regression", is_flag=True, help="Exit with 3 where something got worse beyond noise.")
@json_option
def compare_command(before: str, after: str, fail_on_regression: bool, as_json: bool) -> int:
    """Say what changed from RUN_A to RUN_B beyond noise, and what did not, paired by task, seed and arm.

    Runs of one suite are named by their id, or by their folder.
    """
    from gedanken.evals.compare import compare
    from gedanken.evals.main import show

    comparison = compare(before, after)
    if as_json:
        click.echo(json.dumps(comparison.as_dict()))
    else:
        show(comparison.tables())
        click.echo(comparison.words())
    return NOT_REACHED if fail_on_regression and comparison.those("worse") else REACHED


@click.command(name="report")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="File to write.",
)
def report_command(runs: tuple[str, ...], out: Path) -> int:
    """Write one HTML page of some RUNs that needs no network: charts, tables with intervals, the worst failures.

    A RUN is named by its id, its folder, or a summary's file. Runs of one suite are compared, each with the one before.
    """
    from gedanken.evals.page import write_page

    click.echo(write_page(runs, out))
    return REACHED


@click.command(name="models")
@json_option
def models_command(as_json: bool) -> int:
    """List the checkpoints and language models there are."""
    from gedanken.agent.llm import adapter
    from gedanken.worldmodel.checkpoint import available

    found, adapters = available(), adapter.available()
    model = language_model()
    if as_json:
        rows = [vars(info) | {"path": str(info.path)} for info in found]
        models = [
            model,
            *({"name": f"embedded:{n}", "path": str(p), "here": model["here"]} for n, p in adapters.items()),
        ]
        click.echo(json.dumps({"checkpoints": rows, "language_models": models}, default=str))
        return REACHED
    for info in found:
        size = f"{info.parameters / 1e6:.2f} M parameters, {info.bytes / 1e6:.1f} MB"
        click.echo(f"{info.name:<16} world model  {info.family}, for {info.spec_name}, {size}, {info.path}")
    if not found:
        click.echo("no checkpoints; `gedanken train` makes one")
    here = f"here, {model['path']}" if model["here"] else "not fetched yet: the first run does that"
    click.echo(f"{model['name']:<16} language     SmolLM2-135M-Instruct, {here}")
    for name, path in adapters.items():
        click.echo(f"{f'embedded:{name}':<16} language     the same with an adapter, {path}")
    click.echo(f"{'openai:URL':<16} language     any OpenAI-compatible server")
    return REACHED


def language_model() -> dict[str, Any]:
    """Say where the embedded language model is, without loading it."""
    from gedanken.agent.llm.fetch import model_folder

    folder: Path = model_folder()
    return {"name": "embedded", "path": str(folder), "here": folder.is_dir() and bool(os.listdir(folder))}
