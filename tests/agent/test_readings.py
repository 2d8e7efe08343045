"""What a goal is taken to mean follows from the plans of a model that was trained to plan, and its belief in them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gedanken.agent.critic import Critic
from gedanken.agent.events import Candidate
from gedanken.agent.goal_match import GoalMatch, GoalMatchConfig
from gedanken.agent.llm.protocol import Training
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.readings import BELIEF, OTHER_THING, Reading, kept_to, readings_of, understood
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.gym_world import GymWorld

WORLD = BabyAIWorld("BabyAI-GoToLocal-v0")
BALL, BOX, KEY = (SPEC.parse_plan(text) for text in ("go_to(red ball)", "go_to(red box)", "go_to(red key)"))


class Planner(ScriptedModel):
    training = Training("plan")

    def __init__(self) -> None:
        super().__init__(lambda _: [])


class Literal(GoalMatch):
    """Knows the world's own words and no others: a plan meets the goal that says it."""

    def __init__(self) -> None:
        super().__init__(SPEC, GoalMatchConfig(features=4, width=8, layers=1, heads=1))
        self.asked: list[str] = []

    def probability(self, encoder: Any, goal: str, plans: Any) -> Tensor:
        self.asked.append(goal)
        return torch.tensor([float(WORLD.say(plan) == goal) for plan in plans])


def written(*plans: tuple[Any, float | None], round: int = 0) -> list[Candidate]:
    return [Candidate(plan=str(plan), log_probability=belief, round=round) for plan, belief in plans]


def test_readings_are_a_trained_models_plans_in_the_worlds_words() -> None:
    readings = readings_of(WORLD, Planner(), written((BALL, -0.1), (BOX, -2.0), (KEY, None)))
    assert readings == (
        Reading(BALL, BALL, "go to the red ball", 0, -0.1),
        Reading(BOX, BOX, "go to the red box", 0, -2.0),
    )
    assert readings_of(WORLD, ScriptedModel(lambda _: []), written((BALL, -0.1))) == ()
    silent: Any = SimpleNamespace(spec=SPEC)
    assert readings_of(silent, Planner(), written((BALL, -0.1))) == ()


def test_a_plan_is_meant_as_much_as_the_model_believes_in_what_it_meets() -> None:
    readings = readings_of(WORLD, Planner(), written((BALL, -0.1), (BOX, -2.1)))
    meant = understood(Literal(), Any, [BALL, BOX, KEY], readings)  # type: ignore[arg-type]
    share = torch.tensor([-0.1, -2.1]).softmax(0)
    assert meant.tolist() == pytest.approx([float(share[0]), float(share[1]) * 0.1353**BELIEF, 0.0], abs=1e-3)


class Trusting(Literal):
    """Finds every plan likely enough."""

    def probability(self, encoder: Any, goal: str, plans: Any) -> Tensor:
        return torch.full((len(plans),), 0.7)


def test_a_plan_meets_its_own_reading_whatever_the_head_says() -> None:
    readings = readings_of(WORLD, Planner(), written((BALL, 0.0)))
    meant = understood(Trusting(), Any, [BALL, SPEC.parse_plan("pick_up(red ball)")], readings)  # type: ignore[arg-type]
    assert meant.tolist() == pytest.approx([1.0, 0.7])


