"""The language model acting by itself: one action a prompt, until the level ends, told of what it saw and did."""

from collections.abc import Callable
from pathlib import Path

from gedanken.agent.llm.grammar import matches
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.evals.arms import ABOUT
from gedanken.evals.babyai_levels import BalrogBabyAI
from gedanken.evals.babyai_local import BabyAILocal
from gedanken.evals.main import run_suite
from gedanken.evals.peers.llm_actor import ACTOR, REMEMBERED, grammar_of, llm_actor
from gedanken.evals.suite import Parts
from gedanken.worlds.babyai import SPEC, BabyAIWorld

TASK = "BabyAI-GoToObj-v0"


def bots_actions(seed: int) -> list[str]:
    world = BabyAIWorld(TASK)
    env = world.make()
    env.reset(seed=seed)
    (step,) = world.mission_steps(env)
    expert, action, taken = world.expert(env, step), None, []
    while (action := expert.advise(action)) is not None:
        taken.append(SPEC.action_names[action])
        if any(env.step(action)[2:4]):
            break
    return taken


def test_what_it_says_is_done(make_parts: Callable[..., Parts]) -> None:
    script = bots_actions(4)
    parts, llm = make_parts(), ScriptedModel([[f"{action}\n"] for action in script])
    parts.load_llm = lambda: llm
    (sample,) = llm_actor(parts, TASK, [4])
    assert sample.success and [SPEC.action_names[a] for a in sample.actions] == script
    assert sample.decisions == sample.steps == len(script) == len(llm.prompts) and sample.tokens > 0
    first, last = llm.prompts[0], llm.prompts[-1]
    assert first.startswith("You move") and f"Goal: {sample.goal}\nYou see" in first and first.endswith("\nAction:")
    assert "left, right, forward, pickup, drop, toggle" in first
    assert last.count("Action: ") == min(len(script) - 1, REMEMBERED) and last.count("You see") <= REMEMBERED + 1


def test_an_episode_ends_with_the_level(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    parts = make_parts()
    parts.load_llm = lambda: ScriptedModel(lambda prompt: ["left\n"])
    answer = run_suite("babyai-local", limit=2, tasks=[TASK], arms=[ACTOR], runs=tmp_path, parts=parts)
    assert (answer["tasks"][0]["success"], answer["tasks"][0]["mean_steps"]) == (0.0, 64.0)


def test_it_plays_on_request() -> None:
    for suite in (BabyAILocal(), BalrogBabyAI()):
        assert ACTOR in suite.arms and ACTOR not in suite.default_arms
    assert ACTOR in ABOUT


def test_only_actions_can_be_said() -> None:
    grammar = grammar_of(SPEC.action_names)
    assert matches(grammar, "toggle\n") and not matches(grammar, "jump\n") and not matches(grammar, "left")
