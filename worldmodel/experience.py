"""The experience store: every episode that really happened, in one SQLite file. Knows no model and no environment."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.experience_file import (
    BusyStoreError,
    CorruptEpisodeError,
    CorruptStoreError,
    ForeignStoreError,
    FullDiskError,
    Migration,
    NewerStoreError,
    StoreError,
    StoreFile,
)

__all__ = [
    "BusyStoreError",
    "CorruptEpisodeError",
    "CorruptStoreError",
    "ExperienceStore",
    "ForeignStoreError",
    "FullDiskError",
    "NewerStoreError",
    "StoreError",
]

ARRAYS = ("observations", "actions", "rewards", "step_index", "origin", "expert", "achieved", "frames")
COLUMNS = "created, world, spec_hash, seed, source, goal, length, terminated, success, steps, record, arrays"
PAGE = 64  # episodes read at once: a reader holds no lock while its caller trains


def _create_tables(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE episode (id INTEGER PRIMARY KEY AUTOINCREMENT, created REAL NOT NULL, world TEXT NOT NULL,"
        " spec_hash TEXT NOT NULL, seed INTEGER NOT NULL, source TEXT NOT NULL, goal TEXT NOT NULL,"
        " length INTEGER NOT NULL, terminated INTEGER NOT NULL, success INTEGER, steps TEXT NOT NULL,"
        " record TEXT NOT NULL, arrays BLOB NOT NULL)"
    )
    db.execute("CREATE INDEX episode_by_world ON episode (world, source, seed)")
    db.execute("CREATE INDEX episode_by_spec ON episode (spec_hash)")


def _allow_frames(db: sqlite3.Connection) -> None:
    """Change nothing: arrays may hold `frames` from here on, which a reader of the version before calls damage."""


# Each makes the next version out of the one before. Append, never edit: stores of every version are out there.
MIGRATIONS: list[Migration] = [_create_tables, _allow_frames]


class ExperienceStore(StoreFile):
    """Episodes in the order they were stored, each durable once `append` has returned its id.

    What comes back is what went in, except that `record` is what JSON makes of it: tuples become lists.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        super().__init__(path, MIGRATIONS, create=create)

    def append(self, episode: Episode) -> int:
        """Store one episode durably and return its id; ids only grow."""
        return self.append_many([episode])[0]

    def append_many(self, episodes: Iterable[Episode]) -> list[int]:
        """Store all of the episodes, or none of them, in one transaction and return their ids."""
        rows = [_row(episode) for episode in episodes]  # first, so that the lock is held only to write
        query = f"INSERT INTO episode ({COLUMNS}) VALUES ({', '.join('?' * len(COLUMNS.split(',')))})"
        with self._write() as db:
            return [int(db.execute(query, row).lastrowid or 0) for row in rows]

    def episodes(
        self,
        *,
        spec_hash: str | None = None,
        source: str | None = None,
        world: str | None = None,
        after_id: int = 0,
        limit: int | None = None,
    ) -> Iterator[tuple[int, Episode]]:
        """Yield ids and episodes in the order they were stored, those stored meanwhile too.

        Resume with the last id seen as `after_id`; so one gets past a `CorruptEpisodeError` as well.
        """
        where, values = _where(spec_hash, source, world)
        query = f"SELECT id, {COLUMNS} FROM episode WHERE id > ?{where} ORDER BY id LIMIT ?"
        while limit is None or limit > 0:
            page = PAGE if limit is None else min(limit, PAGE)
            rows = self._read(query, (after_id, *values, page))
            for row in rows:
                after_id = row[0]
                yield after_id, self._episode(row)
            if len(rows) < page:
                return
            limit = None if limit is None else limit - page

    def recent(
        self, n: int, *, spec_hash: str | None = None, source: str | None = None, world: str | None = None
    ) -> list[tuple[int, Episode]]:
        """The last n episodes with their ids, the oldest of them first."""
        where, values = _where(spec_hash, source, world)
        query = f"SELECT id, {COLUMNS} FROM episode WHERE TRUE{where} ORDER BY id DESC LIMIT ?"
        return [(row[0], self._episode(row)) for row in reversed(self._read(query, (*values, max(n, 0))))]

    def counts(self) -> dict[tuple[str, str], int]:
        """The number of episodes of each (world, source)."""
        rows = self._read("SELECT world, source, count(*) FROM episode GROUP BY world, source")
        return {(world, source): count for world, source, count in rows}

    def seeds(self, world: str) -> set[int]:
        """Every seed of this world that was lived through: an evaluation must use others."""
        return {seed for (seed,) in self._read("SELECT DISTINCT seed FROM episode WHERE world = ?", (world,))}

    def seeds_from(self, source: str) -> set[int]:
        """Return the seeds of all episodes of a source."""
        return {seed for (seed,) in self._read("SELECT DISTINCT seed FROM episode WHERE source = ?", (source,))}

    def check(self) -> None:
        """Read everything; raise `CorruptStoreError` at the first damage."""
        super().check()
        for _ in self.episodes():
            pass

    def __len__(self) -> int:
        return int(self._read("SELECT count(*) FROM episode")[0][0])

    def __bool__(self) -> bool:  # an empty store is a store
        return True

    def _episode(self, row: tuple[Any, ...]) -> Episode:
        episode_id, _, world, spec_hash, seed, source, goal, _, terminated, _, steps, record, blob = row
        try:
            return Episode(
                world=world,
                spec_hash=spec_hash,
                seed=seed,
                source=source,
                goal=goal,
                terminated=bool(terminated),
                steps=tuple(json.loads(steps)),
                record=json.loads(record),
                **_unpack(blob),
            )
        except (ValueError, TypeError, struct.error, zlib.error) as error:
            raise CorruptEpisodeError(
                f"episode {episode_id} of {self.path} is damaged ({error}). Nothing was changed, and the others can "
                f"still be read. Restore a backup, or go on after id {episode_id}.",
                episode_id,
            ) from error


