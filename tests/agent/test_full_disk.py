"""A full disk while a goal is pursued: one error that says so, nothing stored is lost, the goal goes on later."""

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from doubles import LEVEL, Stage, agent_in

from gedanken.agent.agent import Agent
from gedanken.agent.session import Session
from gedanken.worldmodel.checkpoint import CheckpointError, Trained, build, save
from gedanken.worldmodel.experience_file import FullDiskError
from gedanken.worldmodel.spatial import SIZES

GOAL = "go to the red key"
FILES: dict[str, Callable[[Any], sqlite3.Connection]] = {
    "the journal": lambda agent: agent.journal._db,
    "the episode": lambda agent: agent.store._db,
    "the run": lambda agent: agent._saver.conn,
}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_in(tmp_path, lambda prompt: ["go_to(red key)\n"]) as agent:
        yield agent


@contextmanager
def no_room(db: sqlite3.Connection) -> Iterator[None]:
    """SQLite may add no page to a file meanwhile, as on a full disk."""
    [pages] = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    yield
    db.execute("PRAGMA max_page_count = 1000000")


@pytest.mark.parametrize("what", FILES)
def test_nothing_that_was_stored_is_lost_and_the_goal_goes_on(agent: Agent, what: str) -> None:
    assert agent.run(GOAL, agent.session(3)).success
    assert agent.store is not None and agent.journal is not None
    begun = 1
    with no_room(FILES[what](agent)), pytest.raises(FullDiskError, match="no room to write .*Free some space"):
        while begun < 1000:  # a file has a little room left in its last pages
            begun += 1
            agent.run(GOAL, agent.session(3))
    agent.store.check()
    assert len(agent.store) in (begun - 1, begun)
    if unfinished := agent.unfinished():
        conversation, goal = unfinished
        session = Session.replay(agent.world, agent.trained, conversation, agent.journal)
        assert agent.resume(goal, session).success and len(agent.store) == begun, "stored once, whenever it was cut off"
    stored = len(agent.store)
    assert agent.run(GOAL, agent.session(3)).success and agent.unfinished() is None
    assert len(agent.store) == stored + 1


def test_a_learnt_checkpoint_that_has_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model, controller = build(Stage(LEVEL).spec, "spatial", SIZES["debug"].model_dump())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # no file may become longer
    try:
        with pytest.raises(CheckpointError, match="could not write checkpoint .*; free some space and try again"):
            save(Trained(model, controller, "tiny"), tmp_path / "tiny")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_goal_is_reached_although_learning_from_it_failed(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **more: Any) -> None:
        raise CheckpointError("could not write checkpoint")

    agent.config = agent.config.model_copy(update={"learn_steps": 3})
    monkeypatch.setattr("gedanken.worldmodel.learn.learn", fail)
    with pytest.raises(CheckpointError):
        agent.run(GOAL, agent.session(3))
    assert agent.store is not None and len(agent.store) == 1 and agent.unfinished() is None
