"""Commands that show or change the world, the language model and what was learnt; help."""

from pathlib import Path
from typing import Any

import pytest
from talking import talk

from gedanken.agent.agent import Agent
from gedanken.agent.chat.commands import COMMANDS, table
from gedanken.worldmodel.learn import LearnReport

README = Path(__file__).parents[3] / "README.md"


def test_world_shows_and_changes(agent: Agent) -> None:
    bad = ["/world nowhere", "/world a b c", "/world 99999999999999999999", "/world [/]", "/world ²"]
    said = talk(agent, "/world", "/world 7", "/world BabyAI-OpenDoor-v0 2", *bad)
    assert "from 0 to 1,073,741,823" in said and "unknown world '[/]'" in said and "unknown world '²'" in said
    assert (
        "seed 7" in said and "BabyAI-OpenDoor-v0, seed 2" in said and "unknown world" in said and "write /world" in said
    )


def test_help_knows_every_command(agent: Agent) -> None:
    said = talk(agent, "/help", "/help why", "/nonsense", "/hepl", "/")
    for command in COMMANDS.values():
        assert command.usage in said and command.help in said
    assert said.count("Show side by side") == 3 and "go_to(object)" in said
    assert "no command /nonsense; there are /imagine" in said and "no command /hepl; did you mean /help?" in said


def test_the_readme_has_every_command() -> None:
    assert table() in README.read_text()


def test_another_language_model(agent: Agent) -> None:
    said = talk(agent, "/llm", "/llm [/bold]", "/llm go_to(red key)", "/imagine go to the red key", "/models")
    assert "scripted writes the plans" in said and "go_to(red key) writes the plans" in said
    assert "Only imagined" in said and "world model" in said
    assert agent.config.llm == "go_to(red key)"


def test_learning_now(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def learn(trained: Any, store: Any, *, steps: int, seed: int) -> LearnReport:
        asked.append(steps)
        return LearnReport(steps, {"views": 2.0}, {"views": 1.5}, Path("/somewhere/babyai-1"), 0.1)

    monkeypatch.setattr("gedanken.worldmodel.learn.learn", learn)
    said = talk(agent, "/learn", "/learn 0", "/learn many", "/learn 3")
    assert asked == [3] and "--learn-steps is 0" in said and said.count("1 to 10,000 steps") == 2
    assert "Learnt: 3 gradient steps, loss 2.000 → 1.500, into checkpoint babyai-1." in said
    assert "views: 2.000 → 1.500" in said


def test_learning_from_nothing(agent: Agent) -> None:
    assert "no episode of this world is stored yet" in talk(agent, "/learn 3")