def _where(spec_hash: str | None, source: str | None, world: str | None) -> tuple[str, list[str]]:
    wanted = {"spec_hash": spec_hash, "source": source, "world": world}
    given = {name: value for name, value in wanted.items() if value is not None}
    return "".join(f" AND {name} = ?" for name in given), list(given.values())


def _row(episode: Episode) -> tuple[Any, ...]:
    """The values of COLUMNS."""
    outcome = episode.record.get("outcome")
    success = outcome.get("success") if isinstance(outcome, dict) else None
    try:
        return (
            time.time(),
            *(_text(text) for text in (episode.world, episode.spec_hash)),
            _int64(episode.seed),
            *(_text(text) for text in (episode.source, episode.goal)),
            len(episode),
            int(episode.terminated),
            None if success is None else int(bool(success)),
            json.dumps(episode.steps),
            json.dumps(episode.record, default=_plain),
            _pack(episode),
        )
    except (ValueError, TypeError) as error:
        raise StoreError(f"this episode can't be stored: {error}") from error


def _text(text: str) -> str:
    """The same text; what isn't Unicode in it (a terminal's stray bytes) is spelt out: no episode is lost for that."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _int64(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"the seed {value} has more than 64 bits")
    return int(value)


def _plain(value: object) -> Any:
    """What JSON can't say of NumPy's values, it can say of Python's."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"its record holds a {type(value).__name__}, which is not JSON: {value!r:.80}")


def _pack(episode: Episode) -> bytes:
    """Checksum, header size, header [name, dtype, shape], then the arrays' bytes one after the other, deflated."""
    there = [(name, getattr(episode, name)) for name in ARRAYS]
    arrays = [(name, np.ascontiguousarray(array)) for name, array in there if array is not None]
    if objects := [name for name, array in arrays if array.dtype.hasobject]:
        raise TypeError(f"{', '.join(objects)} must hold numbers, not Python objects")
    header = json.dumps([[name, array.dtype.str, array.shape] for name, array in arrays]).encode()
    body = header + zlib.compress(b"".join(array.tobytes() for _, array in arrays), 3)
    return struct.pack("<II", zlib.crc32(body), len(header)) + body


def _unpack(blob: bytes) -> dict[str, NDArray[Any]]:
    checksum, header_size = struct.unpack_from("<II", blob)
    body = blob[8:]
    if zlib.crc32(body) != checksum:
        raise ValueError("its checksum is wrong")
    raw = zlib.decompress(body[header_size:])
    arrays, offset = {}, 0
    for name, dtype, shape in json.loads(body[:header_size]):
        # A copy: aligned, writable, and it keeps no other array in memory.
        arrays[name] = np.frombuffer(raw, dtype, prod(shape), offset).reshape(shape).copy()
        offset += arrays[name].nbytes
    return arrays
