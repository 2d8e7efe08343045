"""Logs of a system that nobody can act in, as a world: columns of CSV or Parquet become named numbers, rows episodes.

Rows are read as a stream. A row shows the numbers of a moment and the action taken then; `reward` is what arriving
there paid. What is repaired is counted: of rows with one timestamp the last counts, a row without some number is left
out, and an episode ends where rows are missing. Everything else that does not fit is refused, by its row.
"""

from __future__ import annotations

import csv
import importlib
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gedanken.worlds.adapter import Adapter, said
from gedanken.worlds.durations import seconds
from gedanken.worlds.fields import Axis, Variable, VectorField
from gedanken.worlds.gym_world import GymEnv, GymWorld
from gedanken.worlds.objectives import OBJECTIVES
from gedanken.worlds.protocol import WorldError
from gedanken.worlds.spec import SpecError, WorldSpec

LONGEST = 1000
"""Most transitions of one episode; a longer run of rows becomes several, each beginning where the last one ended."""

MOMENTS = 100
"""Moments of a log that are kept to imagine from."""

BATCH = 10_000
"""Rows of a Parquet file that are held at a time."""


class Column(BaseModel):
    """A column of the log, what to call it, and its unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str
    name: str = ""
    unit: str = ""

    @property
    def called(self) -> str:
        """Return its name, or else the column's."""
        return self.name or self.column


class Bounded(Column):
    """A column that holds a control, or an input that nobody controls, and the range that it may take."""

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> Bounded:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        return self


class LogSpec(BaseModel):
    """What the columns of a log mean.

    Attributes:
        time: column of timestamps, numbers of seconds or ISO 8601; `every` is the time from row to row, ``5 min``.
        episode: column whose change begins another episode.
        reward: column of what arriving in a row paid.
        observe, actions, exogenous: the columns of numbers, of controls, and of inputs that nobody controls.
        expressions: numbers that are worked out from others, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    observe: tuple[Column, ...] = Field(min_length=1)
    actions: tuple[Bounded, ...] = Field(min_length=1)
    exogenous: tuple[Bounded, ...] = ()
    time: str | None = None
    every: str | None = None
    episode: str | None = None
    reward: str | None = None
    expressions: dict[str, str] = {}

    @field_validator("every")
    @classmethod
    def _is_a_span(cls, text: str | None) -> str | None:
        if text is not None:
            seconds(text)
        return text

    @property
    def numbers(self) -> tuple[Column, ...]:
        """Return the columns of all numbers, in the order in which a row is read."""
        reward = (Column(column=self.reward),) if self.reward else ()
        return (*self.observe, *self.exogenous, *self.actions, *reward)

    def world(self, id: str) -> WorldSpec:
        """Return the world that the log tells of. Raises SpecError for names that don't fit."""
        variables = [Variable(name=c.called, unit=c.unit) for c in self.observe]
        variables += [
            Variable(name=c.called, unit=c.unit, low=c.low, high=c.high, exogenous=True) for c in self.exogenous
        ]
        try:
            shown = VectorField(name="state", variables=tuple(variables), expressions=tuple(self.expressions.items()))
        except ValidationError as error:
            raise SpecError(f"{id}: {said(error)}") from error
        return WorldSpec(
            name=id,
            observation=shown,
            actions=tuple(Axis(name=c.called, low=c.low, high=c.high) for c in self.actions),
            attributes=(),
            skills=OBJECTIVES,
            exogenous=tuple(c.called for c in self.exogenous),
        )


def read_log_spec(path: Path) -> LogSpec:
    """Read what columns mean. Raises SpecError that names the file and the first thing that is wrong with it."""
    try:
        spec = LogSpec.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        raise SpecError(f"{path}: {said(error)}") from error
    if (spec.time is None) != (spec.every is None):
        raise SpecError(f"{path}: time and every belong together: the column, and the time from row to row")
    return spec


