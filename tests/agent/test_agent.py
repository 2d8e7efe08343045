"""The whole loop, wired, with a scripted language model and a fake world model in a real environment."""

import json
from pathlib import Path
from typing import Any

import pytest
from doubles import QUICK, WordCritic, agent_in

from gedanken.agent.agent import Agent
from gedanken.agent.events import Event, Outcome
from gedanken.agent.goals import GoalError
from gedanken.agent.llm.protocol import LLMError
from gedanken.agent.session import Session, SessionError

RIGHT, WRONG = "go_to(red key)\n", "go_to(red box)\n"
SEED = 3  # "go to the red key"


def kinds(heard: list[Event]) -> list[str]:
    return [event.kind for event in heard]


def test_a_mission_is_reached(tmp_path: Path) -> None:
    heard: list[Event] = []
    with agent_in(tmp_path, lambda prompt: [RIGHT, WRONG], critic=WordCritic({"box": 0.2})) as agent:
        session = agent.session(SEED, free=False)
        outcome = agent.run(session.mission, session, on_event=heard.append)
        assert outcome.success and outcome.plan == RIGHT.strip() and outcome.episode == 1
        assert outcome.predicted == 0.9 and outcome.round == 0
        assert len(agent.store or []) == 1
    begun = ["goal", "perceived", "proposed", "imagining", "rehearsed", "judged", "chosen"]
    assert list(dict.fromkeys(kinds(heard)))[:7] == begun
    assert kinds(heard)[-3:] == ["step_ended", "outcome", "stored"]


def test_a_second_round_wins(tmp_path: Path) -> None:
    heard: list[Event] = []
    critic = WordCritic({"box": 0.2}, adds=". The red key is locked in")
    with agent_in(tmp_path, [[WRONG], [WRONG, RIGHT]], critic=critic) as agent:
        session = agent.session(SEED, free=False)
        outcome = agent.run(session.mission, session, on_event=heard.append)
        assert outcome.success and outcome.round == 1 and outcome.rounds == 2
        model: Any = agent.llm
        assert "locked" in model.prompts[1] and "locked" not in model.prompts[0]
    assert kinds(heard).count("revising") == 1
    [_, second] = [event for event in heard if event.kind == "proposed"]
    assert [candidate.plan for candidate in second.candidates] == [RIGHT.strip()]  # and no plan again


def test_reality_refutes_a_plan_and_the_next_one_works(tmp_path: Path) -> None:
    heard: list[Event] = []
    with agent_in(tmp_path, [[WRONG], [RIGHT]]) as agent:
        session = agent.session(SEED, free=False)
        outcome = agent.run(session.mission, session, on_event=heard.append)
    assert outcome.success and outcome.replans == 1
    assert "goal was not met" in next(event.why for event in heard if event.kind == "replanning")


def test_plan_only_does_nothing(tmp_path: Path) -> None:
    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        session = agent.session(SEED, free=False)
        outcome = agent.plan("go to the red key", session)
        assert outcome.status == "imagined" and outcome.predicted == 0.9
        assert not session.actions and len(agent.store or []) == 0


def test_goal_after_goal_in_one_environment(tmp_path: Path) -> None:
    script = {"Goal: go to the red key": [RIGHT], "Goal: go to the grey ball": ["go_to(grey ball)\n"]}

    def answer(prompt: str) -> list[str]:
        last = prompt.rpartition("Goal:")[2]
        return next(texts for part, texts in script.items() if part[6:] in f" {last}")

    with agent_in(tmp_path, answer) as agent:
        session = agent.session(SEED)
        looked = len(session.actions)
        first = agent.run("go to the red key", session)
        second = agent.run("go to the grey ball", session)
        assert first.success and second.success
        assert len(session.actions) == looked + first.steps + second.steps
        [(_, one), (_, two)] = (agent.store or pytest.fail()).recent(2)
        assert len(one) == first.steps and len(two) == second.steps
        assert two.record["before"] == session.actions[: looked + first.steps]
        assert (one.observations[-1] == two.observations[0]).all()


def test_no_such_thing_is_declined_in_a_free_environment(tmp_path: Path) -> None:
    with agent_in(tmp_path, lambda prompt: ["go_to(purple ball)\n"]) as agent:
        session = agent.session(SEED)
        outcome = agent.run("go to the purple ball", session)
    assert outcome.status == "declined" and "purple ball" in outcome.message and outcome.steps == 0


@pytest.mark.parametrize("goal", ["", " ", "x" * 100_000, "a\x00b"])
def test_what_is_no_goal_reaches_no_model(tmp_path: Path, goal: str) -> None:
    def never(prompt: str) -> list[str]:
        raise AssertionError("the language model was asked")

    with agent_in(tmp_path, never) as agent:
        session = agent.session(SEED)
        with pytest.raises(GoalError):
            agent.run(goal, session)
        assert session.spent == len(session.actions)


