"""Practice pairs: real scenes, right plans, training seeds only, and the prompt that the planner is asked with."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gedanken.agent.config import LoopConfig
from gedanken.agent.events import Proposed
from gedanken.agent.llm.protocol import Completion, Training
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.plan_practice import PROMPT, Practice, Tasks, failed, mistaken, surroundings
from gedanken.agent.propose import Attempt, propose, propose_prompt, propose_request
from gedanken.prompts import render
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.spec import NONE

LEVELS = ("BabyAI-UnlockLocal-v0", "BabyAI-PutNextLocal-v0", "BabyAI-GoToSeqS5R2-v0")


PLANNER = Training(PROMPT, declines=True)


@pytest.fixture(scope="module")
def practice() -> Practice:
    return Practice(BabyAIWorld, LEVELS, seed=1)


def test_pairs_are_the_same_for_the_same_index_in_any_order(practice: Practice) -> None:
    forth = [practice(index) for index in range(6)]
    assert [practice(index) for index in reversed(range(6))] == forth[::-1]
    assert len(set(forth)) == 6
    assert [Practice(BabyAIWorld, LEVELS, seed=2)(index) for index in range(6)] != forth


def test_answers_are_plans_and_prompts_those_of_the_loop(practice: Practice) -> None:
    revised = doubted = schemas = bettered = none = changes = 0
    for index in range(120):
        prompt, answer = practice(index)
        scene, goal, *rest = prompt.splitlines()
        if rest == ["Change:"]:
            changes += 1
            assert any(name in answer for name in scene.removeprefix("Inputs: ").split(", "))
            continue
        assert rest[-1] == "Plan:" and goal.startswith("Goal: ")
        of_numbers = not scene.startswith("You see")
        schemas += of_numbers
        if answer == f"{NONE}\n":
            none += 1
            assert len(rest) == 1, "what no plan meets was not tried"
            continue
        if of_numbers:
            attempts = [
                Attempt(tried.removeprefix("Tried: ").replace(", then ", "\n"), found.removeprefix("Found: "))
                for tried, found in zip(rest[:-1:2], rest[1:-1:2], strict=True)
            ]
            bettered += bool(attempts)
            assert prompt == render(PROMPT, scene=scene, goal=goal.removeprefix("Goal: "), attempts=attempts)
            assert re.match(r"(reach|keep|maximize|minimize|avoid)\(", answer)
            continue
        plan = SPEC.parse_plan(answer)
        assert answer == f"{plan}\n"
        world = BabyAIWorld(LEVELS[0])
        attempts = []
        for tried, found in zip(rest[:-1:2], rest[1:-1:2], strict=True):
            wrong = tried.removeprefix("Tried: ").replace(", then ", "\n")
            doubted += (same := SPEC.parse_plan(wrong) == plan)
            assert not same or found == rest[-2] and "locked" not in found and "what the goal asks" not in found
            attempts.append(Attempt(wrong, found.removeprefix("Found: ")))
        asked = propose_prompt(world, scene, goal.removeprefix("Goal: "), attempts, training=PLANNER)
        assert asked == prompt
        revised += bool(attempts)
        if "pick_up" in answer and "open(" in answer and "key" not in goal:
            assert "locked" in prompt, "what the plan needs to know is told"
    assert revised > doubted >= 4 and bettered >= 2 and 24 <= schemas <= 60 and 4 <= none <= 25 and 3 <= changes <= 20


def test_seeds_are_training_seeds(practice: Practice) -> None:
    seeds = {practice.env_seed(index, turn) for index in (0, 1, 5_000_000) for turn in (0, 63)}
    assert len(seeds) == 6 and min(seeds) >= FIRST_TRAINING_SEED and max(seeds) < 2 * FIRST_TRAINING_SEED


def test_a_trained_model_is_asked_without_examples_and_steered_from_nothing() -> None:
    world, config = BabyAIWorld(LEVELS[0]), LoopConfig.preset()
    plain = propose_request(world, "You see a red ball ahead.", "go to the red ball", config)
    trained = propose_request(world, "You see a red ball ahead.", "go to the red ball", config, training=PLANNER)
    assert plain.settings.baseline is not None and trained.settings.baseline is None
    assert trained.prompt == "You see a red ball ahead.\nGoal: go to the red ball\nPlan:\n"
    assert trained.settings.grammar == plain.settings.grammar


class Doubtful(ScriptedModel):
    """Says texts in an order of its own, and believes in each as much as it is told to."""

    def __init__(self, training: Training | None, **beliefs: float) -> None:
        super().__init__(lambda _: [])
        self.training = training
        self.beliefs = beliefs
        self.grammars: list[Any] = []

    def complete(self, prompts: Sequence[str], **settings: Any) -> list[list[Completion]]:
        self.grammars.append(settings["grammar"])
        texts = {"ball": "go_to(red ball)\n", "box": "go_to(red box)\n", "none": f"{NONE}\n"}
        return [[Completion(texts[name], belief, 9, 6, 0.1) for name, belief in self.beliefs.items()] for _ in prompts]


def asked(llm: Doubtful, **how: bool) -> Proposed:
    return propose(BabyAIWorld(LEVELS[0]), llm, "You see no objects.", "go to it", LoopConfig.preset(), **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(("training", "first"), [(PLANNER, "go_to(red box)"), (None, "go_to(red ball)")])
def test_who_was_trained_to_plan_is_taken_at_its_belief(training: Training | None, first: str) -> None:
    proposed = asked(Doubtful(training, ball=-1.0, box=-0.5))
    assert [candidate.plan for candidate in proposed.candidates][0] == first and len(proposed.candidates) == 2


@pytest.mark.parametrize(
    ("beliefs", "declined"),
    [
        ({"ball": -1.0, "none": -0.5}, True),
        ({"none": -1.0, "ball": -0.5}, False),
        ({"none": math.nan, "ball": math.nan}, True),  # a server that does not say: its first is its best
        ({"ball": math.nan, "none": math.nan}, False),
        ({"none": -0.1}, True),
    ],
)
def test_who_believes_most_that_no_plan_will_do_proposes_none(beliefs: dict[str, float], declined: bool) -> None:
    proposed = asked(Doubtful(PLANNER, **beliefs), may_decline=True)
    assert proposed.declined == declined
    assert [candidate.plan for candidate in proposed.candidates] == ([] if declined else ["go_to(red ball)"])


def test_only_who_may_and_has_been_taught_to_can_say_that_no_plan_will_do() -> None:
    taught, plain = Doubtful(PLANNER, ball=-1.0), Doubtful(Training(PROMPT), ball=-1.0)
    for llm in (taught, plain):
        asked(llm, may_decline=True)
        asked(llm, may_decline=False)
    assert [NONE in grammar.partition("step:")[0] for grammar in taught.grammars] == [True, False]
    assert not any(NONE in grammar for grammar in plain.grammars)


def test_a_look_around_shows_the_whole_of_a_small_room() -> None:
    world = BabyAIWorld("BabyAI-GoToLocalS5N2-v0")
    env = world.make()
    for seed in range(4):
        raw, _ = env.reset(seed=seed)
        base = env.unwrapped
        place, heading = tuple(base.agent_pos), base.agent_dir  # type: ignore[attr-defined]
        first = world.observation(raw)
        around, agent = surroundings(world, env, first)
        assert (tuple(base.agent_pos), base.agent_dir) == (place, heading)  # type: ignore[attr-defined]
        ahead = {"ahead", "left", "right"}
        there = sorted(
            f"{o.color} {o.type}" for o in base.grid.grid if o is not None and o.type in ("ball", "box", "key")
        )  # type: ignore[attr-defined]
        words = world.describe(around, agent)
        assert (
            sorted(
                " ".join(part.split()[-3:-1])
                for part in words.split(".")[0].split(", ")
                if part.split()[-1] in {*ahead, "behind"}
            )
            == there
        )
        assert np.array_equal(around[agent], first[world.spec.grid.agent]), "the hand"


def test_a_look_around_shows_what_is_in_hand() -> None:
    world = BabyAIWorld("BabyAI-PutNextS5N2Carrying-v0")
    env = world.make()
    raw, _ = env.reset(seed=3)
    held = env.unwrapped.carrying  # type: ignore[attr-defined]
    words = world.describe(*surroundings(world, env, world.observation(raw)))
    assert words.endswith(f"You carry a {held.color} {held.type}.")


def test_a_first_plan_knows_of_a_lock_only_where_the_scene_shows_it() -> None:
    tasks, world = Tasks(BabyAIWorld), "BabyAI-UnlockLocal-v0"
    kinds = set()
    for seed in range(30):
        task = tasks.task(world, seed, np.random.default_rng(0), "own", look=False)
        assert task is not None
        shown = "locked" in task.scene
        kinds.add(shown)
        assert (len(task.goal.plan.steps) == 2) is shown
        assert task.goal.right(task.goal.plan) and task.goal.right(SPEC.parse_plan("open(door)")) is not shown
    assert kinds == {True, False}


def test_a_way_that_is_locked_is_met_and_then_opened() -> None:
    tasks = Tasks(BabyAIWorld)
    task = tasks.task("BabyAI-UnlockToUnlock-v0", 5, np.random.default_rng(0), "own", look=True)
    assert task is not None and task.goal.plan.line() == "pick_up(ball)" and len(task.goal.facts) == 2
    lengths = set()
    for seed in range(12):
        attempts, goal = failed(task, np.random.default_rng(seed))
        if not attempts:
            continue
        assert attempts[0].plan == "pick_up(ball)" and "locked" in attempts[0].reasons
        colours = [attempt.reasons.rpartition("locked ")[2].split()[0] for attempt in attempts]
        opened = [str(step) for step in goal.plan.steps if step.skill == "open"]
        assert sorted(opened) == sorted(f"open({colour} door)" for colour in colours)
        assert str(goal.plan.steps[-1]) == "pick_up(ball)" and goal.right(goal.plan)
        lengths.add(len(goal.plan.steps))
    assert lengths == {3, 5}


def test_a_wrong_key_is_taken_and_what_is_seen_then_says_why_it_was_wrong() -> None:
    scene = "You see a grey key left, a red box ahead. You carry nothing."
    right = SPEC.parse_plan("pick_up(red key)\nopen(red door)")
    met = [
        Attempt("open(red door)", "open(red door): a locked red door is in the way, and the plan has nothing for it")
    ]
    kinds = set()
    for seed in range(40):
        tried = mistaken(met, right, scene, SPEC, np.random.default_rng(seed))
        assert tried is not None
        attempts, seen = tried
        colour = SPEC.parse_plan(attempts[-1].plan).line().removeprefix("pick_up(").split()[0]
        assert attempts[-1].plan == f"pick_up({colour} key)\nopen(red door)" and colour != "red"
        if "futures" in attempts[-1].reasons:
            assert seen == scene and f"You carry a {colour} key" in attempts[-1].reasons
        else:
            assert seen.count("a locked red door") == 1 and seen.endswith(f". You carry a {colour} key.")
        kinds.add(("futures" in attempts[-1].reasons, colour == "grey", len(attempts)))
    assert len(kinds) > 5
    assert mistaken([], right, scene, SPEC, np.random.default_rng(0)) is None
    assert mistaken(met, SPEC.parse_plan("open(red door)"), scene, SPEC, np.random.default_rng(0)) is None