@dataclass(frozen=True)
class Piece:
    """Moments that follow each other without a gap; `terminated` says that nothing can follow the last one."""

    observations: NDArray[np.float32]  # [T + 1, variables]
    actions: NDArray[np.integer[Any]] | NDArray[np.float32]  # [T], or [T, A] controls
    rewards: NDArray[np.float32]  # [T]
    terminated: bool = False


@dataclass
class Repairs:
    """What was read, and what had to be repaired."""

    rows: int = 0
    duplicates: int = 0
    incomplete: int = 0
    gaps: int = 0
    moments: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Log:
    """A log that can be read, as often as need be, and the world that it tells of; an action lasts `every`."""

    world: WorldSpec
    every: str | None
    read: Callable[[Repairs], Iterator[Piece]]


def open_log(path: Path, spec: Path, id: str) -> Log:
    """Read what columns mean; the log is read later. Raises SpecError."""
    meaning = read_log_spec(spec)
    return Log(meaning.world(id), meaning.every, lambda repairs: read_log(path, meaning, repairs))


def read_log(path: Path, spec: LogSpec, repairs: Repairs) -> Iterator[Piece]:
    """Yield the pieces of a log as they are read, and count in `repairs`. Raises SpecError that names the row."""
    run: list[list[float]] = []
    before: tuple[Any, float | None] | None = None
    step = seconds(spec.every) if spec.every else None
    for number, row in enumerate(_rows(path, spec), 1):
        repairs.rows = number
        values = _numbers(path, spec, number, row)
        key = row[spec.episode] if spec.episode else None
        at = _time(path, number, row[spec.time]) if spec.time else None
        joined = before is not None and before[0] == key
        if joined and at is not None and before is not None and before[1] is not None and step:
            passed = at - before[1]
            if passed < 0:
                raise SpecError(
                    f"{path}, row {number}: the time goes back by {-passed:g} s; sort the log, and try again"
                )
            if passed == 0:
                repairs.duplicates += 1
                if run:
                    run.pop()
            elif not 0.5 * step <= passed <= 1.5 * step:
                repairs.gaps += 1
                joined = False
        if not joined or values is None:
            yield from _piece(spec, run)
            run = []
        before = (key, at)
        if values is None:
            repairs.incomplete += 1
            continue
        run.append(values)
        if len(run) > LONGEST:
            yield from _piece(spec, run)
            run = run[-1:]
        remember(repairs, values[: len(spec.observe) + len(spec.exogenous)])
    yield from _piece(spec, run)


def _piece(spec: LogSpec, run: list[list[float]]) -> Iterator[Piece]:
    if len(run) < 2:
        return
    table = np.array(run, np.float32)
    shown, controls = len(spec.observe) + len(spec.exogenous), len(spec.actions)
    paid = table[1:, -1] if spec.reward else np.zeros(len(table) - 1, np.float32)
    yield Piece(table[:, :shown], table[:-1, shown : shown + controls], paid)


def remember(repairs: Repairs, shown: list[float]) -> None:
    """Keep moments spread over the log in bounded memory; the last one is the last row's."""
    every = 1 << max(0, (repairs.rows // MOMENTS).bit_length())
    if repairs.moments and (repairs.rows - 1) % every:
        repairs.moments[-1] = shown
        return
    repairs.moments.append(shown)
    if len(repairs.moments) > 2 * MOMENTS:
        del repairs.moments[:-1:2]


def _numbers(path: Path, spec: LogSpec, number: int, row: Mapping[str, Any]) -> list[float] | None:
    """Read a row's numbers; None where one is missing. Raises SpecError for what is no number, or no such control."""
    values = []
    for column in spec.numbers:
        cell = row[column.column]
        if cell is None or (isinstance(cell, str) and cell.strip().lower() in ("", "nan", "null", "na")):
            return None
        try:
            value = float(cell)
        except (TypeError, ValueError) as error:
            raise SpecError(f"{path}, row {number}: {column.column} is {cell!r:.40}, and that is no number") from error
        if math.isnan(value):
            return None
        if math.isinf(value) or abs(value) > 3e38:
            raise SpecError(f"{path}, row {number}: {column.column} is {value}; it must be a finite number")
        values.append(value)
    first = len(spec.observe) + len(spec.exogenous)
    for control, value in zip(spec.actions, values[first:], strict=False):
        if not control.low <= value <= control.high:
            raise SpecError(
                f"{path}, row {number}: {control.column} is {value:g}, beyond {control.low:g} to {control.high:g}; "
                "correct its low and high"
            )
    return values


def _time(path: Path, number: int, cell: Any) -> float:
    """Return seconds; a time that names no zone is UTC, whatever zone this machine is in."""
    try:
        at = cell.timestamp() if isinstance(cell, datetime) and cell.tzinfo else float(cell)
    except (TypeError, ValueError):
        try:
            when = cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell).strip())
        except ValueError as error:
            raise SpecError(f"{path}, row {number}: {cell!r:.40} is no time; write seconds or ISO 8601") from error
        at = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(at):
        raise SpecError(f"{path}, row {number}: {cell!r:.40} is no time; write seconds or ISO 8601")
    return at


