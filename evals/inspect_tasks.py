"""Suites of episodes as tasks of inspect-ai, so that `inspect eval` runs them and `inspect view` shows them.

    inspect eval gedanken/suite -T name=babyai-local -T arm=loop -T limit=5 --model none

One log is one arm on all of a suite's tasks; a sample is a task and a seed, the same as in `gedanken eval`, whose draws
it repeats. The language model is the one that `-T llm=…` names: `--model` has no part in it.
"""

from __future__ import annotations

import asyncio
import json
import threading
from functools import partial
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as InspectSample
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, grouped, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver

from gedanken.evals.careful import alone
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.errors import EvalError
from gedanken.evals.main import Asked, load_suite, refuse_seen
from gedanken.evals.run_folder import Key
from gedanken.evals.suite import Options, Parts, keys

FOUND = "sample"
"""Where a solved sample keeps what our suite measured."""


@task
def suite(
    name: str = "babyai-local",
    arm: str | None = None,
    limit: int = 20,
    seed: int = 0,
    checkpoint: str | None = None,
    llm: str | None = None,
    parts: Parts | None = None,
) -> Task:
    """Return an arm's episodes of a suite as a task; arguments as in `gedanken eval`, and `parts` for Python.

    Raises EvalError for a suite that is none of episodes and an arm that it has not, and what loading raises.
    """
    measured = load_suite(name)
    if not isinstance(measured, EpisodeSuite):
        raise EvalError(f"{name} is no suite of episodes; `gedanken eval {name}` measures it")
    arm = arm or measured.arms[0]
    if arm not in measured.arms:
        raise EvalError(f"{name} has no arm {arm!r}; it has {', '.join(measured.arms)}")
    options = Options(limit, seed, (arm,))
    parts = parts or Asked(name, limit, seed, [arm], None, checkpoint, llm).parts()
    refuse_seen(measured, options, parts)
    samples = [
        InspectSample(id=f"{task_} {number}", input=f"{task_}, seed {number}", metadata={"task": task_, "seed": number})
        for task_, number, _ in keys(measured, options)
    ]
    return Task(
        dataset=MemoryDataset(samples, name=name),
        solver=played(measured, parts, options),
        scorer=success(),
        name=f"{name}-{arm}",
        metadata={"suite": name, "arm": arm, "checkpoint": str(parts.trained.path), "llm": parts.config.llm},
    )


@solver
def played(measured: EpisodeSuite, parts: Parts, options: Options) -> Solver:
    """Play a sample as `gedanken eval` does; one at a time, for they share a model."""
    turn = threading.Lock()

    def play(key: Key, epoch: int) -> dict[str, Any]:
        with turn:
            return alone(measured, parts.in_epoch(epoch), options, key)[0]

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        key = (state.metadata["task"], state.metadata["seed"], options.arms[0])
        found = await asyncio.to_thread(partial(play, key, state.epoch))
        if found.get("error"):
            raise EvalError(f"{' '.join(map(str, key))}: {found['error']}")
        told = json.dumps(found, indent=1, ensure_ascii=False, default=str)
        state.messages = [ChatMessageUser(content=found["goal"] or "–"), ChatMessageAssistant(content=told)]
        state.output = ModelOutput.from_content("gedanken", f"{'reached' if found['success'] else 'not reached'}")
        state.store.set(FOUND, found)
        return state

    return solve


@scorer(metrics=[grouped(accuracy(), "task"), stderr()])
def success() -> Scorer:
    """Score an episode: did it reach its goal within the level's own step limit?"""

    async def score(state: TaskState, target: Target) -> Score:
        found: dict[str, Any] = state.store.get(FOUND)
        told = f"{found['steps']} actions, {found['tokens']} tokens"
        return Score(value=CORRECT if found["success"] else INCORRECT, explanation=told)

    return score
