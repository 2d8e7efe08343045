"""Practice pairs: real scenes, right plans, training seeds only, and the prompt that the planner is asked with."""

import numpy as np
import pytest

from gedanken.agent.config import LoopConfig
from gedanken.agent.plan_practice import PROMPT, Practice, Tasks, surroundings
from gedanken.agent.propose import Attempt, propose_prompt, propose_request
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worlds.babyai import SPEC, BabyAIWorld

LEVELS = ("BabyAI-UnlockLocal-v0", "BabyAI-PutNextLocal-v0", "BabyAI-GoToSeqS5R2-v0")


@pytest.fixture(scope="module")
def practice() -> Practice:
    return Practice(BabyAIWorld, LEVELS, seed=1)


def test_pairs_are_the_same_for_the_same_index_in_any_order(practice: Practice) -> None:
    forth = [practice(index) for index in range(6)]
    assert [practice(index) for index in reversed(range(6))] == forth[::-1]
    assert len(set(forth)) == 6
    assert [Practice(BabyAIWorld, LEVELS, seed=2)(index) for index in range(6)] != forth


def test_answers_are_plans_and_prompts_those_of_the_loop(practice: Practice) -> None:
    revised = 0
    for index in range(60):
        prompt, answer = practice(index)
        plan = SPEC.parse_plan(answer)
        scene, goal, *rest = prompt.splitlines()
        assert answer == f"{plan}\n" and rest[-1] == "Plan:" and goal.startswith("Goal: ")
        world = BabyAIWorld(LEVELS[0])
        attempts = []
        for tried, found in zip(rest[:-1:2], rest[1:-1:2], strict=True):
            wrong = tried.removeprefix("Tried: ").replace(", then ", "\n")
            assert SPEC.parse_plan(wrong) != plan
            attempts.append(Attempt(wrong, found.removeprefix("Found: ")))
        asked = propose_prompt(world, scene, goal.removeprefix("Goal: "), attempts, trained_on=PROMPT)
        assert asked == prompt
        revised += bool(attempts)
        if "pick_up" in answer and "open(" in answer:
            assert "locked" in prompt, "what the plan needs to know is told"
    assert revised


def test_seeds_are_training_seeds(practice: Practice) -> None:
    seeds = {practice.env_seed(index, turn) for index in (0, 1, 5_000_000) for turn in (0, 63)}
    assert len(seeds) == 6 and min(seeds) >= FIRST_TRAINING_SEED and max(seeds) < 2 * FIRST_TRAINING_SEED


def test_a_trained_model_is_asked_without_examples_and_steered_from_nothing() -> None:
    world, config = BabyAIWorld(LEVELS[0]), LoopConfig.preset()
    plain = propose_request(world, "You see a red ball ahead.", "go to the red ball", config)
    trained = propose_request(world, "You see a red ball ahead.", "go to the red ball", config, trained_on=PROMPT)
    assert plain.baseline is not None and trained.baseline is None
    assert trained.prompt == "You see a red ball ahead.\nGoal: go to the red ball\nPlan:\n"
    assert trained.grammar == plain.grammar


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


def test_a_plan_that_needs_unseen_facts_is_not_asked_for() -> None:
    tasks, world = Tasks(BabyAIWorld), "BabyAI-UnlockLocal-v0"
    told = hidden = 0
    for seed in range(30):
        shown = tasks.task(world, seed, np.random.default_rng(0), "own", look=False)
        known = tasks.task(world, seed, np.random.default_rng(0), "own", look=False, told=True)
        assert known is not None
        if shown is None:
            hidden += 1
            assert not any(fact in known.scene for fact in known.goal.facts)
        else:
            told += all(fact in shown.scene for fact in shown.goal.facts)
    assert told and hidden and told + hidden == 30
