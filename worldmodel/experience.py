"""The experience store: every episode that really happened, in one SQLite file. Knows no model and no environment."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gedanken.worldmodel.episode import Episode

APPLICATION_ID = 0x47444B4E  # "GDKN": marks a SQLite file as ours
ARRAYS = ("observations", "actions", "rewards", "step_index", "origin", "expert", "achieved")
BUSY_SECONDS = 60.0  # how long to wait for another process's transaction
PAGE = 64  # episodes read at once: a reader holds no lock while its caller trains


class StoreError(Exception):
    """The store can't do what was asked; the message says what to do."""


class CorruptStoreError(StoreError):
    """The file is damaged."""


class CorruptEpisodeError(CorruptStoreError):
    """One episode is damaged, the one with `episode_id`; the others can still be read."""

    def __init__(self, message: str, episode_id: int) -> None:
        super().__init__(message)
        self.episode_id = episode_id


class ForeignStoreError(StoreError):
    """The file is something else than an experience store."""


class NewerStoreError(StoreError):
    """The file was made by a newer Gedanken."""


class FullDiskError(StoreError):
    """There is no room; nothing of the transaction under way was stored."""


class BusyStoreError(StoreError):
    """Another process kept the store locked for too long."""


def _create_tables(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE episode (id INTEGER PRIMARY KEY AUTOINCREMENT, created REAL NOT NULL, world TEXT NOT NULL,"
        " spec_hash TEXT NOT NULL, seed INTEGER NOT NULL, source TEXT NOT NULL, goal TEXT NOT NULL,"
        " length INTEGER NOT NULL, terminated INTEGER NOT NULL, success INTEGER, steps TEXT NOT NULL,"
        " record TEXT NOT NULL, arrays BLOB NOT NULL)"
    )
    db.execute("CREATE INDEX episode_by_world ON episode (world, source, seed)")
    db.execute("CREATE INDEX episode_by_spec ON episode (spec_hash)")


# MIGRATIONS[v] turns a store of version v into one of v + 1; an empty file is version 0. Append, never edit.
MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = [_create_tables]


class ExperienceStore:
    """Episodes in a SQLite file (WAL), one transaction each; several processes and threads may share the file.

    A store is opened, not inherited: after a fork the child opens its own. Every failure is a `StoreError`.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        self.path = Path(path).absolute()
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._db: sqlite3.Connection
        try:
            self._refuse_leftovers(create)
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise self._explain(error) from error
        try:
            with self._guard():
                self._open()
        except BaseException:
            self._db.close()
            raise

    def _refuse_leftovers(self, create: bool) -> None:
        """SQLite would delete a write-ahead log whose database is gone, and the episodes in it."""
        if self.path.exists() and self.path.stat().st_size:
            return
        log = self.path.with_name(self.path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise CorruptStoreError(
                f"{self.path} is missing or empty, but its log {log} still holds episodes. Nothing was changed. "
                f"Put the database back beside its log, or move the log away to begin a new store."
            )
        if not create:
            raise StoreError(f"no experience store at {self.path}: check the path, or collect episodes first")

    def _open(self) -> None:
        if self._version() < len(MIGRATIONS):
            with self._transaction() as db:
                # Another process may have migrated meanwhile, so ask again under the lock.
                for migrate in MIGRATIONS[self._version() :]:
                    migrate(db)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        deadline = time.monotonic() + BUSY_SECONDS
        while True:  # SQLite doesn't wait by itself when two processes switch to WAL at once
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self._db.execute("PRAGMA synchronous = FULL")

    def _version(self) -> int:
        """The schema version, when it is ours and not newer than this code."""
        application, version, tables = (
            int(self._db.execute(query).fetchone()[0])
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if application != APPLICATION_ID and (application or version or tables):
            raise ForeignStoreError(
                f"{self.path} is a SQLite database, but not an experience store of Gedanken. Nothing was changed. "
                f"Give another path."
            )
        if version > len(MIGRATIONS):
            raise NewerStoreError(
                f"{self.path} was made by a newer Gedanken: version {version}, this one knows {len(MIGRATIONS)}. "
                f"Nothing was changed. Upgrade Gedanken, or give another path."
            )
        return version

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """One thread at a time, in the process that opened the store; SQLite's errors become ours."""
        if os.getpid() != self._pid:
            raise StoreError(f"{self.path} was opened before a fork: open the store again in this process")
        with self._lock:
            try:
                yield
            except (OSError, sqlite3.Error) as error:
                raise self._explain(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guard():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    with suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                raise

    def _explain(self, error: OSError | sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in (28, 122):  # ENOSPC, EDQUOT
            return FullDiskError(
                f"no room to write {self.path} ({error}). What was under way was not stored, what was stored "
                f"before is safe. Free some space, or move the store, and try again."
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "Could not decode" in str(error):
            return CorruptStoreError(
                f"{self.path} is damaged, or was never an experience store ({error}). Gedanken changed nothing. "
                f"Move the file away, with its -wal and -shm, to begin a new store, or restore a backup."
            )
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return BusyStoreError(
                f"{self.path} was kept locked by another process for over {BUSY_SECONDS:.0f} s ({error}). "
                f"Nothing was stored. End that process, or try again later."
            )
        return StoreError(f"can't use {self.path} ({error}): check that the path can be read and written")

    def append(self, episode: Episode) -> int:
        """Store one episode durably and return its id; ids only grow."""
        return self.append_many([episode])[0]

    def append_many(self, episodes: Iterable[Episode]) -> list[int]:
        """Store all of the episodes, or none of them, in one transaction and return their ids."""
        rows = [_row(episode) for episode in episodes]  # first, so that the lock is held only to write
        ids: list[int] = []
        with self._transaction() as db:
            if self._version() != len(MIGRATIONS):
                raise StoreError(f"{self.path} changed its version while it was open: open the store again")
            for row in rows:
                cursor = db.execute(f"INSERT INTO episode ({COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)
                assert cursor.lastrowid is not None
                ids.append(cursor.lastrowid)
        return ids

    def episodes(
        self,
        *,
        spec_hash: str | None = None,
        source: str | None = None,
        world: str | None = None,
        after_id: int = 0,
        limit: int | None = None,
    ) -> Iterator[tuple[int, Episode]]:
        """Yield ids and episodes in the order they were stored, a page at a time, those stored meanwhile too."""
        where, values = _where(spec_hash, source, world)
        left = -1 if limit is None else max(limit, 0)
        while left:
            rows = self._read(
                f"SELECT id, {COLUMNS} FROM episode WHERE id > ?{where} ORDER BY id LIMIT ?",
                (after_id, *values, PAGE if left < 0 else min(left, PAGE)),
            )
            for row in rows:
                after_id = row[0]
                yield after_id, self._episode(row)
            left -= len(rows) if left > 0 else 0
            if not rows:
                return

    def recent(
        self, n: int, *, spec_hash: str | None = None, source: str | None = None, world: str | None = None
    ) -> list[tuple[int, Episode]]:
        """The last n episodes with their ids, oldest of them first."""
        where, values = _where(spec_hash, source, world)
        query = f"SELECT id, {COLUMNS} FROM episode WHERE TRUE{where} ORDER BY id DESC LIMIT ?"
        return [(row[0], self._episode(row)) for row in reversed(self._read(query, (*values, max(n, 0))))]

    def counts(self) -> dict[tuple[str, str], int]:
        """The number of episodes of each (world, source)."""
        rows = self._read("SELECT world, source, count(*) FROM episode GROUP BY world, source", ())
        return {(world, source): count for world, source, count in rows}

    def seeds(self, world: str) -> set[int]:
        """Every seed of this world that was lived through: an evaluation must use others."""
        return {seed for (seed,) in self._read("SELECT DISTINCT seed FROM episode WHERE world = ?", (world,))}

    def check(self) -> None:
        """Read everything; raise `CorruptStoreError` at the first damage."""
        (first, *_) = self._read("PRAGMA integrity_check", ())
        if first[0] != "ok":
            raise self._explain(sqlite3.DatabaseError(f"Could not decode: {first[0]}"))
        for _ in self.episodes():
            pass

    def close(self) -> None:
        """Release the file; closing twice does no harm."""
        with self._guard():
            self._db.close()

    def __len__(self) -> int:
        return int(self._read("SELECT count(*) FROM episode", ())[0][0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._guard():
            return self._db.execute(query, values).fetchall()

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
        except (ValueError, TypeError, KeyError, struct.error, zlib.error) as error:
            raise CorruptEpisodeError(
                f"episode {episode_id} of {self.path} is damaged ({error}). Nothing was changed, and the others can "
                f"still be read: continue after id {episode_id}, or restore a backup.",
                episode_id,
            ) from error


COLUMNS = "created, world, spec_hash, seed, source, goal, length, terminated, success, steps, record, arrays"


def _where(spec_hash: str | None, source: str | None, world: str | None) -> tuple[str, tuple[str, ...]]:
    wanted = {"spec_hash": spec_hash, "source": source, "world": world}
    given = {name: value for name, value in wanted.items() if value is not None}
    return "".join(f" AND {name} = ?" for name in given), tuple(given.values())


def _row(episode: Episode) -> tuple[Any, ...]:
    """The values of COLUMNS."""
    outcome = episode.record.get("outcome")
    success = outcome.get("success") if isinstance(outcome, dict) else None
    return (
        time.time(),
        episode.world,
        episode.spec_hash,
        int(episode.seed),
        episode.source,
        episode.goal,
        len(episode),
        int(episode.terminated),
        None if success is None else int(bool(success)),
        json.dumps(episode.steps),
        json.dumps(episode.record),
        _pack(episode),
    )


def _pack(episode: Episode) -> bytes:
    """Checksum, header length, header [name, dtype, shape], then the arrays' bytes one after the other, deflated."""
    arrays = [(name, np.ascontiguousarray(getattr(episode, name))) for name in ARRAYS]
    header = json.dumps([[name, a.dtype.str, a.shape] for name, a in arrays], separators=(",", ":")).encode()
    body = header + zlib.compress(b"".join(a.tobytes() for _, a in arrays), 3)
    return struct.pack("<II", zlib.crc32(body), len(header)) + body


def _unpack(blob: bytes) -> dict[str, NDArray[Any]]:
    checksum, header_size = struct.unpack_from("<II", blob)
    body = memoryview(blob)[8:]
    if zlib.crc32(body) != checksum:
        raise ValueError("its checksum is wrong")
    raw = zlib.decompress(body[header_size:])
    arrays, offset = {}, 0
    for name, dtype_name, shape in json.loads(bytes(body[:header_size])):
        dtype = np.dtype(dtype_name)
        # A copy of its own: aligned, writable, and it keeps no other array in memory.
        arrays[name] = np.frombuffer(raw, dtype, prod(shape), offset).reshape(shape).copy()
        offset += arrays[name].nbytes
    return arrays
