"""`gedanken bench`: how quick a part is on this machine."""

from __future__ import annotations

import json
import sys

import click

from gedanken.cli import REACHED
from gedanken.options import json_option


@click.command(name="bench")
@click.argument("part", type=click.Choice(["llm", "model", "serve"]))
@click.option("--llm", default="embedded:planner", show_default=True, help="Language model, as in `run --llm`.")
@click.option("--checkpoint", default=None, help="World model, as in `gedanken run --checkpoint`.")
@click.option("--goals", "-n", type=click.IntRange(1, 1000), default=50, show_default=True, help="Decisions to time.")
@click.option("--candidates", type=click.IntRange(1, 64), default=8, show_default=True, help="Plans of a decision.")
@click.option("--seed", type=click.IntRange(0, 10_000), default=0, show_default=True, help="Which goals.")
@click.option("--clients", type=click.IntRange(1, 250), default=20, show_default=True, help="Clients of a server.")
@click.option("--seconds", type=click.FloatRange(1, 3600), default=30.0, show_default=True, help="How long they ask.")
@click.option("--queue", type=click.IntRange(1, 1000), default=32, show_default=True, help="Runs that may wait there.")
@json_option
def bench_command(
    part: str,
    llm: str,
    checkpoint: str | None,
    goals: int,
    candidates: int,
    seed: int,
    clients: int,
    seconds: float,
    queue: int,
    as_json: bool,
) -> int:
    """Time PART on this machine.

    llm: single decisions on missions of real levels; nothing is rehearsed. model: steps imagined and frames learned a
    second, next to what matrix products reach. serve: `gedanken serve` under load: CLIENTS have plans rehearsed, again
    and again, for so many SECONDS.
    """
    if part == "model":
        return _bench_model(checkpoint, as_json)
    if part == "serve":
        return _bench_serve(llm, checkpoint, clients, seconds, queue, as_json)
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
    results = bench_model(assemble(checkpoint, config))
    if as_json:
        click.echo(json.dumps(results))
    else:
        show([table(results)])
    return REACHED


def _bench_serve(llm: str, checkpoint: str | None, clients: int, seconds: float, queue: int, as_json: bool) -> int:
    from gedanken.embedding import extra

    with extra("serve"):
        from gedanken.evals.serve import ServeSuite, server_options, under_load
    from gedanken.evals.main import show

    serving = [*server_options(llm, checkpoint), "--queue", str(queue)]
    which = {"task": "rehearse", "arm": f"{clients} clients"}
    found = {**which, **under_load(**which, seconds=seconds, serving=serving)}
    if as_json:
        click.echo(json.dumps(found))
    else:
        show(ServeSuite().tables({"loads": [found]}))
    return REACHED