@pytest.mark.parametrize(
    ("aim", "plan", "other"),
    [
        ("go_to(red ball)", "go_to(red box)", True),
        ("go_to(red ball)", "go_to(blue ball)", True),
        ("go_to(red ball)", "go_to(ball)", False),  # it may be the red one
        ("go_to(red ball)", "go_to(red object)", False),
        ("go_to(red ball on your left)", "go_to(red ball behind you)", False),  # it may be both
        ("go_to(red ball)", "pick_up(blue ball)", False),  # the head knows what else a skill brings about
        ("go_to(red ball)", "go_to(box)\ngo_to(red ball)", False),
        ("go_to(red ball)\ngo_to(box)", "go_to(red ball)", True),
        ("put_next_to(red ball, blue box)", "put_next_to(red ball, blue key)", True),
        ("pick_up(blue key)\nopen(door)", "pick_up(red key)\nopen(door)", False),  # which key is not what it is for
        ("pick_up(blue key)\nopen(door)", "pick_up(red key)\nopen(red door)", False),
        ("pick_up(blue key)\ngo_to(door)", "pick_up(red key)\ngo_to(door)", True),
    ],
)
def test_what_is_done_to_another_thing_is_meant_by_accident_at_most(aim: str, plan: str, other: bool) -> None:
    readings = readings_of(WORLD, Planner(), written((aim, 0.0)))
    [meant] = understood(Trusting(), Any, [SPEC.parse_plan(plan)], readings).tolist()  # type: ignore[arg-type]
    assert meant == pytest.approx(OTHER_THING if other else 0.7)


def test_revisions_change_nothing_of_what_is_meant_and_are_believed_in_as_told_in_their_own_round() -> None:
    first = written((BALL, -0.01), (BOX, -5.0))
    both = readings_of(WORLD, Planner(), [*first, *written((KEY, -0.01), (BALL, -4.01), round=1)])
    meant = understood(Literal(), Any, [BALL, KEY], both)  # type: ignore[arg-type]
    assert meant.tolist() == pytest.approx([0.993, 0.0], abs=0.01)


def test_a_key_is_fetched_for_a_door_and_for_nothing_else() -> None:
    say = {
        "pick_up(red key)\nopen(red door)": "open the red door",
        "pick_up(red key)\nopen(door)\ngo_to(ball)": "open the door, then go to the ball",
        "pick_up(red key)\nopen(blue door)": "pick up the red key, then open the blue door",
        "open(red door)\npick_up(red key)": "open the red door, then pick up the red key",
        "pick_up(red ball)\nopen(red door)": "pick up the red ball, then open the red door",
    }
    assert {plan: WORLD.say(SPEC.parse_plan(plan)) for plan in say} == say


def test_the_critic_reads_a_goal_as_it_was_said_where_nobody_was_trained_to_read_it() -> None:
    match = Literal()
    critic = Critic(match, Any)  # type: ignore[arg-type]
    assert critic.satisfies("nudge the crimson orb", [BALL]) == [0.0] and match.asked == ["nudge the crimson orb"]
    readings = readings_of(WORLD, Planner(), written((BALL, 0.0)))
    assert critic.satisfies("nudge the crimson orb", [BALL, BOX], readings) == [1.0, 0.0]
    assert "nudge the crimson orb" not in match.asked[1:]


def test_in_a_world_of_numbers_a_plan_holds_what_was_asked_for_or_is_not_meant() -> None:
    world = GymWorld("CartPole-v1")
    plans = [
        world.spec.parse_plan(text)
        for text in (
            "keep(obs[0], 0..1, for 20)",
            "keep(obs[0], 0..1, for 30)",
            "keep(obs[0], -9..9, for 20)",
            "avoid(obs[1] > 2)\nreach(obs[0], 0.5 ± 0.1, within 9)\nkeep(obs[0], 0..1, for 20)",
        )
    ]
    first = readings_of(world, Planner(), written((plans[0], -0.1), (plans[1], -2.1)))
    later = readings_of(world, Planner(), written((plans[2], -0.1), (plans[3], -0.3), round=1))
    share = torch.tensor([-0.1, -2.1]).softmax(0).tolist()
    assert kept_to(plans, [*first, *later]) == pytest.approx([share[0], share[1], 0.0, share[0]])
    two = world.spec.parse_plan("avoid(obs[1] > 2)\nkeep(obs[0], 0..1, for 20)")
    turned = world.spec.parse_plan("keep(obs[0], 0..1, for 20)\navoid(obs[1] > 2)")
    assert kept_to([turned, two], readings_of(world, Planner(), written((two, 0.0)))) == [0.0, 1.0]
