"""`gedanken imagine`: what was imagined and what then really happened, side by side."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gedanken.cli import REACHED
from gedanken.options import json_option, seed_option, world_option
from gedanken.pursue import PIPE_WIDTH

if TYPE_CHECKING:
    from gedanken.worlds.protocol import World

WIDEST = 200
"""Columns that a strip of frames takes at most."""


@click.command(name="imagine")
@click.argument("plan", required=False)
@world_option
@seed_option
@click.option("--future", type=click.IntRange(0), default=0, show_default=True, help="Which imagined future.")
@click.option("--actions", type=click.IntRange(1, 1000), default=64, show_default=True, help="Most actions.")
@click.option("--checkpoint", help="World model: a name, or a folder. Left out: the one that ships for the world.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw all frames into this file.")
@click.option("--gif", type=click.Path(dir_okay=False, path_type=Path), help="Draw them one after the other.")
@json_option
def imagine_command(
    plan: str | None,
    world: str,
    seed: int,
    future: int,
    actions: int,
    checkpoint: str | None,
    png: Path | None,
    gif: Path | None,
    as_json: bool,
) -> int:
    """Draw side by side what the world model imagines and what then really happens; wrong cells are marked.

    Of a world that shows a picture, pictures are drawn beside each other, and it takes a PLAN.

    PLAN ("pick_up(red key); open(red door)") is imagined from the first look at a real environment, and the actions of
    that future are really taken. Without PLAN they are the demonstrator's, for the environment's own mission.
    """
    from rich.console import Console

    from gedanken.agent.telling.window import waiting

    _can_be_drawn(png, gif)
    console = Console(highlight=False, stderr=as_json)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    with waiting(console, "Imagining, then doing the same") if console.is_terminal else contextlib.nullcontext():
        from gedanken.agent.loading import load_world

        chosen = load_world(world)
        imagine = _cells if chosen.spec.picture is None else _footage
        found, telling = imagine(chosen, plan, seed, future, actions, checkpoint)
    console.print(telling.head(found))
    for strip in telling.strips(found, min(console.width, WIDEST)):
        console.print(strip)
        console.print()
    console.print(telling.foot(found), markup=False)
    drawn = []
    for path, name in ((png, "sheet"), (gif, "film")):
        if path is not None:
            path.write_bytes(getattr(importlib.import_module(telling.FILES), name)(found))
            drawn.append(str(path))
            click.echo(f"drawn in {path}", err=True)
    if as_json:
        click.echo(json.dumps({**found.as_dict(), "drawn": drawn}))
    return REACHED


def _cells(world: World, plan: str | None, seed: int, future: int, actions: int, checkpoint: str | None) -> Any:
    """Imagine in a world that shows a grid; return what came of it, and the module that tells it."""
    from gedanken.agent.beside import imagine_demonstration, imagine_plan
    from gedanken.agent.chat.commands import read_plan
    from gedanken.agent.loading import load_practice
    from gedanken.agent.telling import beside
    from gedanken.worldmodel.checkpoint import load, shipped

    _ = world.spec.grid
    steps = None if plan is None else read_plan(world.spec, plan)
    trained = load(checkpoint or shipped(world.spec, world.id), world.spec)
    if steps is None:
        return imagine_demonstration(load_practice(world.id), trained, seed, future=future, most=actions), beside
    return imagine_plan(world, trained, seed, steps, future=future, most=actions), beside


def _footage(world: Any, plan: str | None, seed: int, future: int, actions: int, checkpoint: str | None) -> Any:
    """Do the same in a world that shows a picture."""
    from gedanken.agent.chat.commands import read_plan
    from gedanken.agent.footage import imagine_footage
    from gedanken.agent.loading import load_trained
    from gedanken.agent.telling import footage

    if plan is None:
        raise click.UsageError(f"nobody demonstrates in {world.id}; say a PLAN, 'maximize(reward, for 30)'")
    trained: Any = load_trained(checkpoint, world)
    return imagine_footage(world, trained, seed, read_plan(world.spec, plan), future=future, most=actions), footage


def _can_be_drawn(png: Path | None, gif: Path | None) -> None:
    """Raise click.UsageError for a file that is none or can't be there, before anything is imagined."""
    for option, path in (("--png", png), ("--gif", gif)):
        if path is None:
            continue
        if path.suffix.lower() != f".{option[2:]}":
            raise click.UsageError(f"{option} {path}: its name must end in .{option[2:]}")
        if not path.parent.is_dir():
            raise click.UsageError(f"{option} {path}: there is no folder {path.parent}; make it, or choose another")
        if importlib.util.find_spec("PIL") is None:
            raise click.UsageError("pictures need pillow: pip install 'gedanken[pictures]'")
