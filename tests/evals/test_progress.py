"""Progress is a line now and then in a pipe, and a bar with the time left in a terminal."""

import io

import pytest

from gedanken.evals import progress
from gedanken.evals.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_few_lines_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    with Progress("suite x", 60, 10, stream) as shown:
        for _ in range(50):
            clock[0] += 3
            shown.advance("a task")
    lines = stream.getvalue().splitlines()
    assert lines[:2] == [
        "suite x: 60 samples, 10 of them there already",
        "suite x: 17 of 60, 2 min 9 s left, a task",
    ], "seven samples of three seconds, 43 to go"
    assert lines[-1] == "suite x: 60 of 60, 0 s left, a task" and len(lines) == 1 + 150 // 21 + 1


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress("suite x", 3, 1, stream) as shown:
        shown.advance("a task")
        shown.advance("a task")
    assert "3/3" in stream.getvalue() and "left" in stream.getvalue() and "\x1b[" in stream.getvalue()


def test_durations() -> None:
    assert [duration(s) for s in (0.2, 59.4, 61, 7_322)] == ["0 s", "59 s", "1 min 1 s", "2 h 2 min"]
