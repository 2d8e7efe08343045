"""The conversation through a pipe: commands, approval, kill -9 and --continue, Ctrl-C."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles import Stage, agent_in
from rich.console import Console

from gedanken.agent.agent import Agent
from gedanken.agent.chat import COMMANDS, Chat
from gedanken.agent.journal import Journal
from gedanken.worldmodel.experience import ExperienceStore

Start = Callable[..., "subprocess.Popen[str]"]
PROCESS = Path(__file__).with_name("chat_process.py")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_in(tmp_path, lambda prompt: ["go_to(red key)\n"]) as agent:
        yield agent


def talk(agent: Agent, *lines: str, yes: bool = True) -> str:
    """What a chat answers to lines typed."""
    typed, screen = iter(lines), io.StringIO()

    def ask(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    find: Any = Stage
    Chat(agent, agent.session(3), Console(file=screen, width=200), ask, yes=yes, find_world=find).run()
    return screen.getvalue()


def test_goals_why_and_history(agent: Agent) -> None:
    said = talk(agent, "go to the red key", "/why", "/history", "/quit", "never read")
    assert "reached" in said and "the critic expects 90%" in said
    assert "1  go to the red key: reached" in said
    assert "\x1b" not in said


def test_help_knows_every_command(agent: Agent) -> None:
    said = talk(agent, "/help", "/help why", "/nonsense")
    for name in COMMANDS:
        assert f"/{name}" in said
    assert "imagine only" in said and "no command /nonsense" in said and "go_to(object)" in said


def test_plan_imagines_only(agent: Agent) -> None:
    said = talk(agent, "/plan go to the red key", "/history")
    assert "imagined" in said and "No goals yet" in said
    assert agent.store is not None and len(agent.store) == 0


def test_world_shows_and_changes(agent: Agent) -> None:
    said = talk(agent, "/world", "/world 7", "/world BabyAI-OpenDoor-v0 2", "/world nowhere", "/world a b c")
    assert (
        "seed 7" in said and "BabyAI-OpenDoor-v0, seed 2" in said and "unknown world" in said and "write /world" in said
    )


def test_approval(agent: Agent) -> None:
    assert "not approved" in talk(agent, "go to the red key", "n", yes=False)
    assert "reached" in talk(agent, "go to the red key", "y", yes=False)
    assert "not approved" in talk(agent, "go to the red key", yes=False)


def test_bad_goals_do_not_end_it(agent: Agent) -> None:
    said = talk(agent, "x" * 3000, "a\x07b", "go to the red key")
    assert "3,000 characters" in said and "U+0007" in said and "reached" in said


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
    assert "interrupted" in out and "--continue" in out
    with ExperienceStore(tmp_path / "experience.sqlite") as store:
        [(_, episode)] = store.recent(5)
    assert len(episode) >= 1 and episode.record["outcome"]["status"] == "interrupted"