def _rows(path: Path, spec: LogSpec) -> Iterator[Mapping[str, Any]]:
    """Yield rows with the columns that are needed. Raises SpecError for those that are missing."""
    wanted = [c.column for c in spec.numbers] + [name for name in (spec.time, spec.episode) if name]
    if path.suffix == ".parquet":
        yield from _parquet(path, wanted)
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            reader = csv.DictReader(file)
            _complete(path, wanted, reader.fieldnames or ())
            yield from reader
        except (csv.Error, UnicodeDecodeError) as error:
            raise SpecError(f"{path} is no CSV in UTF-8: {error}") from error


def _parquet(path: Path, wanted: list[str]) -> Iterator[Mapping[str, Any]]:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        broken: Any = importlib.import_module("pyarrow").ArrowException
    except ImportError as error:
        raise SpecError(f"{path}: reading Parquet needs pyarrow; `pip install gedanken[logs]` adds it") from error
    try:
        with parquet.ParquetFile(path) as file:
            _complete(path, wanted, file.schema_arrow.names)
            for batch in file.iter_batches(BATCH, columns=list(dict.fromkeys(wanted))):
                yield from batch.to_pylist()
    except broken as error:
        raise SpecError(f"{path} is no Parquet file that can be read: {error}") from error


def _complete(path: Path, wanted: list[str], there: Any) -> None:
    if missing := [name for name in dict.fromkeys(wanted) if name not in there]:
        raise SpecError(f"{path} has no column {', '.join(missing)}; it has {', '.join(there)}")
    if twice := [name for name in dict.fromkeys(wanted) if list(there).count(name) > 1]:
        raise SpecError(f"{path} has more than one column {', '.join(twice)}; give each a name of its own")


class LogWorld(GymWorld):
    """A system known from logs only: it can be imagined from the moments that were kept, and not acted in."""

    def __init__(self, spec: WorldSpec, every: str | None, moments: list[list[float]]) -> None:
        self.id, self.spec, self.usual = spec.name, spec, {}
        self.adapter = Adapter(environment="log", lasts=every)
        self.moments = np.array(moments, np.float32)

    def make(self, render_mode: str | None = None, *, free: bool = False) -> GymEnv:
        """Return something that shows a logged moment, seed 0 the last one, and refuses every action."""
        return _Shown(self)

    def check(self) -> None:
        """Do nothing: there is nothing to try."""


class _Shown(GymEnv):
    def __init__(self, world: LogWorld) -> None:
        self.world, self.render_mode, self.seen = world, None, None
        self.said, self.heard = {}, []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Show a moment."""
        assert isinstance(self.world, LogWorld)
        moments = self.world.moments
        self.seen = moments[(len(moments) - 1 - (seed or 0)) % len(moments)]
        self.values = self.world.spec.vector.values(self.seen.astype(np.float64), np.asarray(0.0))
        return self.seen, {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Refuse."""
        raise WorldError(f"{self.world.id} is known from logs only: imagine with `gedanken plan` and `gedanken whatif`")

    def close(self) -> None:
        """Do nothing."""
