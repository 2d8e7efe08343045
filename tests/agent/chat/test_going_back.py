"""Going back: undo, save and load; what was undone stays undone."""

from typing import Any

import pytest
from doubles import Stage
from talking import begin, heard, talk

from gedanken.agent.agent import Agent
from gedanken.agent.session import Session, SessionError


def test_undo_goes_back_to_before_the_last_goal(agent: Agent) -> None:
    chat = begin(
        agent, "go to the red key", "/edit go_to(grey ball)", "/undo", "/history", "/undo", "/history", "/undo"
    )
    before = [chat.session.view.copy()]
    said = heard(chat)
    assert "Its episode 2 stays stored" in said and "Its episode 1 stays stored" in said
    assert said.count("1  go to the red key: reached") == 1 and "2  go" not in said and "No goals yet" in said
    assert "nothing to undo" in said
    assert (chat.session.view == before[0]).all() and agent.store is not None and len(agent.store) == 2


def test_what_was_undone_stays_undone(agent: Agent) -> None:
    chat = begin(agent, "go to the red key", "/edit go_to(grey ball)", "/undo")
    heard(chat)
    assert agent.journal is not None
    last = agent.journal.last()
    assert last is not None
    again = Session.replay(agent.world, agent.trained, last, agent.journal)
    assert again.actions == chat.session.actions and len(agent.journal.turns(last.id)) == 1
    assert "Reached" in talk(agent, "go to the red key")


def test_a_conversation_that_does_not_replay_is_not_gone_back_to(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Session:
        raise SessionError("it does not replay")

    monkeypatch.setattr(Session, "replay", refuse)
    chat = begin(agent, "go to the red key", "/undo", "/history")
    said = heard(chat)
    assert "it does not replay" in said and "1  go to the red key: reached" in said
    assert agent.journal is not None and agent.journal.last() == chat.session.conversation


def test_save_and_load(agent: Agent) -> None:
    said = talk(agent, "go to the red key", "/save one", "/edit go_to(grey ball)", "/load one", "/history", "/save one")
    assert "Saved as one; /load one" in said and "Back in one, after 1 goal." in said
    assert "1  go to the red key" in said and "2  go" not in said and "in place of what had that name" in said
    agent.world = Stage("BabyAI-OpenDoor-v0")
    chat = begin(agent, "/load one", "/why")
    assert "Reached: go_to(red key)" in heard(chat) and chat.agent.world.id == "BabyAI-GoToLocal-v0"


def test_names_that_do_not_serve(agent: Agent) -> None:
    said = talk(agent, "/load one", "/save ../one", "/save", "/save one", "/load two")
    assert "no conversation is saved as one; none was saved yet" in said
    assert said.count("a conversation's name is 1 to 64 letters") == 2
    assert "no conversation is saved as two; saved are: one" in said
