"""The Python and the configurations of docs/embedding.md and of the README are carried out as they stand."""

import asyncio
import contextlib
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from doubles import agent_in
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from mcp import Client, StdioServerParameters
from serving import served

from gedanken.agent import loading
from gedanken.embedding import mcp_command
from gedanken.tools.runs import Runs

ROOT = Path(__file__).parents[2]
BLOCKS = [
    (f"{page.name}, {block.splitlines()[0]}", block)
    for page in (ROOT / "README.md", ROOT / "docs" / "embedding.md")
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
]

PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
CONFIGURED = re.findall(r"^```(json|toml)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PROCESS = str(Path(__file__).with_name("mcp_process.py"))
"""Stands in for `gedanken mcp`, with a scripted agent."""


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
    block: str, chat: Caller, runs: Runs, learned: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named: dict[str, Any] = {"chat": chat}
    with Runs(learned) as dreaming, served(dreaming if "generate(" in block else runs) as url:
        dreaming.wake()
        block = block.replace("http://127.0.0.1:8642", url)
        ours = f"command={sys.executable!r}, args=[{PROCESS!r}, {str(tmp_path)!r}, "
        block = block.replace('command="gedanken", args=["mcp", ', ours)
        exec(compile(block, "<page>", "exec"), named)
    said = capsys.readouterr().out
    if "events(" in block:
        assert "reached" in said or "outcome" in said
    if "generate(" in block:
        assert said.count("You see") == 4 and "left" in said
    if "ToolNode" in block:
        assert said == "I am there.\n"
        [answer] = [message for message in named["said"] if isinstance(message, ToolMessage)]
        assert str(answer.content).startswith("reached") and answer.artifact["success"]
    if "StdioServerParameters" in block:
        assert "reached in" in said
    if "gedanken_graph" in block:
        assert "action 1: " in said and "'report': 'go to the red key: reached'" in said


@pytest.mark.parametrize("language, text", CONFIGURED, ids=[" ".join(text.split()[:2]) for _, text in CONFIGURED])
def test_hosts_that_are_configured_like_this_find_the_tools(tmp_path: Path, language: str, text: str) -> None:
    [servers] = (tomllib.loads if language == "toml" else json.loads)(text).values()
    host = servers["gedanken"]
    if "url" in host:
        [_, address, port] = host["url"].removesuffix("/mcp").split(":")
        assert f"http:{address}" == f"http://{default('host')}" and port == str(default("port"))
        return
    [name, *arguments] = host["args"]
    assert (host["command"], name) == ("gedanken", "mcp")
    ours = [PROCESS, str(tmp_path), *arguments]
    parameters = StdioServerParameters(command=sys.executable, args=ours, env=dict(os.environ))

    async def meet() -> None:
        async with Client(parameters) as client:
            assert "act" in {tool.name for tool in (await client.list_tools()).tools}

    asyncio.run(meet())


def default(option: str) -> Any:
    """Return what `gedanken mcp` takes where an option is left out."""
    return next(parameter.default for parameter in mcp_command.params if parameter.name == option)


def test_the_request_of_the_page_is_answered(runs: Runs) -> None:
    [[path, body]] = re.findall(r"^    \$ curl -s localhost:8642(\S+) --json '(.*)'$", PAGE, re.MULTILINE)
    with served(runs) as url:
        assert httpx.post(f"{url}{path}", json=json.loads(body), params={"wait": 30}).json()["state"] == "done"


def test_there_are_as_many_as_ways() -> None:
    text = "".join(block for _, block in BLOCKS)
    for name in (
        "open_agent",
        "gedanken_tool",
        "gedanken_graph",
        "Client(",
        "generate(",
        "ImaginedEnv",
        "StdioServerParameters",
    ):
        assert name in text
