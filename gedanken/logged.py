"""`gedanken import` and `export`: worlds out of logs and datasets, and datasets out of what was lived through."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gedanken.cli import REACHED
from gedanken.options import json_option


@click.command(name="import")
@click.argument("log", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--spec",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML: what columns mean; for a Minari dataset, which may go without, an adapter.",
)
@click.option("--as", "id", metavar="NAME", help="What to call the world.  [default: the file's name]")
@json_option
def import_command(log: Path, spec: Path | None, id: str | None, as_json: bool) -> int:
    """Make a world of LOG: it can be learned and imagined in, but not acted in.

    LOG is a CSV or Parquet file, or the folder of a Minari dataset.
    """
    from gedanken.agent.loading import places
    from gedanken.agent.logged import import_log
    from gedanken.worldmodel.experience import ExperienceStore

    with ExperienceStore(places().store) as store:
        world, repairs = import_log(log, spec, store, id=id)
        steps = sum(len(episode) for _, episode in store.episodes(spec_hash=world.spec.hash))
    counts = {
        "rows": repairs.rows,
        "transitions": steps,
        "duplicated_timestamps": repairs.duplicates,
        "incomplete_rows": repairs.incomplete,
        "gaps": repairs.gaps,
    }
    if as_json:
        click.echo(json.dumps({"world": world.id, "variables": list(world.spec.vector.names)} | counts))
        return REACHED
    click.echo(f"{world.id} is a world now, of {repairs.rows:,} rows: {steps:,} transitions are stored")
    click.echo(
        f"{repairs.duplicates:,} duplicated timestamps (the last row counts), {repairs.incomplete:,} incomplete rows "
        f"(left out), {repairs.gaps:,} gaps (another episode begins). Next: gedanken learn {world.id}"
    )
    return REACHED


@click.command(name="export")
@click.argument("world_id", metavar="WORLD")
@click.option(
    "--minari",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="A new folder, named as Minari does: a-v0.",
)
@json_option
def export_command(world_id: str, folder: Path, as_json: bool) -> int:
    """Write the stored episodes of WORLD, one that shows numbers, as a Minari dataset."""
    from gedanken.agent.loading import places
    from gedanken.agent.logged import export_minari
    from gedanken.worldmodel.experience import ExperienceStore

    with ExperienceStore(places().store) as store:
        episodes, steps = export_minari(world_id, store, folder)
    if as_json:
        click.echo(json.dumps({"world": world_id, "folder": str(folder), "episodes": episodes, "transitions": steps}))
    else:
        click.echo(f"{folder} holds {episodes:,} episodes of {world_id}, {steps:,} transitions")
    return REACHED
