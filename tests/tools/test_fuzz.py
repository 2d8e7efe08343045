"""Whatever is sent: the HTTP service and the MCP tools answer it or say why not, and go on. Nothing ever is a 500."""

import asyncio
import contextlib
import json
import logging.handlers
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from doubles import agent_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client

from gedanken.tools.answers import Report
from gedanken.tools.mcp_server import mcp_server
from gedanken.tools.runs import Runs
from gedanken.tools.service import service
from gedanken.tools.work import Workshop

GOAL, PLAN = "go to the red key", "go_to(red key)"
WORKS = ("plan", "rehearse", "simulate", "whatif", "act", "generate")
LITTLE = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda more: st.lists(more, max_size=3) | st.dictionaries(st.text(max_size=8), more, max_size=3),
    max_leaves=6,
)
PLANS = st.sampled_from(
    [PLAN, "", "\n", "go_to()", "go_to(red key", "open(\x00)", "drop()\n" * 7, "go_to(red key)\n\n"]
)
PLANS |= st.text(alphabet="go_t(redky)\n,; →", max_size=40) | st.text(max_size=40)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "goal": st.just(GOAL) | st.text(max_size=320) | JSON,
    "plan": PLANS | JSON,
    "plans": st.lists(PLANS, max_size=20) | JSON,
    "actions": st.lists(st.sampled_from(["left", "forward", "fly", ""]) | st.text(max_size=5), max_size=4) | JSON,
    "change": st.sampled_from(["outside = 2", "x * 1e999"]) | st.text(max_size=40) | JSON,
    "prompt": st.sampled_from(["a red ball", "no red ball"]) | st.text(max_size=320) | JSON,
    "event": st.sampled_from(["the door opens", "a red ball appears"]) | st.text(max_size=320) | JSON,
    "world": st.sampled_from(["BabyAI-GoToObj-v0", "CartPole-v1"]) | st.text(max_size=120) | JSON,
    "interactive": JSON,
    "samples": st.integers(-1, 300) | JSON,
    "horizon": st.integers(-1, 90) | JSON,
    "seed": st.integers() | JSON,
    "initial_state": st.dictionaries(st.sampled_from(["room", "x"]), st.floats() | st.integers(), max_size=2)
    | st.just([[[1, 0, 0]] * 7] * 7)
    | JSON,
    "intervention": st.sampled_from(["outside = 2"]) | st.text(max_size=40) | JSON,
    "run_id": st.text(max_size=40) | JSON,
    "wait": st.floats(-1, 0.01) | JSON,
    "surprise": JSON,
}
BODIES = st.fixed_dictionaries({}, optional=FIELDS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    home: Path = tmp_path_factory.mktemp("fuzzed")

    @contextlib.contextmanager
    def open_() -> Iterator[Workshop]:
        with agent_in(home, lambda prompt: [f"{PLAN}\n"]) as agent:
            yield Workshop(agent, agent.session(3))

    errors = logging.handlers.BufferingHandler(capacity=1_000_000)
    errors.setLevel(logging.ERROR)
    logging.getLogger("gedanken.runs").addHandler(errors)
    with Runs(open_, waiting=100_000) as runs:
        runs.wake()
        yield runs
        for run in list(runs._runs.values()):
            asyncio.run(run.settled(120))
            assert run.over
    logging.getLogger("gedanken.runs").removeHandler(errors)
    assert not errors.buffer, "an unexpected error is none that was meant for people"


@LITTLE
@given(
    method=st.sampled_from(["POST", "POST", "POST", "GET", "DELETE", "PUT"]),
    path=st.sampled_from([*WORKS, "worlds"])
    | st.tuples(st.sampled_from(["runs", "dreams"]), st.text(max_size=12)).map("/".join),
    body=BODIES | JSON | st.binary(max_size=40),
    wait=st.sampled_from(["0", "0", "-1", "nan", "inf", "1e400", "x", ""]),
)
def test_the_service_answers_whatever_is_sent(runs: Runs, method: str, path: str, body: Any, wait: str) -> None:
    async def ask() -> httpx.Response:
        app: Any = service(runs)
        wire = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=wire, base_url="http://localhost") as client:
            url = httpx.URL("http://localhost").join(f"/{quote(path)}")
            if isinstance(body, bytes):
                return await client.request(method, url, params={"wait": wait}, content=body)
            content = json.dumps(body)
            headers = {"content-type": "application/json"}
            return await client.request(method, url, params={"wait": wait}, content=content, headers=headers)

    answer = asyncio.run(ask())
    assert answer.status_code in (200, 202, 404, 405, 422, 307), answer.text
    said = answer.json() if answer.content else {}
    if answer.status_code in (200, 202) and path in WORKS and method == "POST":
        Report.model_validate(said)
    elif answer.status_code >= 400:
        assert said["detail"]


@LITTLE
@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(["plan", "rehearse", "whatif", "act", "dream", "live", "worlds", "status", "stop"])
            | st.text(max_size=8),
            BODIES,
        ),
        max_size=4,
    )
)
def test_mcp_answers_whatever_is_sent(runs: Runs, calls: list[tuple[str, dict[str, Any]]]) -> None:
    async def meet() -> None:
        async with Client(mcp_server(runs)) as client:
            for name, arguments in calls:
                result = await client.call_tool(name, arguments)
                assert result.is_error or result.structured_content
            worlds = await client.call_tool("worlds")
            assert worlds.structured_content and not worlds.is_error

    asyncio.run(meet())
