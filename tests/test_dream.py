"""`gedanken dream`: from a pipe, with keys, and what it refuses."""

import io
import json
import os
import sys
import termios
from pathlib import Path

import pytest
import torch

from gedanken.cli import run
from gedanken.dream import Happening, keys
from gedanken.worldmodel.checkpoint import Trained, build, save
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    torch.manual_seed(1)
    model, controller = build(SPEC, "spatial", SIZES["debug"].model_dump())
    return str(save(Trained(model, controller, "tiny"), tmp_path / "tiny"))


def test_actions_come_from_a_pipe(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("forward left\nact again right quit forward\n"))
    assert run(["dream", "a red ball", "--checkpoint", checkpoint, "--seed", "3", "--json"]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    names = [moment["action"] for moment in answer["moments"]]
    assert names[:2] == ["forward", "left"] and names[-1] == "right" and answer["there"] == ["red ball"]
    assert "There is to be: red ball" in said.err and "1: forward. You see" in said.err and "\x1b" not in said.err


def test_events_come_from_a_pipe_in_quotes(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('left "a red ball appears" right\n'))
    assert run(["dream", "--checkpoint", checkpoint, "--seed", "3", "--json"]) == 0
    said = capsys.readouterr()
    assert [moment.get("event") for moment in json.loads(said.out)["moments"]] == [None, "a red ball appears", None]
    assert "It happens: red ball." in said.err
    monkeypatch.setattr(sys, "stdin", io.StringIO('"it rains"'))
    assert run(["dream", "--checkpoint", checkpoint]) == 1
    assert "Error: " in capsys.readouterr().err


def test_what_is_no_action_is_refused(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("fly"))
    assert run(["dream", "--checkpoint", checkpoint]) == 2
    assert "'fly' is no action; there are left, right" in capsys.readouterr().err
    assert run(["dream", "make me a coffee", "--checkpoint", checkpoint]) == 1
    assert "names nothing that this world knows" in capsys.readouterr().err


def test_keys_are_read_as_they_are_pressed_and_the_terminal_is_left_as_it_was() -> None:
    person, terminal = os.openpty()
    before = termios.tcgetattr(terminal)
    pressed = keys(terminal)
    os.write(person, b"\x1b[A\x1b[D\x1bOC x q")
    assert [next(pressed) for _ in range(6)] == ["forward", "left", "right", "act", "act", "quit"]
    assert termios.tcgetattr(terminal) != before
    os.write(person, b"ered\x7f\ne\x1br")
    events = [next(pressed) for _ in range(7)]
    assert [event.text for event in events if isinstance(event, Happening)] == ["", "r", "re", "red", "re", "re", ""]
    assert events[5] == Happening("re") and events[6] == Happening("", said=False)
    assert [next(pressed), next(pressed)] == [Happening(""), "again"]
    pressed.close()
    assert termios.tcgetattr(terminal) == before
    os.close(person)
    os.close(terminal)
