"""What docs/security.md promises of the servers: how tokens are compared, that nothing becomes a path."""

import hmac
import socket
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from serving import served, untrained

from gedanken.tools import guard
from gedanken.tools.refusals import RETRY_AFTER
from gedanken.tools.runs import Runs

TOKEN = "a-token-that-is-long-enough"
MARK = "marked-7f3a"
PATHS = (f"../../{MARK}", f"/etc/{MARK}", f"file:///{MARK}", f"{MARK}.json", f"scripted:{MARK}", f"{MARK}:Env-v0")
FIELDS = {
    "plan": ("goal",),
    "act": ("goal",),
    "rehearse": ("goal", "plans"),
    "whatif": ("plan", "change"),
    "simulate": ("plans", "actions"),
    "generate": ("prompt", "world"),
}
USUAL = {
    "goal": "go to the ball",
    "plan": "go_to(ball)",
    "plans": ["go_to(ball)"],
    "change": "x = 1",
    "prompt": "a ball",
}


class Watch:
    """What is opened, listed, imported or started, as the interpreter audits it; its hooks stay, so one has to do."""

    def __init__(self) -> None:
        self.on, self.touched = False, list[tuple[str, Any]]()
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: Any) -> None:
        if self.on and event.split(".")[0] in (
            "open",
            "os",
            "shutil",
            "import",
            "subprocess",
            "sqlite3",
            "glob",
            "tempfile",
        ):
            self.touched.append((event, repr(arguments)))


WATCH = Watch()


@pytest.fixture
def watch() -> Iterator[Watch]:
    WATCH.touched, WATCH.on = [], True
    yield WATCH
    WATCH.on = False


def test_nothing_that_is_sent_becomes_a_path(watch: Watch) -> None:
    with Runs(untrained) as runs, served(runs) as url, httpx.Client(base_url=url, timeout=60) as client:
        runs.wake()
        for work, fields in FIELDS.items():
            for field in fields:
                for path in PATHS:
                    sent = [path] if field in ("plans", "actions") else path
                    others = {other: USUAL[other] for other in fields if other in USUAL and work != "simulate"}
                    answer = client.post(f"/{work}", json={**others, field: sent}, params={"wait": 30})
                    assert answer.status_code in (200, 422), answer.text
        for path in PATHS:
            for where in ("runs", "dreams"):
                assert client.get(f"/{where}/{path.replace('/', '%2f')}").status_code == 404
        open(__file__, encoding="utf-8").close()
    assert any(__file__ in what for _, what in watch.touched), "it is seen what is opened"
    assert not [what for _, what in watch.touched if MARK in what]


def test_tokens_are_compared_in_constant_time(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = list[bytes]()

    def compare(given: bytes, wanted: bytes) -> bool:
        compared.append(given)
        assert wanted == TOKEN.encode()
        return hmac.compare_digest(given, wanted)

    monkeypatch.setattr(guard, "hmac", type("Compares", (), {"compare_digest": staticmethod(compare)}))
    tokens = ["x", TOKEN[:-1], f"{TOKEN}x", TOKEN]
    with served(runs, TOKEN) as url:
        said = [
            httpx.get(f"{url}/worlds", headers={"Authorization": f"Bearer {token}"}).status_code for token in tokens
        ]
    assert said == [401, 401, 401, 200] and [token.decode() for token in compared] == tokens


@pytest.mark.parametrize("path", ["plan", "nowhere"])
@pytest.mark.parametrize("token", [TOKEN, "wrong"])
def test_a_body_that_never_ends_is_cut_off(runs: Runs, path: str, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    head = [f"POST /{path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", "Transfer-Encoding: chunked"]
    with served(runs, TOKEN) as url, socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0), 30) as wire:
        wire.sendall("\r\n".join([*head, "", ""]).encode())
        with pytest.raises(ConnectionError):
            while True:
                wire.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")


def test_who_sends_a_little_too_much_hears_of_it(runs: Runs) -> None:
    with served(runs) as url:
        for size in (guard.LARGEST_BODY + 1, 20 * guard.LARGEST_BODY):
            answer = httpx.post(f"{url}/plan", content=iter([b" " * size]))
            assert answer.status_code == 413 and "send less" in answer.json()["detail"]


def test_no_answer_lets_another_page_read_it(runs: Runs) -> None:
    with served(runs, TOKEN) as url:
        for token, method in ((TOKEN, "GET"), ("wrong", "GET"), (TOKEN, "OPTIONS")):
            headers = {"Authorization": f"Bearer {token}", "Origin": "http://evil.example"}
            answer = httpx.request(method, f"{url}/worlds", headers=headers)
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_who_was_sent_away_comes_back_on_the_same_connection() -> None:
    assert guard.server(guard.Guard(None)).config.timeout_keep_alive > RETRY_AFTER  # type: ignore[arg-type]
