"""Workplaces for the servers' tests: scripted agents, without a network and without a checkpoint."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles import agent_in
from serving import untrained

from gedanken.tools.runs import Runs
from gedanken.tools.work import Workshop

RIGHT = "go_to(red key)\n"
Opening = Callable[[], contextlib.AbstractContextManager[Workshop]]


class Gate:
    """A language model's script that answers when it is let through; `asked` tells that it was asked."""

    def __init__(self) -> None:
        self.asked, self.open = threading.Event(), threading.Event()

    def __call__(self, prompt: str) -> list[str]:
        self.asked.set()
        assert self.open.wait(60)
        return [RIGHT]


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def opening(tmp_path: Path) -> Callable[..., Opening]:
    """Return what makes openings of a workplace with a red key in it; the agent says RIGHT unless told otherwise."""

    def make(script: Any = lambda prompt: [RIGHT], **more: Any) -> Opening:
        @contextlib.contextmanager
        def open_() -> Iterator[Workshop]:
            with agent_in(tmp_path, script, **more) as agent:
                yield Workshop(agent, agent.session(3))

        return open_

    return make


@pytest.fixture
def runs(opening: Callable[..., Opening]) -> Iterator[Runs]:
    """Runs of an agent that says RIGHT."""
    with Runs(opening()) as runs:
        runs.wake()
        yield runs


@pytest.fixture
def learned() -> Opening:
    """Open a workplace with an untrained world model of the smallest size."""
    return untrained
