"""The conversation: a goal is imagined, approved, carried out and answered in words; Ctrl-C."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest
from doubles import WordCritic, agent_in
from talking import begin, heard, talk

from gedanken.agent.agent import Agent
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.verdict import Verdict


def test_a_goal_is_answered_in_words(agent: Agent) -> None:
    said = talk(agent, "go to the red key", "/why", "/history", "/quit", "never read")
    assert "Reached: go_to(red key), every step achieved in" in said and "90 % had been expected" in said
    assert "I expect it to work: 90 % (45–95 %), in about 1 action." in said and "Kept as episode 1" in said
    assert "Beforehand: I expect it to work" in said and "the critic expects 90%" in said and "works out" in said
    assert "1  go to the red key: reached" in said
    assert "\x1b" not in said


def test_doubt_is_said(tmp_path: Path) -> None:
    class Doubtful(WordCritic):
        def judge(self, *arguments: Any) -> list[Verdict]:
            doubts = {"disagreement": 0.3, "satisfies": 0.4, "carried_out": 0.5, "success": 0.3}
            return [verdict.model_copy(update=doubts) for verdict in super().judge(*arguments)]

    with agent_in(tmp_path, lambda prompt: ["go_to(red key)\n"], critic=Doubtful(adds=" of it")) as agent:
        said = talk(agent, "/imagine go to the red key", "/why")
    assert "I doubt it: 30 %" in said and "I give 40 %" in said and "The critic expects 90% of it." in said
    assert "unsure here (0.30 nats" in said


def test_a_plan_is_drawn_in_a_terminal(agent: Agent) -> None:
    said = heard(begin(agent, "go to the red key", terminal=True))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert "\x1b[" in said and "▲" in plain and "⚷" in plain
    assert "✓ go_to(red key)" in plain and "100 % by action 1" in plain and "at action" in plain


def test_imagining_does_nothing(agent: Agent) -> None:
    said = talk(agent, "/imagine go to the red key", "/plan go to the red key", "/history")
    assert said.count("Only imagined, nothing was done.") == 2 and "No goals yet" in said
    assert agent.store is not None and len(agent.store) == 0


def test_approval(agent: Agent) -> None:
    assert "you did not approve" in talk(agent, "go to the red key", "n", yes=False)
    assert "you did not approve" in talk(agent, "go to the red key", yes=False)
    assert "Please answer y or n" in (said := talk(agent, "go to the red key", "maybe", "y", yes=False))
    assert "Reached" in said
    chat = begin(agent, "go to the red key", "/history", yes=False)
    chat.person.stays = False
    assert "you did not approve" in heard(chat)  # a pipe is asked once
    said = talk(agent, "/approve", "/approve always", "go to the red key", "/approve ask", yes=False)
    assert "now it is ask" in said and "Reached" in said and "I ask before I act" in said


def test_bad_goals_do_not_end_it(agent: Agent) -> None:
    said = talk(agent, "x" * 3000, "a\x07b", "/imagine", "go to the red key")
    assert "3,000 characters" in said and "U+0007" in said and "the goal is empty" in said and "Reached" in said


def test_what_failed_is_not_finished(agent: Agent) -> None:
    agent.llm = ScriptedModel([])
    said = talk(agent, "go to the red key", "/history", "/why")
    assert "no answer left" in said and "1  go to the red key: not finished, 0 actions" in said


def test_ctrl_c_at_the_prompt_begins_another_line(agent: Agent) -> None:
    assert "No goals yet" in talk(agent, KeyboardInterrupt(), "/history")
    chat = begin(agent, KeyboardInterrupt(), "/history")
    chat.person.stays = False
    with pytest.raises(KeyboardInterrupt):
        chat.run()


def test_ctrl_c_during_a_run_comes_back_to_the_prompt(agent: Agent) -> None:
    controller: Any = agent.trained.controller
    controller.before = lambda: signal.raise_signal(signal.SIGINT)  # in the middle of the first action
    handler = signal.getsignal(signal.SIGINT)
    chat = begin(agent, "go to the red key", "/history", "/undo", "/history")
    said = heard(chat)
    assert "Interrupted after 1 action; they are kept" in said and "1  go to the red key: interrupted, 1 action" in said
    assert "1 action undone. Its episode 1 stays stored" in said and "No goals yet" in said
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_while_thinking_or_learning(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*arguments: Any, **more: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    agent.config = agent.config.model_copy(update={"learn_steps": 3})
    monkeypatch.setattr("gedanken.worldmodel.learn.learn", press)
    said = talk(agent, "go to the red key", "/history")
    assert (
        "Reached" in said
        and "Learning was stopped" in said
        and "Interrupted" not in said
        and "1  go to the red key: reached" in said
    )
    assert agent.store is not None and len(agent.store) == 1
    agent.llm.complete = press  # type: ignore[method-assign]
    said = talk(agent, "go to the red key", "/history")
    assert "Interrupted; nothing was done." in said and len(agent.store) == 1
