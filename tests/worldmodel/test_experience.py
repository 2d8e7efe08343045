import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gedanken.worldmodel import experience
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.experience import (
    BusyStoreError,
    CorruptEpisodeError,
    CorruptStoreError,
    ExperienceStore,
    ForeignStoreError,
    FullDiskError,
    NewerStoreError,
    StoreError,
)


def make(seed: int = 0, length: int = 5, steps: int = 2, **changes: Any) -> Episode:
    random = np.random.default_rng(seed)
    episode = Episode(
        world="BabyAI-GoToObj-v0",
        spec_hash="abc",
        seed=seed,
        source="expert",
        goal="go to the red ball",
        observations=random.integers(0, 11, (length + 1, 7, 7, 3), dtype=np.uint8),
        actions=random.integers(0, 7, length, dtype=np.uint8),
        rewards=random.random(length, dtype=np.float32),
        terminated=bool(random.integers(2)),
        steps=tuple(f"open(door {k})" for k in range(steps)),
        step_index=random.integers(-1, max(steps, 1), length).astype(np.int16),
        origin=random.integers(0, length + 1, steps).astype(np.int16),
        expert=random.integers(-1, 7, length).astype(np.int8),
        achieved=random.random(length) < 0.3,
        record={"outcome": {"success": True}, "plan": ["open(door 0)"]},
    )
    return replace(episode, **changes)


