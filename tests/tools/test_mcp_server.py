"""The MCP server through the SDK's own client: in memory, over stdio, over HTTP."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from gedanken.tools.answers import Answer, Dream, Judgements, Report, Worlds
from gedanken.tools.mcp_server import mcp_server
from gedanken.tools.runs import Runs

GOAL, PLAN = "go to the red key", "go_to(red key)"
PROCESS = str(Path(__file__).with_name("mcp_process.py"))
TOKEN = "a-token-that-is-long-enough"


def report(result: CallToolResult) -> Report:
    assert not result.is_error, result.content
    return Report.model_validate(result.structured_content)


def words(result: CallToolResult) -> str:
    assert result.is_error
    return " ".join(part.text for part in result.content if part.type == "text")


async def finished(client: Client, result: CallToolResult) -> Report:
    now = report(result)
    while not now.over:
        now = report(await client.call_tool("status", {"run_id": now.run_id, "wait": 20}))
    return now


def in_memory(runs: Runs, talk: Callable[[Client], Awaitable[None]]) -> None:
    async def meet() -> None:
        async with Client(mcp_server(runs)) as client:
            await talk(client)

    try:
        asyncio.run(meet())
    finally:
        runs.close()


async def a_whole_conversation(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"plan", "rehearse", "whatif", "act", "dream", "live", "worlds", "status", "stop"}
    assert all(tool.output_schema and tool.description for tool in tools.values())
    planned = await finished(client, await client.call_tool("plan", {"goal": GOAL}))
    assert isinstance(planned.result, Answer) and planned.result.status == "imagined"
    place = Worlds.model_validate((await client.call_tool("worlds")).structured_content)
    assert place.here.seed == 3 and "red key" in place.here.sees
    judged = await finished(client, await client.call_tool("rehearse", {"goal": GOAL, "plans": [PLAN]}))
    assert isinstance(judged.result, Judgements) and judged.result.judged[0].plan == PLAN
    acted = await finished(client, await client.call_tool("act", {"goal": GOAL}))
    assert isinstance(acted.result, Answer) and acted.result.success and acted.result.actions
    assert "no skill 'fly'" in words(await client.call_tool("rehearse", {"goal": GOAL, "plans": ["fly(x)"]}))
    assert report(await client.call_tool("plan", {"goal": GOAL})).state in ("done", "running")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_in_memory(opening: Any, mode: str) -> None:
    async def meet() -> None:
        async with Client(mcp_server(runs), mode=mode) as client:
            await a_whole_conversation(client)

    with Runs(opening()) as runs:
        asyncio.run(meet())


def test_a_dream_is_lived_in(learned: Any) -> None:
    async def talk(client: Client) -> None:
        begun = await finished(client, await client.call_tool("dream", {"prompt": "a locked blue door", "seed": 7}))
        assert isinstance(begun.result, Dream) and begun.result.there == ["locked blue door"]
        mine = {"dream_id": begun.result.dream_id}
        lived = await finished(client, await client.call_tool("live", {**mine, "actions": ["left", "forward"]}))
        assert isinstance(lived.result, Dream) and [now.what for now in lived.result.moments] == ["left", "forward"]
        happened = await finished(client, await client.call_tool("live", {**mine, "event": "a red ball appears"}))
        assert isinstance(happened.result, Dream) and happened.result.now.what == "red ball"
        assert "either actions or an event" in words(await client.call_tool("live", mine))
        assert "seed Input should be" in words(await client.call_tool("dream", {"prompt": "a ball", "seed": -1}))

    runs = Runs(learned)
    runs.start()
    runs.wake()
    in_memory(runs, talk)


def test_progress_is_told(opening: Any) -> None:
    heard: list[tuple[float, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async def talk(client: Client) -> None:
        await client.call_tool("act", {"goal": GOAL}, progress_callback=hear)

    runs = Runs(opening())
    runs.start()
    runs.wake()
    in_memory(runs, talk)
    assert heard and [progress for progress, _ in heard] == sorted(progress for progress, _ in heard)
    assert all(message for _, message in heard)


def test_a_long_run_answers_within_three_seconds_and_is_never_silent(opening: Any, gate: Any) -> None:
    pulses: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        pulses.append(message)

    async def talk(client: Client) -> None:
        began = time.monotonic()
        running = report(await client.call_tool("act", {"goal": GOAL}, progress_callback=hear))
        assert time.monotonic() - began < 3 and running.state == "running" and len(pulses) >= 2
        queued = report(await client.call_tool("status", {"run_id": running.run_id}))
        assert queued.state == "running" and queued.news
        gate.open.set()
        done = report(await client.call_tool("status", {"run_id": running.run_id, "wait": 20}))
        assert isinstance(done.result, Answer) and done.result.success

    runs = Runs(opening(gate))
    runs.start()
    runs.wake()
    in_memory(runs, talk)


def test_a_cancelled_call_ends_its_run(opening: Any, gate: Any) -> None:
    async def talk(client: Client) -> None:
        call = asyncio.create_task(client.call_tool("act", {"goal": GOAL}))
        assert await asyncio.to_thread(gate.asked.wait, 60)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        gate.open.set()
        [run] = runs._runs.values()
        await run.settled(60)
        assert run.state == "stopped"

    runs = Runs(opening(gate))
    in_memory(runs, talk)


def test_errors_are_results(opening: Any) -> None:
    async def talk(client: Client) -> None:
        assert "the goal is empty" in words(await client.call_tool("plan", {"goal": "  "}))
        assert "goal" in words(await client.call_tool("act", {}))
        assert "no run has the id" in words(await client.call_tool("status", {"run_id": "unknown"}))
        assert "Unknown tool" in words(await client.call_tool("fly"))
        assert (await finished(client, await client.call_tool("act", {"goal": GOAL}))).state == "done"

    runs = Runs(opening())
    runs.start()
    runs.wake()
    in_memory(runs, talk)


def test_a_model_that_does_not_load_is_an_error_that_says_why() -> None:
    def broken() -> Any:
        raise OSError("gone")

    async def talk(client: Client) -> None:
        assert "unexpected error (OSError)" in words(await client.call_tool("worlds"))
        assert "unexpected error (OSError)" in words(await client.call_tool("plan", {"goal": GOAL}))

    in_memory(Runs(broken), talk)


def test_over_stdio(tmp_path: Path) -> None:
    parameters = StdioServerParameters(command=sys.executable, args=[PROCESS, str(tmp_path)], env=dict(os.environ))

    async def meet() -> None:
        async with Client(parameters) as client:
            await a_whole_conversation(client)

    asyncio.run(meet())


def test_nothing_but_the_protocol_on_stdout(tmp_path: Path) -> None:
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}
    asked: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "act", "arguments": {"goal": GOAL}}},
    ]
    with subprocess.Popen(
        [sys.executable, PROCESS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        for message in asked:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        lines = []
        while not lines or json.loads(lines[-1]).get("id") != 2:
            lines.append(process.stdout.readline())
        run_id = json.loads(lines[-1])["result"]["structuredContent"]["run_id"]
        wait = {"name": "status", "arguments": {"run_id": run_id, "wait": 30}}
        process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": wait}) + "\n")
        process.stdin.flush()
        while json.loads(lines[-1]).get("id") != 3:
            lines.append(process.stdout.readline())
        assert json.loads(lines[-1])["result"]["structuredContent"]["state"] == "done"
        rest, said = process.communicate(timeout=60)
    assert process.returncode == 0 and rest == ""
    for printed in ("loading prints", "a library prints", "a C library prints"):
        assert printed in said


@contextlib.asynccontextmanager
async def process_over_http(home: Path, **env: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(PROCESS, str(home), "--transport", "http", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ) | env,
    )
    assert process.stdout
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


def test_over_http(tmp_path: Path) -> None:
    async def meet() -> None:
        async with process_over_http(tmp_path) as url:
            assert url.startswith("http://127.0.0.1:") and url.endswith("/mcp")
            async with Client(url) as client:
                await a_whole_conversation(client)
            async with httpx2.AsyncClient() as stranger:
                assert (await stranger.post(url, headers={"Host": "evil.example"})).status_code == 421

    asyncio.run(meet())


def test_over_http_with_a_token(tmp_path: Path) -> None:
    async def meet() -> None:
        async with process_over_http(tmp_path, GEDANKEN_TOKEN=TOKEN) as url:
            async with httpx2.AsyncClient() as stranger:
                assert (await stranger.post(url)).status_code == 401
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with (
                httpx2.AsyncClient(headers=headers) as http,
                Client(streamable_http_client(url, http_client=http)) as client,
            ):
                assert (await client.list_tools()).tools

    asyncio.run(meet())
