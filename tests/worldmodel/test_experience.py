"""What is stored comes back as it was, in its order, also after a migration."""

import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stored_episodes import assert_same, make

from gedanken.worldmodel import experience
from gedanken.worldmodel.experience import ExperienceStore, NewerStoreError, StoreError


def test_round_trip(path: Path) -> None:
    with ExperienceStore(path) as store:
        assert len(store) == 0 and store and store.recent(5) == []
        given = [make(seed, length=seed, steps=seed % 3) for seed in range(6)]
        assert [store.append(episode) for episode in given] == [1, 2, 3, 4, 5, 6]
    with ExperienceStore(path, create=False) as store:
        assert len(store) == 6
        for (_, got), want in zip(store.episodes(), given, strict=True):
            assert_same(got, want)
            got.actions[:] = 0  # its own, writable memory
        store.check()


def test_random_arrays_come_back_bit_by_bit(path: Path) -> None:
    random = np.random.default_rng(7)
    dtypes = [np.dtype(name) for name in ("u1", "<i2", ">i2", "<f4", "<f8", "?", "<u8", "<f2")]
    given = []
    for seed in range(150):
        length, steps = int(random.integers(0, 40)), int(random.integers(0, 5))

        def some(*shape: int) -> Any:
            dtype = dtypes[random.integers(len(dtypes))]
            array = np.frombuffer(random.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)
            array = array.view("u1") % 2 == 1 if dtype.kind == "b" else array  # NaN, infinities and all
            return np.asfortranarray(array) if random.integers(2) else array

        shape = tuple(int(size) for size in random.integers(0, 6, random.integers(0, 4)))
        arrays = {"observations": some(length + 1, *shape), "origin": some(steps)}
        arrays |= {name: some(length) for name in ("actions", "rewards", "step_index", "expert", "achieved")}
        text = "".join(map(chr, random.integers(0, 0xD7FF, 20)))
        given.append(make(seed, length, steps, goal=text, record={"a": [text, None, 1.5, -(2**70)]}, **arrays))
    with ExperienceStore(path) as store:
        assert store.append_many(iter(given)) == list(range(1, 151))
        for (_, got), want in zip(store.episodes(), given, strict=True):
            assert_same(got, want)


def test_order_filters_and_limits(path: Path) -> None:
    with ExperienceStore(path) as store:
        for seed in range(200):
            world, source = f"world {seed % 2}", ("expert", "agent", "agent")[seed % 3]
            store.append_many([make(seed, 1, world=world, source=source, spec_hash=f"hash {seed % 5}")])

        def ids(**filters: Any) -> list[int]:
            return [number for number, _ in store.episodes(**filters)]

        everything = list(range(1, 201))
        assert ids() == everything
        assert ids(after_id=190) == everything[190:] and ids(after_id=200) == []
        assert ids(limit=0) == [] and ids(limit=70) == everything[:70] and ids(limit=900) == everything
        assert ids(world="world 1", source="expert", spec_hash="hash 3") == [
            i for i in everything if (i - 1) % 2 == 1 and (i - 1) % 3 == 0 and (i - 1) % 5 == 3
        ]
        assert ids(source="agent", after_id=100, limit=66) == [i for i in everything[100:] if (i - 1) % 3][:66]
        assert ids(world="elsewhere") == []
        assert [i for i, _ in store.recent(3)] == [198, 199, 200]
        assert [i for i, _ in store.recent(2, world="world 0")] == [197, 199]
        assert store.recent(0) == store.recent(-1) == []
        assert store.seeds("world 1") == set(range(1, 200, 2)) and store.seeds("elsewhere") == set()
        assert store.counts()["world 0", "agent"] == sum(1 for s in range(200) if s % 2 == 0 and s % 3)
        assert sum(store.counts().values()) == len(store) == 200


def test_a_reader_sees_what_is_stored_meanwhile(path: Path) -> None:
    with ExperienceStore(path) as store:
        store.append_many(make(seed, 1) for seed in range(100))
        seen = 0
        for number, _ in store.episodes():
            seen += 1
            if number == 10:
                store.append(make(100))
        assert seen == 101


