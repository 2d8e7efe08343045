"""A SQLite file that several processes share: opening, versions, transactions, errors. Knows nothing of episodes."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

APPLICATION_ID = 0x47444B4E  # "GDKN": marks a SQLite file as ours
BUSY_SECONDS = 60.0  # how long to wait for another process's transaction

Migration = Callable[[sqlite3.Connection], None]


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


def to_wal(db: sqlite3.Connection) -> None:
    """Switch a file to a write-ahead log; SQLite itself doesn't wait when two processes do so at once."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class StoreFile:
    """An open SQLite file in WAL mode; every failure is a `StoreError`.

    `migrations[v]` turns a file of version v into one of v + 1; an empty file is version 0. Threads may share the
    object. Processes share the path: after a fork the child opens its own.
    """

    def __init__(self, path: str | os.PathLike[str], migrations: Sequence[Migration], *, create: bool) -> None:
        self.path = Path(path).resolve()
        self._migrations = migrations
        self._lock = threading.RLock()
        self._pid = os.getpid()
        try:
            self._refuse_leftovers(create)
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._explain(error) from error
        try:
            with self._guard():
                self._open()
                self._inode = self.path.stat().st_ino
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Release the file; closing twice does no harm."""
        with self._guard():
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self) -> None:
        """Look through the whole file. Raises CorruptStoreError at the first damage."""
        problem = self._read("PRAGMA integrity_check(1)")[0][0]
        if problem != "ok":
            raise self._explain(_corrupt(problem.splitlines()[-1]))

    def _refuse_leftovers(self, create: bool) -> None:
        """SQLite would delete a log whose database is gone, and what was stored in it."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size == 1:  # which SQLite takes for an empty database
            raise self._explain(_corrupt("it has one byte"))
        if size:
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
        if self._version() < len(self._migrations):
            with self._transaction() as db:
                for migrate in self._migrations[self._version() :]:  # another process may have been faster: ask again
                    migrate(db)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {len(self._migrations)}")
        to_wal(self._db)
        self._db.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Read the file as it is at one moment, whatever another process commits meanwhile."""
        if self._db.in_transaction:
            yield self._db
            return
        self._db.execute("BEGIN")
        try:
            yield self._db
        finally:
            self._db.execute("COMMIT")

    def _version(self) -> int:
        """The schema version, when the file is ours and not newer than this code."""
        with self._snapshot() as db:
            application, version, tables = (
                int(db.execute(query).fetchone()[0])
                for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
            )
        if application != APPLICATION_ID and (application or version or tables):
            raise ForeignStoreError(
                f"{self.path} is a SQLite database, but not a store of Gedanken. Nothing was changed. "
                f"Give another path."
            )
        if version > len(self._migrations):
            raise NewerStoreError(
                f"{self.path} was made by a newer Gedanken: version {version}, this one knows "
                f"{len(self._migrations)}. Nothing was changed. Upgrade Gedanken, or give another path."
            )
        return version

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._guard():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction on the file that was opened, if it is still there and still of our version."""
        with self._transaction() as db:
            if not self.path.exists() or self.path.stat().st_ino != self._inode:
                raise StoreError(f"{self.path} was moved or deleted while it was open: open the store again")
            self._version()  # another process may have migrated it meanwhile
            yield db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guard():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:  # Ctrl-C too
                with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """One thread at a time, in the process that opened the file; SQLite's errors become ours."""
        if os.getpid() != self._pid:
            raise StoreError(f"{self.path} was opened before a fork: open the store again in this process")
        with self._lock:
            try:
                yield
            except (OSError, sqlite3.Error) as error:
                raise self._explain(error) from error

    def _explain(self, error: OSError | sqlite3.Error) -> StoreError:
        return explained(self.path, error)


def explained(path: Path, error: OSError | sqlite3.Error) -> StoreError:
    """Return what SQLite or the system said of a file, in words that say what to do."""
    code = _code(error)
    if (
        code == sqlite3.SQLITE_FULL
        or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE
        or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    ):
        return FullDiskError(
            f"no room to write {path} ({error}). What was under way was not stored, what was stored "
            f"before is safe. Free some space, or move the store, and try again."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "Could not decode" in str(error):
        return CorruptStoreError(
            f"{path} is damaged, or was never a store of Gedanken ({error}). Gedanken deleted nothing. "
            f"Restore a backup, or move the file away, with its -wal and -shm, to begin a new store."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BusyStoreError(
            f"{path} was kept locked by another process for over {BUSY_SECONDS:.0f} s ({error}). "
            f"Nothing was stored. End that process, or try again later."
        )
    return StoreError(f"can't use {path} ({error}): check that it is a file you may read and write")


def _corrupt(problem: str) -> sqlite3.DatabaseError:
    """What SQLite says of a damaged file, said by us."""
    error = sqlite3.DatabaseError(problem)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _code(error: Exception) -> int:
    """SQLite's primary result code, 0 when the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
