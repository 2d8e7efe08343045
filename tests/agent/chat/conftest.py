"""An agent that goes to a red key, whatever it is asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles import agent_in

from gedanken.agent.agent import Agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_in(tmp_path, lambda prompt: ["go_to(red key)\n"]) as agent:
        yield agent
