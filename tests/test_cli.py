"""Commands, exit codes and errors, as a shell sees them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from doubles import Stage, WordCritic, agent_in

from gedanken.agent import loading
from gedanken.agent.agent import Agent
from gedanken.agent.config import LoopConfig
from gedanken.cli import COMMANDS, run
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.experience import ExperienceStore

RIGHT = "go_to(red key)\n"
QUICK = ["--preset", "debug", "--learn-steps", "0"]


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Commands get an agent whose language model says RIGHT; what is put into the dictionary changes it."""
    changes: dict[str, Any] = {}

    @contextmanager
    def open_agent(world: str, config: LoopConfig, *, keep: bool = True) -> Iterator[Agent]:
        script = changes.get("script", lambda prompt: [RIGHT])
        home = checkpoint.home()
        home.mkdir(exist_ok=True)
        with agent_in(home, script, level=world, critic=changes.get("critic"), config=config) as agent:
            yield agent

    monkeypatch.setattr(loading, "open_agent", open_agent)
    return changes


def test_run_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "go to the red key", "--seed", "3", "--json", "--yes", *QUICK]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert said.out.count("\n") == 1
    assert answer["success"] and answer["status"] == "reached" and answer["predicted"] == 0.9
    assert answer["steps"] == len(answer["actions"]) > 0 and answer["stored"]["episode"] == 1
    assert answer["proposals"][0]["verdicts"][0]["plan"] == RIGHT.strip()
    assert "Outcome" in said.err and "\x1b" not in said.err


def test_run_without_a_goal_takes_the_mission(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "--seed", "3", "--quiet", *QUICK]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("reached: go to the red key") and not said.err


def test_run_not_reached(scripted: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    scripted["script"] = lambda prompt: ["go_to(red box)\n"]
    assert run(["run", "--seed", "3", "--replans", "0", "--json", *QUICK]) == 3
    assert json.loads(capsys.readouterr().out)["status"] == "not_reached"


@pytest.mark.parametrize("goal", ["", "   ", "x" * 100_000, "a\x00b"])
def test_what_is_no_goal_is_declined(goal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", goal, "--json"]) == 3
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert answer["status"] == "declined" and answer["steps"] == 0 and answer["can"]
    assert len(said.err) < 3_000 and "go_to(object)" in said.err


def test_coffee_is_declined(scripted: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    scripted["critic"] = WordCritic(satisfies=0.01)
    assert run(["run", "make me a coffee", "--yes", "--json", *QUICK]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "declined" and answer["steps"] == 0 and answer["can"]


def test_plan_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "go to the red key", "--seed", "3", "--json", *QUICK]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "imagined" and answer["actions"] == [] and "stored" not in answer


def test_ctrl_c_is_130_and_keeps_the_episode(
    scripted: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gedanken.agent.session import Session

    take = Session.take

    def interrupted(self: Session, *arguments: Any) -> Any:
        if self.spent == 2:
            raise KeyboardInterrupt
        return take(self, *arguments)

    monkeypatch.setattr(Session, "take", interrupted)
    assert run(["run", "--seed", "3", "--json", *QUICK]) == 130
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "interrupted" and answer["steps"] == 2
    with ExperienceStore(checkpoint.home() / "experience.sqlite") as store:
        assert len(store) == 1


def test_ctrl_c_while_loading_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def open_agent(*arguments: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "open_agent", open_agent)
    assert run(["run", "--json"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nonsense"], 2, "No such command"),
        (["run", "--rounds", "99"], 2, "--rounds 99"),
        (["run", "--seed", "-1"], 2, "--seed"),
        (["run", "a", "b"], 2, "unexpected"),
        (["run", "go to the ball", "--world", "BabyAI-GoToLokal-v0"], 1, "unknown world"),
        (["collect", "--world", "Pong"], 1, "unknown world"),
    ],
)
def test_errors_are_one_line(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == code
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_known_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("GEDANKEN_HOME", "/proc/nowhere")
    assert run(["run", "go to the ball", "--checkpoint", "absent", "--json"]) == 1
    said = capsys.readouterr()
    assert "no checkpoint 'absent'" in said.err and json.loads(said.out)["status"] == "error"


def test_a_corrupt_database_is_one_clear_error(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    home = checkpoint.home()
    home.mkdir()
    (home / "experience.sqlite").write_bytes(b"this is no database " * 500)
    assert run(["collect", "-n", "1"]) == 1
    err = capsys.readouterr().err
    assert "damaged" in err and "move the file away" in err and err.count("\n") == 1
    assert run(["doctor", "--json"]) == 1


def test_unexpected_errors_are_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_agent(*arguments: Any, **more: Any) -> Any:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(loading, "open_agent", open_agent)
    assert run(["run"]) == 1
    assert "ZeroDivisionError: odd (unexpected; GEDANKEN_DEBUG=1" in capsys.readouterr().err
    monkeypatch.setenv("GEDANKEN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["run"])


def test_trace_is_every_event(tmp_path: Path) -> None:
    from gedanken.agent.events import from_line

    path = tmp_path / "trace.jsonl"
    assert run(["run", "--seed", "3", "--quiet", "--trace", str(path), *QUICK]) == 0
    kinds = [from_line(line).kind for line in path.read_text().splitlines()]
    assert kinds[0] == "goal" and kinds[-1] == "stored" and "acted" in kinds


def test_chat_through_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.StringIO("go to the red key\n/history\n/quit\n"))
    assert run(["chat", "--seed", "3", "--yes", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "1  go to the red key: reached" in said and "\x1b" not in said
    monkeypatch.setattr(sys, "stdin", io.StringIO("/history\n"))
    assert run(["chat", "--continue", *QUICK]) == 0
    assert "1  go to the red key: reached" in capsys.readouterr().out


def test_collect_goes_on_where_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    for first in (0, 2):
        assert run(["collect", "-n", "2", "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["episodes"] == 2 and answer["first_seed"] == FIRST_TRAINING_SEED + first


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worlds", "--json"]) == 0
    assert Stage("BabyAI-BossLevel-v0").id in {w["id"] for w in json.loads(capsys.readouterr().out)["worlds"]}
    assert run(["models", "--json"]) == 0
    assert {"checkpoints", "language_models"} == set(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert "Usage: gedanken" in capsys.readouterr().out
