"""Threads and processes share a store, and one that is killed takes nothing along that was stored."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stored_episodes import assert_same, make

from gedanken.worldmodel.experience import BusyStoreError, ExperienceStore, StoreError


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process, which can `make` episodes and has `path` and `number` as its arguments."""
    here = str(Path(__file__).parent)
    start = (
        f"import sys; sys.path.insert(0, {here!r}); from stored_episodes import make; "
        "from gedanken.worldmodel.experience import ExperienceStore; path, number = sys.argv[1], int(sys.argv[2])\n"
    )
    command = [sys.executable, "-c", start + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


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
