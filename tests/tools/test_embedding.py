"""`gedanken serve` and `gedanken mcp` as a shell sees them."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from doubles import agent_in

from gedanken import embedding
from gedanken.agent import loading
from gedanken.cli import run
from gedanken.tools.client import Client

GOAL = "go to the red key"
QUICK = ["--seed", "3", "--preset", "debug", "--learn-steps", "0", "--port", "0"]
TOKEN = "a-token-that-is-long-enough"


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextlib.contextmanager
    def open_agent(world: str, config: Any, *, keep: bool = True) -> Iterator[Any]:
        print("loading prints")
        with agent_in(tmp_path, lambda prompt: ["go_to(red key)\n"], level=world, config=config) as agent:
            yield agent

    monkeypatch.setattr(loading, "open_agent", open_agent)


@pytest.mark.usefixtures("scripted")
def test_serve_says_its_address_and_ends_on_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEDANKEN_TOKEN", TOKEN)
    states: list[str] = []
    echo = click.echo

    def visit(url: str) -> None:
        with Client(url, token=TOKEN) as client:
            states.append(client.finish(client.act(GOAL)).state)
        signal.raise_signal(signal.SIGINT)

    def told(message: str, **more: Any) -> None:
        echo(message, **more)
        if message.startswith("http"):
            threading.Thread(target=visit, args=(message,)).start()

    monkeypatch.setattr(click, "echo", told)
    assert run(["serve", *QUICK]) == 130
    said = capsys.readouterr()
    assert states == ["done"]
    assert said.out.startswith("http://127.0.0.1:") and said.out.count("\n") == 1
    assert "loading prints" in said.err and TOKEN not in said.err


@pytest.mark.parametrize("command", [["serve"], ["mcp", "--transport", "http"]])
def test_other_addresses_need_a_token(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GEDANKEN_TOKEN", raising=False)
    assert run([*command, "--host", "0.0.0.0", *QUICK]) == 1
    assert "set GEDANKEN_TOKEN" in capsys.readouterr().err


def test_a_world_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--world", "Pong", *QUICK]) == 1
    assert "unknown world" in capsys.readouterr().err


def test_a_missing_extra_is_named() -> None:
    with pytest.raises(click.ClickException, match=r"pip install 'gedanken\[serve\]'"), embedding.extra("serve"):
        import no_such_package  # type: ignore[import-not-found]  # noqa: F401
