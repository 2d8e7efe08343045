"""The HTTP service as a client meets it: a real server on a free port of this machine."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from serving import served

from gedanken.tools import guard
from gedanken.tools.answers import Answer, Judgements, Simulation
from gedanken.tools.client import Client, ServiceError
from gedanken.tools.guard import Guard, check_address, listen
from gedanken.tools.refusals import Refused
from gedanken.tools.runs import Runs

GOAL, PLAN = "go to the red key", "go_to(red key)"
TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def client(runs: Runs) -> Iterator[Client]:
    with served(runs) as url, Client(url) as client:
        yield client


def test_plan_act_and_look(client: Client) -> None:
    assert "red key" in client.worlds().here.sees
    planned = client.finish(client.plan(GOAL))
    assert isinstance(planned.result, Answer) and planned.result.status == "imagined"
    acted = client.finish(client.act(GOAL, wait=0))
    assert isinstance(acted.result, Answer) and acted.result.success
    assert client.run(acted.run_id) == acted
    judged = client.finish(client.rehearse(GOAL, [PLAN]))
    assert isinstance(judged.result, Judgements) and judged.result.judged[0].plan == PLAN


def test_events_stream_and_resume(client: Client) -> None:
    report = client.act(GOAL, wait=0)
    kinds = [event.kind for event in client.events(report.run_id)]
    assert kinds[0] == "goal" and "acted" in kinds and kinds[-1] == "stored"
    assert [event.kind for event in client.events(report.run_id, since=2)] == kinds[2:]


def test_the_stream_ends_with_the_report(client: Client) -> None:
    report = client.finish(client.plan(GOAL))
    raw = client._http.get(f"/runs/{report.run_id}/events")
    assert raw.headers["content-type"].startswith("text/event-stream")
    *_, last = raw.text.strip().split("\n\n")
    assert last == f"event: report\ndata: {report.model_dump_json()}"


def test_simulate(learned: Any) -> None:
    with Runs(learned) as runs, served(runs) as url, Client(url) as client:
        runs.wake()
        plans = client.finish(client.simulate(plans=[PLAN], samples=4, horizon=2))
        assert isinstance(plans.result, Simulation) and plans.result.plans[0].views
        actions = client.finish(client.simulate(policy=["left", "forward"], samples=4))
        assert isinstance(actions.result, Simulation) and actions.result.actions
        view: Any = actions.result.actions.views[0]
        for policy in (PLAN, ["left"]):
            there = client.finish(client.simulate(view, policy, 2, samples=4))
            assert isinstance(there.result, Simulation), there.error
        for state, said in (
            ({"room": 1.0}, "is a view: 7 × 7 × 3 codes"),
            (view[1:], "is a view: 7 × 7 × 3 codes"),
            ([[[99, 0, 0]] * 7] * 7, "has codes from 0 to"),
        ):
            with pytest.raises(ServiceError, match=said):
                client.simulate(state, PLAN)
        with pytest.raises(ServiceError, match="shows a grid"):
            client.simulate(policy=PLAN, intervention="outside = 2")


@pytest.mark.parametrize(
    ("ask", "status", "said"),
    [
        (lambda c: c.plan("  "), 422, "the goal is empty"),
        (lambda c: c.rehearse(GOAL, ["fly(red key)"]), 422, "no skill 'fly'"),
        (lambda c: c._ask("POST", "/plan", json={"goal": GOAL, "world": "/etc/passwd"}), 422, "world: Extra inputs"),
        (lambda c: c._ask("POST", "/plan", content=b"{"), 422, ""),
        (lambda c: c._ask("POST", "/plan", content=b'{"goal": "' + b"x" * 70_000 + b'"}'), 413, "send less"),
        (lambda c: c.run("..%2f..%2fetc%2fpasswd"), 404, ""),
        (lambda c: c.stop("unknown"), 404, "no run has the id"),
        (lambda c: list(c.events("unknown")), 404, "no run has the id"),
        (lambda c: c.plan(GOAL, wait=31), 422, "wait: Input should be less"),
    ],
)
def test_what_is_refused(client: Client, ask: Callable[[Client], Any], status: int, said: str) -> None:
    with pytest.raises(ServiceError) as refused:
        ask(client)
    assert refused.value.status == status and said in str(refused.value)


def test_a_long_run_is_202_and_a_full_queue_429(opening: Any, gate: Any) -> None:
    with Runs(opening(gate), waiting=1) as runs, served(runs) as url, Client(url) as client:
        runs.wake()
        first = client._http.post("/act", json={"goal": GOAL}, params={"wait": 0})
        assert first.status_code == 202 and first.headers["location"] == f"/runs/{first.json()['run_id']}"
        assert gate.asked.wait(60)
        waiting = client.plan(GOAL, wait=0)
        assert waiting.state == "queued" and waiting.ahead == 1
        with pytest.raises(ServiceError) as refused:
            client.plan(GOAL)
        assert refused.value.status == 429 and refused.value.retry_after == 5
        assert client.stop(waiting.run_id).state == "stopped"
        gate.open.set()
        assert client.finish(client.run(first.json()["run_id"])).state == "done"


def test_a_token_is_wanted_for_everything(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    with served(runs, TOKEN) as url:
        for path in ("/worlds", "/dreams/unknown", "/openapi.json", "/nowhere"):
            for token in (None, "wrong", "töken", TOKEN[:-1]):
                headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
                answer = httpx.get(url + path, headers=headers)
                assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        with Client(url, token=TOKEN) as client:
            assert client.worlds().here.seed == 3
    assert TOKEN not in caplog.text


def test_no_other_page_reaches_it(runs: Runs) -> None:
    with served(runs) as url:
        assert httpx.get(url + "/worlds", headers={"Host": "evil.example"}).status_code == 421
        answer = httpx.options(url + "/act", headers={"Origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        plain = httpx.post(url + "/act", content=b'{"goal": "x"}', headers={"Content-Type": "text/plain"})
        assert plain.status_code == 422


def test_a_body_that_never_arrives(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.1)
    with served(runs) as url, socket.create_connection(("127.0.0.1", httpx.URL(url).port)) as wire:
        wire.sendall(b"POST /plan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        assert b"408" in wire.recv(100)


def test_openapi_has_examples_and_answers(client: Client) -> None:
    description = client._ask("GET", "/openapi.json")
    assert set(description["paths"]) == {
        *("/plan", "/act", "/rehearse", "/simulate", "/whatif", "/worlds"),
        *("/runs/{id}", "/runs/{id}/events", "/generate", "/dreams/{id}"),
    }
    schemas = description["components"]["schemas"]
    assert schemas["PlanRequest"]["properties"]["goal"]["examples"]
    assert schemas["GenerateRequest"]["properties"]["prompt"]["examples"] and schemas["LiveRequest"]["examples"]
    assert {"404", "429"} <= set(description["paths"]["/dreams/{id}"]["post"]["responses"])
    assert {"200", "202", "401", "413", "422", "429", "503"} <= set(description["paths"]["/act"]["post"]["responses"])


@pytest.mark.parametrize(
    ("host", "token"), [("0.0.0.0", None), ("192.168.1.5", None), ("::", None), ("example.org", None), ("::1", "short")]
)
def test_an_open_door_is_refused(host: str, token: str | None) -> None:
    with pytest.raises(Refused, match="GEDANKEN_TOKEN"):
        check_address(host, token)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.1:80", "[::1]:80"])
def test_this_machine_needs_no_token(host: str) -> None:
    check_address(host, None)
    check_address("0.0.0.0", TOKEN)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as wire, pytest.raises(Refused, match="choose another --port"):
        listen(Guard(None), "127.0.0.1", wire.getsockname()[1], print)  # type: ignore[arg-type]
