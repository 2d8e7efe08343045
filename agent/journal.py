"""The journal: every conversation, goal and real action, durable as it happens, so that a killed run can go on.

An action is written before it is taken (intended) and again after (done). Knows no environment and no model.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from gedanken.worldmodel.episode import Action
from gedanken.worldmodel.experience_file import Migration, StoreFile


@dataclass(frozen=True)
class Conversation:
    """One life in one environment, from its reset on."""

    id: int
    world: str
    spec_hash: str
    seed: int
    free: bool


@dataclass(frozen=True)
class Turn:
    """One goal of a conversation; `origin` counts the actions taken before it; `outcome` is None while it is open."""

    id: int
    goal: str
    origin: int
    outcome: dict[str, Any] | None


@dataclass(frozen=True)
class Recorded:
    """One action; `turn` is None for looking around, `pursuit` numbers the steps pursued in the turn.

    Controls are kept as JSON in the column of actions' numbers.
    """

    number: int
    turn: int | None
    action: Action
    step: str
    pursuit: int
    done: bool
    checksum: int
    reward: float
    achieved: bool


def _create_tables(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE conversation (id INTEGER PRIMARY KEY AUTOINCREMENT, created REAL NOT NULL, world TEXT NOT NULL,"
        " spec_hash TEXT NOT NULL, seed INTEGER NOT NULL, free INTEGER NOT NULL)"
    )
    db.execute(
        "CREATE TABLE turn (id INTEGER PRIMARY KEY AUTOINCREMENT, conversation INTEGER NOT NULL, goal TEXT NOT NULL,"
        " origin INTEGER NOT NULL, outcome TEXT)"
    )
    db.execute(
        "CREATE TABLE action (conversation INTEGER NOT NULL, number INTEGER NOT NULL, turn INTEGER, action INTEGER"
        " NOT NULL, step TEXT NOT NULL, pursuit INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0, checksum INTEGER"
        " NOT NULL DEFAULT 0, reward REAL NOT NULL DEFAULT 0, achieved INTEGER NOT NULL DEFAULT 0,"
        " PRIMARY KEY (conversation, number))"
    )


def _create_marks(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE mark (name TEXT PRIMARY KEY, conversation INTEGER NOT NULL, turns INTEGER NOT NULL)")


MIGRATIONS: list[Migration] = [_create_tables, _create_marks]


class Journal(StoreFile):
    """Conversations in the order they were begun. Raises StoreError and its kin, as the experience store does."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, MIGRATIONS, create=True)

    def begin(self, world: str, spec_hash: str, seed: int, free: bool) -> Conversation:
        """Note a reset."""
        with self._write() as db:
            return self._new(db, world, spec_hash, seed, free)

    @staticmethod
    def _new(db: sqlite3.Connection, world: str, spec_hash: str, seed: int, free: bool) -> Conversation:
        query = "INSERT INTO conversation (created, world, spec_hash, seed, free) VALUES (?, ?, ?, ?, ?)"
        row = db.execute(query, (time.time(), world, spec_hash, seed, int(free))).lastrowid
        return Conversation(int(row or 0), world, spec_hash, seed, free)

    def begin_turn(self, conversation: int, goal: str, origin: int) -> int:
        """Note a goal and return its id."""
        with self._write() as db:
            query = "INSERT INTO turn (conversation, goal, origin) VALUES (?, ?, ?)"
            return int(db.execute(query, (conversation, goal, origin)).lastrowid or 0)

    def end_turn(self, turn: int, outcome: dict[str, Any]) -> None:
        """Note how a goal ended."""
        with self._write() as db:
            db.execute("UPDATE turn SET outcome = ? WHERE id = ?", (json.dumps(outcome), turn))

    def intend(self, conversation: int, number: int, turn: int | None, action: Action, step: str, pursuit: int) -> None:
        """Note an action that is about to be taken; it takes the place of one that never was confirmed."""
        with self._write() as db:
            query = (
                "INSERT OR REPLACE INTO action (conversation, number, turn, action, step, pursuit)"
                " VALUES (?, ?, ?, ?, ?, ?)"
            )
            kept = action if isinstance(action, int) else json.dumps([float(control) for control in action])
            db.execute(query, (conversation, number, turn, kept, step, pursuit))

    def confirm(self, conversation: int, number: int, checksum: int, reward: float, achieved: bool) -> None:
        """Note that an action was taken, and the checksum of what was seen then."""
        with self._write() as db:
            query = (
                "UPDATE action SET done = 1, checksum = ?, reward = ?, achieved = ?"
                " WHERE conversation = ? AND number = ?"
            )
            db.execute(query, (checksum, reward, int(achieved), conversation, number))

    def fork(self, conversation: Conversation, turns: int) -> Conversation:
        """Begin a conversation as a copy of another one's first `turns` goals and the actions confirmed until then."""
        with self._write() as db:
            new = self._new(db, conversation.world, conversation.spec_hash, conversation.seed, conversation.free)
            self._copy(db, conversation.id, None, new.id, None)
            for turn in self.turns(conversation.id)[:turns]:
                said = json.dumps(turn.outcome) if turn.outcome else None
                query = "INSERT INTO turn (conversation, goal, origin, outcome) VALUES (?, ?, ?, ?)"
                id = db.execute(query, (new.id, turn.goal, turn.origin, said)).lastrowid
                self._copy(db, conversation.id, turn.id, new.id, id)
        return new

    @staticmethod
    def _copy(db: sqlite3.Connection, source: int, turn: int | None, target: int, as_turn: int | None) -> None:
        query = (
            "INSERT INTO action SELECT ?, number, ?, action, step, pursuit, done, checksum, reward, achieved"
            " FROM action WHERE conversation = ? AND turn IS ? AND done = 1"
        )
        db.execute(query, (target, as_turn, source, turn))

    def forget(self, conversation: int) -> None:
        """Remove a conversation that could not be begun."""
        with self._write() as db:
            db.execute("DELETE FROM action WHERE conversation = ?", (conversation,))
            db.execute("DELETE FROM turn WHERE conversation = ?", (conversation,))
            db.execute("DELETE FROM conversation WHERE id = ?", (conversation,))

    def mark(self, name: str, conversation: int, turns: int) -> None:
        """Give a conversation, as it is after its first `turns` goals, a name; an older mark of that name goes."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", (name, conversation, turns))

    def marks(self) -> dict[str, tuple[Conversation, int]]:
        """Return the conversations that have a name, each with its number of goals then."""
        query = (
            "SELECT name, turns, id, world, spec_hash, seed, free FROM mark JOIN conversation ON id = conversation"
            " ORDER BY name"
        )
        return {name: (_conversation(*row), turns) for name, turns, *row in self._read(query)}

    def last(self) -> Conversation | None:
        """Return the conversation begun last."""
        query = "SELECT id, world, spec_hash, seed, free FROM conversation ORDER BY id DESC LIMIT 1"
        rows = self._read(query)
        return _conversation(*rows[0]) if rows else None

    def turns(self, conversation: int) -> list[Turn]:
        """Return the goals of a conversation in order."""
        query = "SELECT id, goal, origin, outcome FROM turn WHERE conversation = ? ORDER BY id"
        return [_turn(*row) for row in self._read(query, (conversation,))]

    def actions(self, conversation: int) -> list[Recorded]:
        """Return the actions of a conversation in order; only the last can be unconfirmed."""
        query = (
            "SELECT number, turn, action, step, pursuit, done, checksum, reward, achieved FROM action"
            " WHERE conversation = ? ORDER BY number"
        )
        return [_recorded(*row) for row in self._read(query, (conversation,))]


def _conversation(id: int, world: str, spec_hash: str, seed: int, free: int) -> Conversation:
    return Conversation(id, world, spec_hash, seed, bool(free))


def _turn(id: int, goal: str, origin: int, outcome: str | None) -> Turn:
    return Turn(id, goal, origin, json.loads(outcome) if outcome else None)


def _recorded(
    number: int,
    turn: int | None,
    action: int | str,
    step: str,
    pursuit: int,
    done: int,
    checksum: int,
    reward: float,
    achieved: int,
) -> Recorded:
    taken: Action = action if isinstance(action, int) else np.array(json.loads(action), np.float32)
    return Recorded(number, turn, taken, step, pursuit, bool(done), checksum, reward, bool(achieved))
