"""The Python of docs/embedding.md and of the README is carried out as it stands."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles import agent_in
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from serving import served

from gedanken.agent import loading
from gedanken.tools.runs import Runs

ROOT = Path(__file__).parents[2]
BLOCKS = [
    (f"{page.name}, {block.splitlines()[0]}", block)
    for page in (ROOT / "README.md", ROOT / "docs" / "embedding.md")
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
]


class Caller(GenericFakeChatModel):
    """A chat model that calls its tool once."""

    def bind_tools(self, tools: Any, **more: Any) -> Any:
        assert [tool.name for tool in tools] == ["gedanken"]
        return self


@pytest.fixture
def chat() -> Caller:
    call = {"name": "gedanken", "args": {"goal": "go to the red key"}, "id": "1"}
    return Caller(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("I am there.")]))  # type: ignore[list-item]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextlib.contextmanager
    def open_agent(world: str, config: Any = None, *, keep: bool = True) -> Iterator[Any]:
        plan = {"PutNextLocal": "put_next_to(purple ball, yellow box)\n"}.get(world.split("-")[1], "go_to(red key)\n")
        with agent_in(tmp_path, lambda prompt: [plan], level=world) as agent:
            yield agent

    monkeypatch.setattr(loading, "open_agent", open_agent)


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize("block", [block for _, block in BLOCKS], ids=[name for name, _ in BLOCKS])
def test_the_pages_work_as_they_stand(
    block: str, chat: Caller, runs: Runs, learned: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    named: dict[str, Any] = {"chat": chat}
    with Runs(learned) as dreaming, served(dreaming if "generate(" in block else runs) as url:
        dreaming.wake()
        exec(compile(block.replace("http://127.0.0.1:8642", url), "<page>", "exec"), named)
    said = capsys.readouterr().out
    if "events(" in block:
        assert "reached" in said or "outcome" in said
    if "generate(" in block:
        assert said.count("You see") == 4 and "left" in said
    if "ToolNode" in block:
        assert said == "I am there.\n"
        [answer] = [message for message in named["said"] if isinstance(message, ToolMessage)]
        assert str(answer.content).startswith("reached") and answer.artifact["success"]
    if "gedanken_graph" in block:
        assert "action 1: " in said and "'report': 'go to the red key: reached'" in said


def test_there_are_as_many_as_ways() -> None:
    text = "".join(block for _, block in BLOCKS)
    for name in ("open_agent", "gedanken_tool", "gedanken_graph", "Client(", "generate(", "ImaginedEnv"):
        assert name in text
