"""`gedanken bench`: how quick a part is on this machine."""

from __future__ import annotations

import json
import sys

import click

from gedanken.cli import REACHED
from gedanken.options import json_option


@click.command(name="bench")
@click.argument("part", type=click.Choice(["llm", "model"]))
@click.option("--llm", default="embedded", show_default=True, help="Language model, as in `gedanken run --llm`.")
@click.option("--checkpoint", default=None, help="World model, as in `gedanken run --checkpoint`.")
@click.option("--goals", "-n", type=click.IntRange(1, 1000), default=50, show_default=True, help="Decisions to time.")
@click.option("--candidates", type=click.IntRange(1, 64), default=8, show_default=True, help="Plans of a decision.")
@click.option("--seed", type=click.IntRange(0, 10_000), default=0, show_default=True, help="Which goals.")
@json_option
def bench_command(
    part: str, llm: str, checkpoint: str | None, goals: int, candidates: int, seed: int, as_json: bool
) -> int:
    """Time PART on this machine.

    llm: single decisions on missions of real levels; nothing is rehearsed. model: steps imagined and frames learned a
    second, next to what matrix products reach.
    """
    if part == "model":
        return _bench_model(checkpoint, as_json)
    from gedanken.agent.llm import load
    from gedanken.evals.bench import bench, table
    from gedanken.evals.main import show
    from gedanken.worlds.babyai import BabyAIWorld

    def tell(done: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done} of {goals} goals", nl=done == goals, err=True)

    results = bench(load(llm), BabyAIWorld, goals=goals, candidates=candidates, seed=seed, on_goal=tell)
    if as_json:
        click.echo(json.dumps(results))
    else:
        show([table(results)])
    return REACHED


def _bench_model(checkpoint: str | None, as_json: bool) -> int:
    from gedanken.agent.config import LoopConfig
    from gedanken.evals.bench_model import bench_model, table
    from gedanken.evals.main import show
    from gedanken.evals.suite import assemble

    config = LoopConfig()
    results = bench_model(assemble(checkpoint or config.checkpoint, config))
    if as_json:
        click.echo(json.dumps(results))
    else:
        show([table(results)])
    return REACHED