@pytest.mark.parametrize(
    ("record", "success"),
    [
        ({"outcome": {"success": True}}, 1),
        ({"outcome": {"success": np.bool_(False)}}, 0),
        ({"outcome": {}}, None),
        ({"outcome": None}, None),
        ({}, None),
    ],
)
def test_columns_can_be_queried(path: Path, record: dict[str, Any], success: int | None) -> None:
    with ExperienceStore(path) as store:
        store.append(make(3, length=4, record=record))
    db = sqlite3.connect(path)
    row = db.execute("SELECT world, spec_hash, seed, source, goal, length, success, created > 1e9 FROM episode")
    assert row.fetchone() == ("BabyAI-GoToObj-v0", "abc", 3, "expert", "go to the red ball", 4, success, 1)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA user_version").fetchone() == (len(experience.MIGRATIONS),)
    db.close()


def test_a_store_from_before_there_were_pictures_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, frames = experience.MIGRATIONS, np.arange(7 * 4 * 4 * 3, dtype=np.uint8).reshape(7, 4, 4, 3)
    monkeypatch.setattr(experience, "MIGRATIONS", known[:1])
    with ExperienceStore(path) as store:
        store.append(make(1, length=5))
        assert store._read("PRAGMA user_version") == [(1,)]
    monkeypatch.setattr(experience, "MIGRATIONS", known)
    with ExperienceStore(path, create=False) as store:
        assert_same(store.recent(1)[0][1], make(1, length=5))
        assert store.append_many([make(2, length=5, frames=frames), make(3, length=5)]) == [2, 3]
        store.check()
        (_, pictured), (_, plain) = store.recent(2)
    assert pictured.frames is not None and np.array_equal(pictured.frames, frames) and plain.frames is None
    assert_same(plain, make(3, length=5))
    monkeypatch.setattr(experience, "MIGRATIONS", known[:1])
    with pytest.raises(NewerStoreError, match="Upgrade Gedanken"):
        ExperienceStore(path)


def test_numpy_values_and_stray_bytes_do_not_lose_an_episode(path: Path) -> None:
    with ExperienceStore(path) as store:
        record = {"verdict": {"p": np.float32(0.5), "per step": np.array([1, 2])}, "said": "\udcff"}
        store.append(make(seed=np.int64(5), goal="to \udcff", record=record))  # type: ignore[arg-type]
        ((_, got),) = store.recent(1)
    assert got.seed == 5 and type(got.seed) is int and got.goal == "to \\udcff"
    assert got.record == {"verdict": {"p": 0.5, "per step": [1, 2]}, "said": "\udcff"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"record": {"model": object()}}, "not JSON"),
        ({"seed": 2**63}, "64 bits"),
        ({"rewards": np.array([None] * 5)}, "rewards must hold numbers"),
    ],
)
def test_what_cannot_be_stored_is_refused_whole(path: Path, changes: dict[str, Any], words: str) -> None:
    with ExperienceStore(path) as store:
        with pytest.raises(StoreError, match=words):
            store.append_many([make(), replace(make(), **changes)])
        assert len(store) == 0
        assert store.append(make()) == 1


def test_an_older_store_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExperienceStore(path) as store:
        store.append(make(1))

    def add_column(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE episode ADD COLUMN note TEXT NOT NULL DEFAULT 'old'")

    def fail(db: sqlite3.Connection) -> None:
        db.execute("DROP TABLE episode")
        raise sqlite3.OperationalError("a bug")

    old, known = ExperienceStore(path), experience.MIGRATIONS
    monkeypatch.setattr(experience, "MIGRATIONS", [*known, add_column, fail])
    with pytest.raises(StoreError, match="a bug"):
        ExperienceStore(path)
    assert len(old) == 1 and old.append(make(2)) == 2  # all or nothing: it is still the old version
    monkeypatch.setattr(experience, "MIGRATIONS", [*known, add_column])
    with ExperienceStore(path) as store:
        assert store._read("PRAGMA user_version") == [(len(known) + 1,)]
        assert store._read("SELECT note FROM episode") == [("old",), ("old",)]
        assert_same(store.recent(1)[0][1], make(2))
    with old, pytest.raises(NewerStoreError, match=f"version {len(known) + 1}, this one knows {len(known)}"):
        old.append(make(3))  # opened by the old code, before the migration
