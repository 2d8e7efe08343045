import numpy as np
import pytest

from gedanken.agent.goals import LONGEST_GOAL, GoalError, check_goal, listed, missing, single_steps, speaks_of
from gedanken.worlds.babyai import SPEC


def test_space_is_trimmed() -> None:
    assert check_goal("  go to\n the ball ") == "go to the ball"


@pytest.mark.parametrize(
    "text", ["", "  \n\t ", "a" * (LONGEST_GOAL + 1), "x" * 100_000, "go\x00to", "\x1b[2J", "\ud800"]
)
def test_what_is_no_goal_is_refused(text: str) -> None:
    with pytest.raises(GoalError) as error:
        check_goal(text)
    assert len(str(error.value)) < 200


def test_goals_in_other_scripts_are_goals() -> None:
    assert check_goal("gehe zur roten Tür") and check_goal("去红球") and check_goal("go to the 🔴")


def test_missing_names_what_is_nowhere() -> None:
    known = np.zeros((13, 13, 3), np.uint8)
    kinds, colours, _ = (channel.categories for channel in SPEC.observation.channels)
    known[2, 3] = kinds.index("ball"), colours.index("red"), 0
    assert missing(SPEC, known, SPEC.parse_plan("go_to(red ball)\nput_next_to(ball, blue key)")) == ["blue key"]
    assert missing(SPEC, known, SPEC.parse_plan("go_to(red object behind you)")) == []


def test_listed() -> None:
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"


def test_what_speaks_of_this_world() -> None:
    said = ["visit every box", "Go to the Boxes", "the RED one", "what is behind you"]
    assert all(speaks_of(SPEC, goal) for goal in said)
    assert not any(speaks_of(SPEC, goal) for goal in ["make me a coffee", "unboxed", "go there"])


def test_single_steps_are_plans_of_this_world() -> None:
    plans = single_steps(SPEC)
    texts = [str(plan) for plan in plans]
    assert all(SPEC.parse_plan(text) == plan for text, plan in zip(texts, plans, strict=True))
    assert {"go_to(door)", "open(red door)", "put_next_to(blue ball, key)", "drop()"} <= set(texts)
    assert len(set(texts)) == len(texts) and not any("door" in text for text in texts if text.startswith("pick_up"))
