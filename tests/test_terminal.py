"""Typing in a terminal: history, several lines, Ctrl-C and Ctrl-D."""

from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from gedanken.terminal import Terminal


def test_typing_in_a_terminal(tmp_path: Path) -> None:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        terminal = Terminal(tmp_path / "new" / "history", lambda line: [], lambda: "standing")
        keys.send_text("one\x1b\rtwo\r")  # Alt-Enter begins another line
        assert terminal.line() == "one\ntwo"
        keys.send_text("y\r")
        assert terminal.answer("Do it? ") == "y"
        keys.send_text("\r")
        assert terminal.answer("Plan: ", "go_to(red key)") == "go_to(red key)"
        keys.send_text("half\x03")
        with pytest.raises(KeyboardInterrupt):
            terminal.line()
        keys.send_text("\x04")
        with pytest.raises(EOFError):
            terminal.line()
    kept = (tmp_path / "new" / "history").read_text()
    assert "+one\n+two" in kept and "+y" not in kept
