"""Logs, and Minari's datasets, as worlds of the user's; and stored episodes as a Minari dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gedanken.agent.added import keep_log, load_added, slug
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worlds.logs import LogWorld, Piece, Repairs, open_log
from gedanken.worlds.minari_data import open_dataset, write_dataset
from gedanken.worlds.spec import SpecError, WorldSpec

LOGGED = "logged"
"""Source of an episode that was read from a log."""


def import_log(
    path: Path, spec: Path | None, store: ExperienceStore, *, id: str | None = None
) -> tuple[LogWorld, Repairs]:
    """Read a log, store its episodes and keep it as a world; the same id again replaces the world and adds episodes.

    `path` is a file with a `spec` of its columns, or the folder of a Minari dataset, whose `spec`, an adapter's file,
    may be left out. Raises SpecError for what is wrong with either; then nothing of it is kept.
    """
    name = id or slug(path.resolve().name if path.is_dir() else path.stem)
    if name.startswith("BabyAI-"):
        raise SpecError(f"{name!r} is there already; choose another --as")
    if path.is_dir():
        log = open_dataset(path, spec, name)
    elif spec:
        log = open_log(path, spec, name)
    else:
        raise SpecError(f"{path}: say with --spec FILE what its columns mean")
    for _ in log.read(Repairs()):  # the whole of it first: of a log that does not fit nothing is stored
        pass
    repairs, seeds = Repairs(), itertools.count(FIRST_TRAINING_SEED)
    pieces = (_logged(log.world, next(seeds), piece) for piece in log.read(repairs))
    stored = sum(len(store.append_many(batch)) for batch in _batches(pieces))
    if not stored:
        hint = f"; is every = {log.every!r} the time from row to row?" if repairs.gaps else ""
        raise SpecError(f"{path}: no two of its {repairs.rows:,} rows follow each other, so nothing is to learn{hint}")
    return keep_log(log, repairs.moments), repairs


def export_minari(id: str, store: ExperienceStore, folder: Path) -> tuple[int, int]:
    """Write all stored episodes of a world of numbers as a new Minari dataset; return how many, and their transitions.

    Raises SpecError for a world that is not known or shows no numbers, and as `write_dataset` does.
    """
    world = load_added(id)
    if world is None:
        raise SpecError(f"no world of numbers {id!r} was added or ships; `gedanken worlds` lists those there are")
    episodes = (episode for _, episode in store.episodes(spec_hash=world.spec.hash) if len(episode))
    pieces = (Piece(e.observations.astype(np.float32), e.actions, e.rewards, e.terminated) for e in episodes)
    return write_dataset(folder, world.spec, world.adapter.lasts, pieces)


def _batches(pieces: Iterator[Episode], size: int = 64) -> Iterator[list[Episode]]:
    while batch := list(itertools.islice(pieces, size)):
        yield batch


def _logged(spec: WorldSpec, seed: int, piece: Piece) -> Episode:
    length = len(piece.actions)
    return Episode(
        world=spec.name,
        spec_hash=spec.hash,
        seed=seed,
        source=LOGGED,
        goal="",
        observations=piece.observations,
        actions=piece.actions,
        rewards=piece.rewards,
        terminated=piece.terminated,
        steps=(),
        step_index=np.full(length, -1, np.int16),
        origin=np.zeros(0, np.int16),
        expert=np.full(length, -1, np.int8),
        achieved=np.zeros(length, np.bool_),
    )
