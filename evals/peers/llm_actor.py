"""A language model that acts by itself, one action a prompt, as BALROG's agents do; no plan, no controller, no critic.

Paglieri et al., "BALROG", 2024. It reads what is in sight in words, the last few views and its actions, and the goal.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial

from gedanken.agent.llm.protocol import Completion
from gedanken.evals.arms import SIDE_BY_SIDE
from gedanken.evals.sample import Sample
from gedanken.evals.suite import Parts
from gedanken.prompts import render

ACTOR = "llm-actor"

REMEMBERED = 8
"""Views and actions that a prompt tells of, besides the present view."""

LONGEST = 8
"""Most tokens of an action's name."""


def grammar_of(actions: Sequence[str]) -> str:
    """Return a Lark grammar of the names of actions, each closed by a newline."""
    names = " | ".join(f'"{action}"' for action in actions)
    return f'start: ({names}) "\\n"\n'


def llm_actor(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Play episodes side by side; the language model chooses every action until the level ends."""
    works = [partial(_play, parts, task, seed) for seed in seeds]
    for _, sample in parts.together.run(works, width=SIDE_BY_SIDE):
        yield sample


def _play(parts: Parts, task: str, seed: int) -> Sample:
    world, config = parts.make_world(task), parts.config
    env, names = world.make(), world.spec.action_names
    raw, _ = env.reset(seed=seed)
    goal, moments = world.mission(raw), list[tuple[str, str]]()
    asked: list[Completion] = []
    reward, acting, over = 0.0, 0.0, False
    while not over:
        scene = world.describe(world.observation(raw), world.spec.grid.agent)
        [[said]] = parts.together.complete(
            [render("act", actions=names, goal=goal, moments=moments[-REMEMBERED:], scene=scene)],
            n=1,
            grammar=grammar_of(names),
            temperature=config.temperature,
            max_tokens=LONGEST,
            seed=config.seed + len(moments),
        )
        asked.append(said)
        action, began = said.text.strip(), time.perf_counter()
        raw, reward, terminated, truncated, _ = env.step(names.index(action))  # type: ignore[assignment]
        acting += time.perf_counter() - began
        moments.append((scene, action))
        over = bool(terminated or truncated)
    env.close()
    return Sample(
        task,
        seed,
        ACTOR,
        float(reward) > 0,
        len(moments),
        goal,
        decisions=len(asked),
        tokens=sum(said.completion_tokens for said in asked),
        prompt_tokens=sum(said.prompt_tokens for said in asked),
        seconds=sum(said.seconds for said in asked),
        acting_seconds=acting,
        actions=tuple(names.index(action) for _, action in moments),
    )
