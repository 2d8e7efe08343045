"""A store that is damaged, foreign, full or gone is an error that says so; what is there stays as it is."""

import os
import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stored_episodes import make

from gedanken.worldmodel.experience import (
    CorruptEpisodeError,
    CorruptStoreError,
    ExperienceStore,
    ForeignStoreError,
    FullDiskError,
    NewerStoreError,
    StoreError,
)


def test_a_newer_store_is_refused_unchanged(path: Path) -> None:
    with ExperienceStore(path) as store:
        store.append(make())
        store._read("PRAGMA user_version = 9")
    before = path.read_bytes()
    with pytest.raises(NewerStoreError, match="made by a newer Gedanken: version 9, this one knows 2.*Upgrade"):
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
