"""A conversation in a process of its own: Ctrl-C in a terminal, kill -9 and --continue."""

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gedanken.agent.journal import Journal
from gedanken.worldmodel.experience import ExperienceStore

Start = Callable[..., "subprocess.Popen[str]"]
PROCESS = Path(__file__).with_name("process.py")


@pytest.fixture
def chat() -> Iterator[Start]:
    """Start chats in processes of their own; whatever is left of them at the end is killed."""
    with contextlib.ExitStack() as stack:

        def start(home: Path, slow: float, *more: str) -> subprocess.Popen[str]:
            process = stack.enter_context(_process(home, slow, *more))
            stack.callback(process.kill)
            return process

        yield start


def _process(home: Path, slow: float, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROCESS), str(home), str(slow), *more]
    environment = {**os.environ, "GEDANKEN_HOME": str(home)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def wait_for_actions(home: Path, count: int) -> None:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        if (home / "journal.sqlite").exists():
            with Journal(home / "journal.sqlite") as journal:
                last = journal.last()
                if last and sum(a.done and a.turn is not None for a in journal.actions(last.id)) >= count:
                    return
        time.sleep(0.05)
    raise AssertionError("nothing was done in 150 s")


def read_until(screen: int, pattern: str) -> None:
    said, deadline = "", time.monotonic() + 150
    while not re.search(pattern, said, re.DOTALL):
        ready, _, _ = select.select([screen], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, said
        said += os.read(screen, 65536).decode(errors="replace")


def test_ctrl_c_in_a_terminal_comes_back_to_the_prompt(tmp_path: Path) -> None:
    keys, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, str(PROCESS), str(tmp_path), "0.5"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C becomes a signal
        env={**os.environ, "GEDANKEN_HOME": str(tmp_path), "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"},
    ) as process:
        try:
            read_until(keys, "›")
            os.write(keys, b"go to the red key\r")
            read_until(keys, "action 1 …")
            os.write(keys, b"\x03")
            read_until(keys, "Interrupted after.*›")
            os.write(keys, b"\x04")
            assert process.wait(60) == 0
        finally:
            process.kill()
            os.close(keys)
            os.close(terminal)
    with ExperienceStore(tmp_path / "experience.sqlite") as store:
        assert len(store) == 1
    assert (tmp_path / "chat_history").read_text().endswith("+go to the red key\n")


def test_killed_while_acting_it_goes_on(tmp_path: Path, chat: Start) -> None:
    process = chat(tmp_path, 0.5)
    assert process.stdin
    process.stdin.write("go to the red key\n")
    process.stdin.flush()
    wait_for_actions(tmp_path, 2)
    process.kill()
    process.communicate()

    with Journal(tmp_path / "journal.sqlite") as journal:
        conversation = journal.last()
        assert conversation
        before = [a for a in journal.actions(conversation.id) if a.done and a.turn is not None]
        # as if the process had died between the intention and the action
        journal.intend(conversation.id, before[-1].number + 1, before[-1].turn, 2, "go_to(red key)", 0)
    out, err = chat(tmp_path, 0.0, "--continue").communicate("/history\n", timeout=250)
    assert "Traceback" not in err and "Resumes" in out and "never confirmed" in out, (out, err)
    assert "1  go to the red key: reached" in out
    with ExperienceStore(tmp_path / "experience.sqlite") as store:
        [(_, episode)] = store.recent(5)
    assert len(episode) > len(before) and episode.actions[: len(before)].tolist() == [a.action for a in before]
    assert episode.record["outcome"]["success"]
    again, _ = chat(tmp_path, 0.0, "--continue").communicate("/history\n", timeout=250)
    assert "Resumes" not in again and "1  go to the red key: reached" in again


def test_ctrl_c_while_acting(tmp_path: Path, chat: Start) -> None:
    process = chat(tmp_path, 0.5)
    assert process.stdin
    process.stdin.write("go to the red key\n")
    process.stdin.flush()
    wait_for_actions(tmp_path, 1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=150)
    assert "Interrupted after" in out and "--continue" in out
    with ExperienceStore(tmp_path / "experience.sqlite") as store:
        [(_, episode)] = store.recent(5)
    assert len(episode) >= 1 and episode.record["outcome"]["status"] == "interrupted"
