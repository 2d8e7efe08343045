"""Minari's datasets as logs, and logs as Minari's datasets: a folder each. Knows no store.

A dataset that was written here says what its numbers are called; for others an adapter's file may.
"""

from __future__ import annotations

import importlib
import math
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from pydantic import ValidationError

from gedanken.worlds.adapter import Adapter, Exogenous, read_adapter, said
from gedanken.worlds.fields import VectorField
from gedanken.worlds.logs import Log, Piece, Repairs, remember
from gedanken.worlds.protocol import WorldError
from gedanken.worlds.spaces import actions_of, coded, flat, picture_of, spec_of, texts_of, variables_of
from gedanken.worlds.spec import SpecError, WorldSpec

NAMED = "gedanken"
"""Where a dataset's metadata keep the adapter that names its numbers."""


def open_dataset(path: Path, adapter: Path | None, id: str) -> Log:
    """Open the dataset in a folder; its episodes are read later. Raises SpecError for what is not supported.

    The last numbers of an observation are the adapter's exogenous ones, as they are in what `write_dataset` writes.
    """
    storage, metadata, count = _open(path)
    try:
        known = read_adapter(adapter) if adapter else Adapter.model_validate(metadata.get(NAMED, {"environment": id}))
    except ValidationError as error:
        raise SpecError(f"{path}: its metadata, {NAMED}, {said(error)}") from error
    if (name := picture_of(storage.observation_space)) is not None:
        raise SpecError(f"{name} is a picture; logs with pictures are not supported, only numbers")
    if texts := texts_of(storage.observation_space):
        raise SpecError(f"{texts[0]} is a Text space; logs with words are not supported, only numbers")
    shown = variables_of(storage.observation_space)
    own = len(shown) - len(known.exogenous)
    if own < 1:
        raise SpecError(f"{path}: the adapter has {len(known.exogenous)} exogenous variables, the dataset {len(shown)}")
    world = spec_of(id, known, shown[:own], actions_of(storage.action_space))

    def read(repairs: Repairs) -> Iterator[Piece]:
        held = 0
        for number in range(count):
            piece = _piece(f"{path}, episode {number}", storage, number)
            held += len(piece.actions)
            for moment in piece.observations:
                repairs.rows += 1
                remember(repairs, moment.tolist())
            if len(piece.actions):
                yield piece
        if held != (told := metadata["total_steps"]):
            raise SpecError(f"{path} tells of {told} transitions, and holds {held}")

    return Log(world, known.lasts, read)


def _open(path: Path) -> tuple[Any, dict[str, Any], int]:
    """Return the storage in a folder, or in its folder `data`, its metadata, and how many episodes it has."""
    kind = _minari("minari.dataset.minari_storage").MinariStorage
    folder = path if (path / "metadata.json").is_file() else path / "data"
    if not (folder / "metadata.json").is_file():
        raise SpecError(f"{path} is no Minari dataset: there is no metadata.json in it, nor in its folder data")
    try:
        metadata = dict(kind.read_raw_metadata(folder))
        # without them Minari would make the environment: code that the dataset names
        if missing := sorted({"observation_space", "action_space", "total_episodes", "total_steps"} - metadata.keys()):
            raise SpecError(f"{path}: its metadata lack {', '.join(missing)}")
        return kind.read(folder), metadata, int(metadata["total_episodes"])
    except SpecError:
        raise
    except Exception as error:  # Minari has no errors of its own
        raise SpecError(f"{path} is no Minari dataset that can be read: {type(error).__name__}: {error}") from error


def _piece(where: str, storage: Any, number: int) -> Piece:
    """Read one episode. Raises SpecError that names the moment which does not fit."""
    try:
        [told] = storage.get_episodes([number])
    except Exception as error:
        raise SpecError(f"{where} can't be read: {type(error).__name__}: {error}") from error
    rewards, ends = np.asarray(told["rewards"], np.float64), np.asarray(told["terminations"], bool)
    length = len(rewards)
    if ends[:-1].any():
        raise SpecError(f"{where} goes on after it terminated, at action {int(ends.argmax())}")
    seen, actions = [], []
    try:
        for at in range(length + 1):
            seen.append(flat(storage.observation_space, _at(told["observations"], at)))
        for at in range(length):
            actions.append(coded(storage.action_space, _at(told["actions"], at)))
    except (WorldError, IndexError, KeyError) as error:
        raise SpecError(f"{where}, {'action' if len(seen) > length else 'observation'} {at}: {error}") from error
    with np.errstate(over="ignore"):
        observations, paid = np.array(seen, np.float32), rewards.astype(np.float32)
    for what, numbers in (("observation", observations), ("reward", paid[:, None])):
        if not (fine := np.isfinite(numbers).all(-1)).all():
            wrong = int(fine.argmin())
            raise SpecError(f"{where}, {what} {wrong} is {numbers[wrong]}; all numbers must be finite")
    return Piece(observations, np.array(actions), paid, bool(ends.any()))


