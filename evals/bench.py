"""How long a language model takes to write plans, one decision at a time, as a person waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gedanken.agent.config import LoopConfig
from gedanken.agent.llm.protocol import LanguageModel, training_of
from gedanken.agent.plan_practice import Task, Tasks
from gedanken.agent.propose import propose_request
from gedanken.evals.statistics import quantiles
from gedanken.evals.suite import Table, evaluation_seeds
from gedanken.worlds.babyai_aims import LEVELS
from gedanken.worlds.spoken import SpeakingWorld

ROWS = {
    "first plan, seconds": ("first_seconds", 2),
    "all plans, seconds": ("seconds", 2),
    "tokens written": ("tokens", 0),
    "tokens read": ("prompt_tokens", 0),
    "plans": ("plans", 0),
}


def bench(
    llm: LanguageModel,
    make_world: Callable[[str], SpeakingWorld],
    *,
    goals: int,
    candidates: int,
    seed: int = 0,
    on_goal: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure decisions on missions of real levels; return quantiles of what they cost, the first decision apart.

    The first plan is timed on other goals than all plans, so that neither finds the other's prompt still warm.
    """
    tasks = Tasks(make_world)
    asked = _missions(tasks, seed, 2 * goals + 1)
    cold = _decide(llm, tasks, next(asked), candidates)["seconds"]
    rows = []
    for number in range(goals):
        first = _decide(llm, tasks, next(asked), 1)["seconds"]
        rows.append({**_decide(llm, tasks, next(asked), candidates), "first_seconds": first})
        on_goal(number + 1)
    costs = {
        key: dict(zip(("low", "median", "high"), quantiles([row[key] for row in rows]), strict=True)) for key in rows[0]
    }
    return {"model": llm.name, "goals": goals, "candidates": candidates, "cold_seconds": cold, "costs": costs}


def table(results: dict[str, Any]) -> Table:
    """Return the results for people."""
    rows = tuple(
        (name, *(f"{results['costs'][key][at]:.{digits}f}" for at in ("median", "low", "high")))
        for name, (key, digits) in ROWS.items()
    )
    wanted = f"{results['goals']} goals, {results['candidates']} plans wanted"
    note = f"{wanted}; the very first decision took {results['cold_seconds']:.2f} s"
    return Table(f"{results['model']}, one decision", ("what", "median", "10 %", "90 %"), rows, note)


def _missions(tasks: Tasks, seed: int, most: int) -> Iterator[Task]:
    """Yield goals in the levels' own words, the levels taking turns; some seeds have none."""
    for number, env_seed in enumerate(evaluation_seeds(seed, min(20 * most, 100_000))):
        level, rng = LEVELS[number % len(LEVELS)], np.random.default_rng(env_seed)
        if task := tasks.task(level, env_seed, rng, "own", look=True):
            yield task


def _decide(llm: LanguageModel, tasks: Tasks, task: Task, candidates: int) -> dict[str, float]:
    config = LoopConfig.preset(candidates=candidates)
    request = propose_request(tasks.world(task.world), task.scene, task.goal.text, config, training=training_of(llm))
    began = time.perf_counter()
    completions = request.send(llm)
    return {
        "seconds": time.perf_counter() - began,
        "tokens": float(sum(completion.completion_tokens for completion in completions)),
        "prompt_tokens": float(completions[0].prompt_tokens if completions else 0),
        "plans": float(len(completions)),
    }