def test_saying_no_does_nothing(tmp_path: Path) -> None:
    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        session = agent.session(SEED, free=False)
        outcome = agent.run(session.mission, session, approve=lambda asked: False)
    assert outcome.status == "not_approved" and outcome.steps == 0


def test_the_same_seeds_give_the_same_run(tmp_path: Path) -> None:
    lines = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        heard: list[Event] = []
        with agent_in(tmp_path / name, lambda prompt: [RIGHT, WRONG]) as agent:
            session = agent.session(SEED, free=False)
            agent.run(session.mission, session, on_event=heard.append)
        lines.append([json.loads(e.model_dump_json(exclude={"seconds"})) for e in heard])
    assert lines[0] == lines[1]


def test_events_come_one_by_one_and_can_be_left(tmp_path: Path) -> None:
    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        session = agent.session(SEED, free=False)
        seen = []
        for event in agent.events(session.mission, session):
            seen.append(event.kind)
            if event.kind == "acted":
                break
        assert seen[-1] == "acted"
        assert session.spent >= 1
        [(_, episode)] = (agent.store or pytest.fail()).recent(1)  # what had happened is kept
        assert len(episode) == session.spent and episode.record["outcome"]["status"] == "interrupted"


def test_events_pass_errors_on(tmp_path: Path) -> None:
    with agent_in(tmp_path, []) as agent:
        session = agent.session(SEED)
        with pytest.raises(LLMError):
            list(agent.events("go to the red key", session))


def test_ctrl_c_stores_what_happened(tmp_path: Path) -> None:
    heard: list[Event] = []

    def hear(event: Event) -> None:
        heard.append(event)
        if event.kind == "acted" and event.number == 2:
            raise KeyboardInterrupt

    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        session = agent.session(SEED, free=False)
        with pytest.raises(KeyboardInterrupt):
            agent.run(session.mission, session, on_event=hear)
        [(_, episode)] = (agent.store or pytest.fail()).recent(1)
    outcome = next(event for event in heard if isinstance(event, Outcome))
    assert outcome.status == "interrupted" and outcome.plan == RIGHT.strip()
    assert len(episode) == 2 and episode.steps == (RIGHT.strip(),)


def test_an_episode_that_is_over_takes_no_goal(tmp_path: Path) -> None:
    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        session = agent.session(SEED, free=False)
        agent.run(session.mission, session)
        with pytest.raises(SessionError, match="over"):
            agent.run(session.mission, session)


def test_learning_comes_after_storing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gedanken.worldmodel import learn

    def fake(trained: Any, store: Any, *, steps: int, seed: int) -> learn.LearnReport:
        assert len(store) == 1
        return learn.LearnReport(steps, {"a": 2.0}, {"a": 1.0}, tmp_path / "new", 0.1)

    monkeypatch.setattr(learn, "learn", fake)
    heard: list[Event] = []
    with agent_in(tmp_path, lambda prompt: [RIGHT], config=QUICK.model_copy(update={"learn_steps": 3})) as agent:
        session = agent.session(SEED, free=False)
        outcome = agent.run(session.mission, session, on_event=heard.append)
    assert outcome.checkpoint == str(tmp_path / "new")
    assert kinds(heard)[-2:] == ["stored", "learned"]


def test_a_life_can_be_replayed(tmp_path: Path) -> None:
    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        session = agent.session(SEED)
        agent.run("go to the red key", session)
        assert agent.journal
        again = Session.replay(agent.world, agent.trained, session.conversation or pytest.fail(), agent.journal)
        assert again.actions == session.actions and (again.view == session.view).all() and again.turn is None
        agent.journal.confirm(session.conversation.id, 0, 1, 0.0, False)  # type: ignore[union-attr]
        with pytest.raises(SessionError, match="does not replay"):
            Session.replay(agent.world, agent.trained, session.conversation or pytest.fail(), agent.journal)


def test_a_goal_that_was_over_when_the_end_came_is_not_pursued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise SystemExit

    heard: list[Event] = []
    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        session = agent.session(SEED)
        with monkeypatch.context() as context, pytest.raises(SystemExit):
            context.setattr(Agent, "_close_turn", killed)
            agent.run("go to the red key", session)
    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        conversation, goal = agent.unfinished() or pytest.fail()
        again = Session.replay(agent.world, agent.trained, conversation, agent.journal or pytest.fail())
        outcome = agent.resume(goal, again, on_event=heard.append)
        assert outcome.success and outcome.episode == 1 and kinds(heard) == ["resumed", "outcome"]
        assert again.actions == session.actions and len(agent.store or pytest.fail()) == 1
        assert agent.unfinished() is None