def _at(values: Any, at: int) -> Any:
    """Return the value of a moment out of an episode's, which lie as their space does."""
    if isinstance(values, dict):
        return {key: _at(part, at) for key, part in values.items()}
    return tuple(_at(part, at) for part in values) if isinstance(values, tuple) else values[at]


def write_dataset(folder: Path, world: WorldSpec, lasts: str | None, pieces: Iterable[Piece]) -> tuple[int, int]:
    """Write a new dataset, and return how many episodes and transitions it holds.

    Observations are a Box of the world's numbers, a Tuple where some are categories; bounds are rounded to float32. In
    the folder where Minari looks (``~/.minari/datasets``) it is what `minari.load_dataset` finds by the folder's name.
    Raises SpecError for a folder that is there already or is no name of Minari's, and where there is nothing to write.
    """
    if world.vector.picture:
        raise SpecError(f"{world.name} shows a picture, and what it showed can't be exported, only numbers can")
    if world.vector.sayings:
        raise SpecError(f"{world.name} says something in words, and that can't be exported, only numbers can")
    kind, version = _minari("minari.dataset.minari_storage").MinariStorage, _minari("minari").__version__
    buffer = _minari("minari.data_collector.episode_buffer").EpisodeBuffer
    if not re.fullmatch(r"[A-Za-z0-9_][\w-]*-v\d+", folder.name):
        raise SpecError(f"{folder.name!r} is no name of a Minari dataset; it ends in a version: {folder.name}-v0")
    if folder.exists():
        raise SpecError(f"{folder} is there already; choose another name, such as the next version's")
    field = world.vector
    kinds = [variable.categories for variable in field.variables]

    def shown(piece: Piece) -> Any:
        columns = tuple(piece.observations.T.astype(np.int64 if n else np.float32)[i] for i, n in enumerate(kinds))
        return columns if any(kinds) else piece.observations

    def buffers() -> Iterator[Any]:
        for piece in pieces:
            length = len(piece.actions)
            last = np.arange(length) == length - 1
            yield buffer(
                observations=shown(piece),
                actions=piece.actions,
                rewards=piece.rewards,
                terminations=last & piece.terminated,
                truncations=last & (not piece.terminated),
            )

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as unfinished:
        made = Path(unfinished) / "dataset"
        (made / "data").mkdir(parents=True)
        storage = kind.new(made / "data", _shown_as(field), _taken_as(world))
        named = adapter_of(world, lasts).model_dump(mode="json")
        storage.update_metadata({"dataset_id": folder.name, "minari_version": version, NAMED: named})
        storage.update_episodes(buffers())
        told = storage.metadata["total_episodes"], storage.metadata["total_steps"]
        if not told[0]:
            raise SpecError(f"no episodes of {world.name} are stored, so there is nothing to export")
        made.rename(folder)
    return told


def adapter_of(world: WorldSpec, lasts: str | None) -> Adapter:
    """Return an adapter that names what a world shows and takes."""
    field = world.vector
    own = [variable for variable in field.variables if not variable.exogenous]
    return Adapter(
        environment=world.name,
        names=tuple(variable.name for variable in own),
        units=tuple(variable.unit for variable in own),
        actions=world.action_names,
        expressions=dict(field.expressions),
        exogenous={
            v.name: Exogenous(attribute="logged", low=v.low or 0.0, high=v.high or 0.0, unit=v.unit)
            for v in field.variables
            if v.exogenous
        },
        lasts=lasts,
    )


def _shown_as(field: VectorField) -> spaces.Space[Any]:
    low = [-math.inf if v.low is None else v.low for v in field.variables]
    high = [math.inf if v.high is None else v.high for v in field.variables]
    if not any(variable.categories for variable in field.variables):
        return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))
    return spaces.Tuple(
        spaces.Discrete(v.categories) if v.categories else spaces.Box(low[i], high[i], (), np.float32)
        for i, v in enumerate(field.variables)
    )


def _taken_as(world: WorldSpec) -> spaces.Space[Any]:
    if not world.controls:
        return spaces.Discrete(len(world.actions))
    low, high = (np.array([getattr(axis, side) for axis in world.controls], np.float32) for side in ("low", "high"))
    return spaces.Box(low, high)


def _minari(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SpecError("Minari's datasets need Minari; `pip install gedanken[minari]` adds it") from error