def assert_same(a: Episode, b: Episode) -> None:
    for field in fields(Episode):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype and x.shape == y.shape, field.name
            assert x.tobytes() == y.tobytes(), field.name
        else:
            assert x == y and type(x) is type(y), field.name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "experience.db"


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process, which can `make` episodes and has `path` and `number` as its arguments."""
    here = str(Path(__file__).parent)
    start = (
        f"import sys; sys.path.insert(0, {here!r}); from test_experience import make, ExperienceStore; "
        "path, number = sys.argv[1], int(sys.argv[2])\n"
    )
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


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
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()


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

    old = ExperienceStore(path)
    monkeypatch.setattr(experience, "MIGRATIONS", [*experience.MIGRATIONS, add_column, fail])
    with pytest.raises(StoreError, match="a bug"):
        ExperienceStore(path)
    assert len(old) == 1 and old.append(make(2)) == 2  # all or nothing: it is still version 1
    monkeypatch.setattr(experience, "MIGRATIONS", experience.MIGRATIONS[:2])
    with ExperienceStore(path) as store:
        assert store._read("PRAGMA user_version") == [(2,)]
        assert store._read("SELECT note FROM episode") == [("old",), ("old",)]
        assert_same(store.recent(1)[0][1], make(2))
    with old, pytest.raises(NewerStoreError, match="version 2, this one knows 1"):
        old.append(make(3))  # opened by the old code, before the migration


def test_a_newer_store_is_refused_unchanged(path: Path) -> None:
    with ExperienceStore(path) as store:
        store.append(make())
        store._read("PRAGMA user_version = 9")
    before = path.read_bytes()
    with pytest.raises(NewerStoreError, match="made by a newer Gedanken: version 9, this one knows 1.*Upgrade"):
        ExperienceStore(path)
    assert path.read_bytes() == before


def test_another_database_is_refused_unchanged(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE photos (name)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(ForeignStoreError, match="not a store of Gedanken"):
        ExperienceStore(path)
    assert path.read_bytes() == before and sorted(p.name for p in path.parent.iterdir()) == [path.name]


@pytest.mark.parametrize(
    "content", [b"x", b"hello", b"hello, world\n" * 1000, bytes(8192), b"SQLite format 3\0" + b"x" * 8000]
)
def test_a_file_that_is_no_database_is_refused_unchanged(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError, match="damaged.*deleted nothing.*move the file away"):
        ExperienceStore(path)
    assert path.read_bytes() == content and sorted(p.name for p in path.parent.iterdir()) == [path.name]


@pytest.mark.parametrize("size", [1, 99, 4096, 5000, 20480, -4096])
def test_a_truncated_store_is_refused_unchanged(path: Path, size: int) -> None:
    with ExperienceStore(path) as store:
        store.append_many(make(seed) for seed in range(100))
    os.truncate(path, size if size > 0 else path.stat().st_size + size)
    before = path.read_bytes()
    with pytest.raises(CorruptStoreError, match=str(path)):
        ExperienceStore(path)
    assert path.read_bytes() == before


def test_a_last_page_cut_short_is_found(path: Path) -> None:
    with ExperienceStore(path) as store:
        store.append_many(make(seed) for seed in range(100))
    os.truncate(path, path.stat().st_size - 400)
    with ExperienceStore(path) as store, pytest.raises(CorruptStoreError, match=str(path)):
        store.check()


def test_damage_inside_is_found_and_changes_nothing(path: Path) -> None:
    with ExperienceStore(path) as store:
        store.append_many(make(seed) for seed in range(100))
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 2 :: 4096] = b"\xee" * len(damaged[4096 * 2 :: 4096])  # the type of every later page
    path.write_bytes(damaged)
    with ExperienceStore(path) as store:
        with pytest.raises(CorruptStoreError, match="deleted nothing"):
            list(store.episodes())
        with pytest.raises(CorruptStoreError, match="deleted nothing"):
            store.check()
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("damage", ["substr(arrays, 1, 40)", "x''", "x'00'", "zeroblob(length(arrays))", "'text'", "7"])
def test_a_damaged_episode_is_named_and_can_be_passed(path: Path, damage: str) -> None:
    with ExperienceStore(path) as store:
        store.append_many(make(seed) for seed in range(5))
        store._read(f"UPDATE episode SET arrays = {damage} WHERE id = 3")
        with pytest.raises(CorruptEpisodeError, match=r"episode 3 of .*experience\.db") as caught:
            list(store.episodes())
        with pytest.raises(CorruptStoreError):
            store.check()
        assert [i for i, _ in store.episodes(after_id=caught.value.episode_id)] == [4, 5]


@pytest.mark.parametrize("column", ["steps", "record", "goal"])
def test_damaged_text_is_an_error_of_the_store(path: Path, column: str) -> None:
    with ExperienceStore(path) as store:
        store.append(make())
        store._read(f"UPDATE episode SET {column} = CAST(x'7bff' AS TEXT)")
        with pytest.raises(CorruptStoreError):
            store.recent(1)


def test_a_log_without_its_database_is_kept(path: Path) -> None:
    with ExperienceStore(path) as store:
        store.append(make())
        log = Path(f"{path}-wal").read_bytes()
    Path(f"{path}-wal").write_bytes(log)
    for harm in (path.unlink, path.touch):
        harm()
        for create in (True, False):
            with pytest.raises(CorruptStoreError, match="still holds episodes"):
                ExperienceStore(path, create=create)
    assert Path(f"{path}-wal").read_bytes() == log


def test_paths_that_cannot_be(path: Path) -> None:
    with pytest.raises(StoreError, match="no experience store at"):
        ExperienceStore(path, create=False)
    assert not path.exists()
    with pytest.raises(StoreError, match="can't use"):
        ExperienceStore(path.parent)
    path.write_bytes(b"")
    with pytest.raises(StoreError, match="can't use"):
        ExperienceStore(path / "below a file.db")
    with ExperienceStore(path) as store:  # an empty file is a new store
        assert len(store) == 0
    with ExperienceStore(path.parent / "new" / "folder" / "experience.db") as store:
        assert len(store) == 0
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.append(make())


def test_a_full_disk_stores_nothing_by_half(path: Path) -> None:
    with ExperienceStore(path) as store:
        store.append(make())
        pages = store._read("PRAGMA page_count")[0][0]
        store._read(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(FullDiskError, match="no room.*Free some space"):
            store.append_many(make(seed, 50) for seed in range(100))
        assert len(store) == 1
        assert store.append(make(1)) == 2  # what fits goes on
        store._read("PRAGMA max_page_count = 1000000")
        assert store.append_many(make(seed, 50) for seed in range(100))[-1] == 102
        store.check()


def test_no_space_reported_by_the_system(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(FullDiskError, match="No space left"):
        ExperienceStore(path)


def test_a_store_moved_away_takes_no_more(path: Path) -> None:
    with ExperienceStore(path) as store:
        store.append(make())
        path.rename(path.with_suffix(".old"))
        with pytest.raises(StoreError, match="moved or deleted"):
            store.append(make())


def test_a_lock_that_is_never_released(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExperienceStore(path) as one, ExperienceStore(path) as two:
        two._db.execute("PRAGMA busy_timeout = 50")
        with one._write(), pytest.raises(BusyStoreError, match="locked"):
            two.append(make())
        assert len(two.recent(1)) == 0 and two.append(make()) == 1


def test_an_interrupt_stores_nothing_by_half(path: Path) -> None:
    with ExperienceStore(path) as store:
        with pytest.raises(KeyboardInterrupt), store._write() as db:
            db.execute("DELETE FROM episode")
            raise KeyboardInterrupt
        assert store.append(make()) == 1 and len(store) == 1


def test_threads_share_a_store(path: Path) -> None:
    with ExperienceStore(path) as store:
        work: Callable[[], object] = lambda: [store.append(make(seed, 1)) for seed in range(25)]  # noqa: E731
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [i for i, _ in store.episodes()] == list(range(1, 101))


def test_a_fork_must_open_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExperienceStore(path) as store, monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        with pytest.raises(StoreError, match="open the store again"):
            store.append(make())


def test_processes_create_and_append_at_once(path: Path) -> None:
    code = """
with ExperienceStore(path) as store:
    print([store.append(make(seed, 3, source=str(number))) for seed in range(60)])
"""
    processes = [run(code, path, number) for number in range(3)]
    ids = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert sorted(sum(ids, [])) == list(range(1, 181))
    with ExperienceStore(path) as store:
        store.check()
        for number in range(3):
            assert [i for i, _ in store.episodes(source=str(number))] == ids[number]
            assert [e.seed for _, e in store.episodes(source=str(number))] == list(range(60))


def test_kill_9_loses_nothing_that_was_stored(path: Path) -> None:
    code = """
store = ExperienceStore(path)
while True:
    number += 1
    print(store.append(make(number, number % 40)), flush=True)
"""
    last = 0
    for round in range(10):
        process = run(code, path, last)
        assert process.stdout is not None
        for _ in range(1 + 13 * round):  # the process goes on appending while the last line is on its way here
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        printed = [int(line) for line in process.communicate()[0].split("\n")[:-1]]
        with ExperienceStore(path) as store:
            store.check()
            stored = len(store)
            assert stored - last >= 1 + 13 * round and stored >= max(printed, default=0)
            for number, episode in store.episodes(after_id=last):
                assert_same(episode, make(number, number % 40))
            last = stored
