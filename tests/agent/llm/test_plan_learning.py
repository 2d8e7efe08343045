"""Learning to plan from what really happened: which plans become lessons, and whether they are learned."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from doubles import LEVEL, Stage, WordCritic, agent_in

from gedanken.agent.goals import GoalError
from gedanken.agent.llm.adapter import CARD, Adapter
from gedanken.agent.llm.fetch import _write_manifest
from gedanken.agent.llm.protocol import LLMError, training_of
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.llm.tune import TuneConfig, Tuner
from gedanken.agent.plan_learning import (
    FIRST_SEED,
    FIRST_TEST_SEED,
    TRIES,
    Lesson,
    Lessons,
    PlanLearning,
    learn_to_plan,
    try_goals,
)
from gedanken.agent.plan_practice import Tasks
from gedanken.agent.shades import explained
from gedanken.cli import run
from gedanken.worlds.babyai import SPEC
from gedanken.worlds.protocol import Wording
from gedanken.worlds.spec import Plan, Step

WRONG = "go_to(door)\n"
TINY = TuneConfig(steps=2, tokens=512, rank=2, alpha=4, first_layer=1, warmup=1, save_every=2)


def right_plans(first: int, n: int, wording: Wording = "training") -> dict[str, str]:
    """The plan that is right for each goal, by its words."""
    tasks, found = Tasks(Stage), {}
    for seed in range(first, first + n):
        task = tasks.task(LEVEL, seed, np.random.default_rng((seed, 23)), wording, look=False)
        if task:
            found[task.goal.text] = f"{task.goal.plan}\n"
    return found


def answering(right: dict[str, str], *, only_when: str = "") -> Callable[[str], list[str]]:
    def answer(prompt: str) -> list[str]:
        plan = next(plan for goal, plan in right.items() if f"Goal: {explained(goal, SPEC)}\n" in f"{prompt}\n")
        return [plan, WRONG] if only_when in prompt else [WRONG]

    return answer


def test_what_met_the_goal_becomes_a_lesson_and_nothing_else(tmp_path: Path) -> None:
    right = right_plans(FIRST_SEED, 4)
    [unlucky, *lucky] = right
    script = answering({**right, unlucky: WRONG})
    with agent_in(tmp_path, script) as agent:
        tries = list(try_goals(agent, lambda _: agent.world, [LEVEL], range(FIRST_SEED, FIRST_SEED + 4)))  # type: ignore[arg-type,return-value]
    assert [t.goal for t in tries] == list(right)
    for tried in tries:
        assert tried.reached == (tried.goal in lucky) == bool(tried.lessons)
        for lesson in tried.lessons:
            assert f"{lesson.plan}\n" == right[tried.goal] and tried.goal in lesson.prompt
    assert all(t.first and t.plans == 2 for t in tries if t.reached)


def test_a_plan_that_only_revision_found_is_a_lesson_for_the_first_prompt_too(tmp_path: Path) -> None:
    right = right_plans(FIRST_SEED, 1)
    thing = next(iter(right.values())).partition("(")[2].strip().rstrip(")")
    critic = WordCritic({"door": 0.2}, adds=f". A locked {thing} is there")
    with agent_in(tmp_path, answering(right, only_when="locked"), critic=critic) as agent:
        [tried] = try_goals(agent, lambda _: agent.world, [LEVEL], [FIRST_SEED])  # type: ignore[arg-type,return-value]
    first, second = tried.lessons
    assert tried.reached and not tried.first
    assert "locked" not in first.prompt and "locked" in second.prompt and first.plan == second.plan


def test_a_goal_that_the_critic_can_not_read_is_passed_over(tmp_path: Path) -> None:
    right = right_plans(FIRST_SEED, 2)
    unread, read = right

    class Short(WordCritic):
        def judge(self, goal: str, rehearsal: Any, describe: Any = None, readings: Any = ()) -> Any:
            if goal == unread:
                raise GoalError("say it in fewer words")
            return super().judge(goal, rehearsal, describe)

    with agent_in(tmp_path, answering(right), critic=Short()) as agent:
        tries = list(try_goals(agent, lambda _: agent.world, [LEVEL], range(FIRST_SEED, FIRST_SEED + 2)))  # type: ignore[arg-type,return-value]
    assert [tried.goal for tried in tries] == [read]


def test_practice_stays_among_the_lessons() -> None:
    mixed = Lessons([Lesson("a", "b")], lambda index: (str(index), "practice"), 0.25, seed=3)
    answers = [mixed(index)[1] for index in range(400)]
    assert answers.count("practice") == pytest.approx(100, abs=30) and set(answers) == {"practice", "b\n"}
    assert [mixed(index) for index in range(9)] == [mixed(index) for index in range(9)]


@pytest.fixture
def begin(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Adapter:
    """An adapter of a tiny model, hardly trained."""
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path / "home"))
    _write_manifest(tiny_folder, "a test")
    tuner = Tuner(tiny_folder, lambda _: ("Goal: x\nPlan:\n", WRONG), TINY, tmp_path / "work")
    list(tuner.train())
    card = {"prompt": "plan", "base": "tiny", "base_sha256": "a" * 64}
    return Adapter.open(tuner.save(tmp_path / "begin", card))


def test_rounds_go_on_where_they_were_cut_off_and_every_adapter_begins_from_the_one_before(
    begin: Adapter, tiny_folder: Path, tmp_path: Path
) -> None:
    learning, said, asked = PlanLearning(rounds=2, goals=2, steps=3), list[str](), list[str]()
    right = {**right_plans(FIRST_SEED + 10_000, 2), **right_plans(FIRST_SEED + 20_000, 2)}
    with agent_in(tmp_path, answering(right)) as agent:
        assert isinstance(agent.llm, ScriptedModel) and training_of(agent.llm) is None

        def made(adapter: Adapter, changes: dict[str, Any]) -> Any:
            asked.append(adapter.name)
            assert changes["candidates"] == 8
            return agent

        def learn(name: str = "mine") -> Path:
            make: Any = lambda _: agent.world  # noqa: E731
            return learn_to_plan(
                made, make, [LEVEL], begin, tiny_folder, learning, name=name, folder=tmp_path / "f", say=said.append
            )

        path = learn()
        assert path.name == "mine-2" and asked == ["begin", "mine-1"]
        assert "round 1: 2 of 2 goals reached, with the first plan 2; 2.0 different plans a goal" in said[0]
        cards = [json.loads((path.parent / f"mine-{n}" / CARD).read_text()) for n in (1, 2)]
        assert [card["begins_from"] for card in cards] == ["begin", "mine-1"]
        assert cards[1]["data"].startswith("4 lessons of 2 rounds")

        tries = tmp_path / "f" / "2" / TRIES
        whole = tries.read_text()
        tries.write_text(whole[: whole.index("\n") + 40])  # killed while the second goal's line was written
        (path / CARD).unlink()
        path.rename(tmp_path / "gone")
        (tmp_path / "f" / "2" / "state.pt").unlink()
        assert learn() == path and tries.read_text() == whole and asked[2:] == ["mine-1"]


def test_every_rounds_adapter_is_measured_on_the_same_goals_and_none_is_learned(
    begin: Adapter, tiny_folder: Path, tmp_path: Path
) -> None:
    learning, said, asked = PlanLearning(rounds=2, goals=1, steps=1, test=2), list[str](), list[tuple[str, bool]]()
    right = {**right_plans(FIRST_SEED + 10_000, 1), **right_plans(FIRST_SEED + 20_000, 1)}
    tested = right_plans(FIRST_TEST_SEED, 2, "test")
    assert len(tested) == 2 and not tested.keys() & right.keys()
    unlucky = next(iter(tested))
    with agent_in(tmp_path, answering({**right, **tested, unlucky: WRONG})) as agent:

        def made(adapter: Adapter, changes: dict[str, Any]) -> Any:
            asked.append((adapter.name, "candidates" in changes))
            return agent

        make: Any = lambda _: agent.world  # noqa: E731
        path = learn_to_plan(
            made, make, [LEVEL], begin, tiny_folder, learning, name="mine", folder=tmp_path / "f", say=said.append
        )
    assert asked == [("begin", False), ("begin", True), ("mine-1", False), ("mine-1", True), ("mine-2", False)]
    measured = [line for line in said if "test: 1 of 2 goals reached, with the first plan 1;" in line]
    assert [line.split(",")[0] for line in measured] == ["begin", "mine-1", "mine-2"]
    card = json.loads((path / CARD).read_text())
    assert card["data"].startswith("2 lessons") and [row["reached"] for row in card["rounds"]] == [1, 1]
    assert [row["reached"] for row in card["tested_before"]] == [1, 1]


def test_to_put_down_what_is_in_hand_is_no_mission_and_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(steps=(Step(skill="drop"),))
    monkeypatch.setattr(
        Tasks, "task", lambda *_, **__: SimpleNamespace(goal=SimpleNamespace(text="drop it", plan=plan))
    )
    with agent_in(tmp_path, lambda _: [WRONG]) as agent:
        assert not list(try_goals(agent, lambda _: agent.world, [LEVEL], [FIRST_SEED]))  # type: ignore[arg-type,return-value]


def test_nothing_comes_true(begin: Adapter, tiny_folder: Path, tmp_path: Path) -> None:
    with agent_in(tmp_path, lambda _: [WRONG]) as agent:
        make: Any = lambda _: agent.world  # noqa: E731
        with pytest.raises(LLMError, match="none of the plans met its goal"):
            learn_to_plan(
                lambda *_: agent,
                make,
                [LEVEL],
                begin,
                tiny_folder,
                PlanLearning(rounds=1, goals=1, steps=1),
                name="mine",
                folder=tmp_path / "f",
            )


def test_only_an_adapter_learns(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["learn", "--planner", "--llm", "openai:http://127.0.0.1:1/v1"]) == 2
    assert "choose an adapter of the embedded model" in capsys.readouterr().err
    assert run(["learn"]) == 2
    assert "say which WORLD to learn, or --planner" in capsys.readouterr().err
