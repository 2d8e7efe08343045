"""The suite `world-model`: what a world model predicts without looking, against what was seen.

Episodes are the demonstrator's, half of them missions, half practice, from evaluation seeds: held out from all
training. What is measured of them is in `open_loop`, `other_actions` and
`replay`, what it comes to in `foresight`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import torch

from gedanken.evals import foresight
from gedanken.evals.babyai_local import TASKS as ONE_ROOM
from gedanken.evals.measures import Measure
from gedanken.evals.open_loop import observe_and_imagine
from gedanken.evals.replay import Replay, replay
from gedanken.evals.run_folder import Key
from gedanken.evals.suite import Options, Parts, Table, chunks, evaluation_seeds
from gedanken.worldmodel.collect import Practice, demonstrate
from gedanken.worldmodel.episode import Episode
from gedanken.worlds.babyai import level_ids

TASKS = (*ONE_ROOM, "BabyAI-GoTo-v0", "BabyAI-Unlock-v0")
"""Levels of one room, and two of many, whose episodes are long enough for the far horizons."""

PRACTICE = Practice(patience=250)
"""How the episodes are made: patient enough to walk through many rooms."""

CHUNK = 32


class WorldModelSuite:
    """See the module; implements `Suite`. Every level can be measured, `TASKS` are where none is named."""

    name = "world-model"
    default_limit = 20
    arms = ("model",)
    clocks: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = foresight.MEASURES

    def __init__(self, tasks: Sequence[str] = TASKS) -> None:
        self.tasks = tuple(tasks)

    @property
    def more_tasks(self) -> tuple[str, ...]:
        """Return the tasks that are measured when they are named."""
        return tuple(level for level in level_ids() if level not in self.tasks)

    def count(self, options: Options) -> int:
        """Return the number of episodes."""
        return len(self.tasks) * options.limit

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield one sample per episode."""
        seeds = evaluation_seeds(options.seed, options.limit)
        for task in self.tasks:
            for chunk in chunks(seeds, CHUNK):
                left = [seed for seed in chunk if (task, seed, "model") not in done]
                if not left:
                    continue
                episodes, replays = zip(*(_episode(parts, task, seed) for seed in chunk), strict=True)
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(parts.config.seed)
                    measured = observe_and_imagine(parts.trained.model, episodes, replays)
                for seed, sample in zip(chunk, measured, strict=True):
                    if seed in left:
                        yield {"task": task, "seed": seed, "arm": "model", **sample}

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what was right, by horizon, by action and by level, and what disagreement says of it."""
        return foresight.summarise(samples)

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return the results for people."""
        return foresight.tables(results)


def _episode(parts: Parts, task: str, seed: int) -> tuple[Episode, Replay]:
    """Return an episode, and what its environment says when it is played again."""
    world = parts.make_world(task)
    env = world.make(free=seed % 2 == 1)
    episode = demonstrate(world, env, seed, PRACTICE)
    return episode, replay(world, env, episode)
