"""The suite `number-model`: what the learned models of worlds of numbers foretell, against what happened.

The models are those of the suite `control`. Episodes are from evaluation seeds, half of them with random actions and
half by the policy that was practised in the model. Arms share the episodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from gedanken.evals.control_learning import (
    MORE_TASKS,
    REWARD,
    TRAINING_SEEDS,
    LearnedWorlds,
    learned,
    lived,
    model_path,
    world_of,
)
from gedanken.evals.judging import between, share
from gedanken.evals.measures import Estimate, Measure, ratio
from gedanken.evals.number_open_loop import HORIZONS, Foreteller, Imagined, Linear, frozen, one_ahead, open_loop, strip
from gedanken.evals.run_folder import Key
from gedanken.evals.statistics import auroc_interval, ratio_interval
from gedanken.evals.suite import Options, Parts, Table, evaluation_seeds
from gedanken.worldmodel.trying import pursue

ARMS = ("model", "linear", "frozen")
SHOWN = (1, 4, 16, 64)
"""Horizons of which tables tell, and that are compared."""


def _error(horizon: int) -> Measure:
    name = f"error in standard deviations, {horizon} ahead"
    statistic = ratio(lambda s: s["horizons"][str(horizon)]["error"], lambda s: s["horizons"][str(horizon)]["n"])
    return Estimate(name, statistic, more_is_better=False, only=lambda s: str(horizon) in s["horizons"])


class NumberModelSuite(LearnedWorlds):
    """See the module; implements `Suite`."""

    name = "number-model"
    default_limit = 30
    arms = ARMS
    more_tasks = MORE_TASKS
    clocks: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = tuple(_error(horizon) for horizon in SHOWN)

    def count(self, options: Options) -> int:
        """Return the number of samples."""
        return len(self.tasks) * options.limit * len(options.arms)

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield one sample for each episode and arm."""
        over = {key[:3] for key in done}
        for task in self.tasks:
            world, setting = world_of(task), self.settings[task]
            for learner in range(TRAINING_SEEDS):
                seeds = [s for s in evaluation_seeds(options.seed, options.limit) if s % TRAINING_SEEDS == learner]
                left = [(seed, [a for a in options.arms if (task, seed, a) not in over]) for seed in seeds]
                if not any(arms for _, arms in left):
                    continue
                trained: Any = learned(task, setting, learner)
                tellers: dict[str, Foreteller] = {"model": Imagined(trained.model), "frozen": frozen}
                if "linear" in options.arms:
                    tellers["linear"] = Linear(world.spec, lived(model_path(task, learner).name, world.spec))
                for seed, arms in left:
                    if not arms:
                        continue
                    env, rng, random = world.make(), np.random.default_rng(seed), (seed // TRAINING_SEEDS) % 2 == 1
                    actor = None if random else trained.objective_actor
                    episode = pursue(world, env, world.spec.parse_plan(REWARD), seed, actor, rng).episode
                    env.close()
                    for arm in arms:
                        told: dict[str, Any] = {"horizons": open_loop(tellers[arm], episode, trained.model.scale)}
                        if arm == "model":
                            told |= one_ahead(trained.model, episode) | {"strip": strip(tellers[arm], episode)}
                        about = {"acting": "random" if random else "policy", "training_seed": learner}
                        yield {"task": task, "seed": seed, "arm": arm, **about, **told}

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return errors by task, arm and horizon, and what is foretold one action ahead, with intervals."""
        tasks = list(dict.fromkeys(sample["task"] for sample in samples))
        return {"tasks": [_task(task, [sample for sample in samples if sample["task"] == task]) for task in tasks]}

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return the results for people."""
        return [_errors(results), _variables(results), _one_ahead(results)]


def _task(task: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    variables = [variable.name for variable in world_of(task).spec.vector.variables]
    units = [variable.unit for variable in world_of(task).spec.vector.variables]
    found: dict[str, Any] = {"task": task, "variables": variables, "units": units, "arms": {}}
    for arm in dict.fromkeys(sample["arm"] for sample in samples):
        own = [sample for sample in samples if sample["arm"] == arm]
        found["arms"][arm] = {str(h): _horizon(own, str(h)) for h in HORIZONS}
        if arm == "model":
            frames = [sample["frames"] for sample in own]
            pairs = [(chance, happened, n) for n, s in enumerate(own) for chance, happened in s["ending"]]
            chances, happened, groups = zip(*pairs, strict=True)
            found |= {
                "episodes": len(own),
                "nats": ratio_interval([s["nats"] for s in own], frames).as_dict(),
                "reward": ratio_interval([s["reward"] for s in own], frames).as_dict(),
                "ended": int(sum(happened)),
                "ending": auroc_interval(chances, happened, groups).as_dict(),
            }
    return found


def _horizon(samples: Sequence[Mapping[str, Any]], horizon: str) -> dict[str, Any]:
    there = [sample["horizons"][horizon] for sample in samples if horizon in sample["horizons"]]
    counts = [row["n"] for row in there]
    sums = np.sum([row["variables"] for row in there], 0) if there else np.zeros(0)
    return {
        "n": int(sum(counts)),
        "error": ratio_interval([row["error"] for row in there], counts).as_dict(),
        "inside": ratio_interval([row["inside"] for row in there], counts).as_dict(),
        "variables": (sums / max(1, sum(counts))).tolist(),
    }


def _errors(results: Mapping[str, Any]) -> Table:
    rows = []
    for task in results["tasks"]:
        for horizon in map(str, SHOWN):
            arms = {arm: found[horizon] for arm, found in task["arms"].items()}
            if not all(row["n"] for row in arms.values()):
                continue
            told = [between(arms[arm]["error"], 3) if arm in arms else "–" for arm in ARMS]
            inside = share(arms["model"]["inside"]) if "model" in arms else "–"
            rows.append((task["task"], horizon, str(next(iter(arms.values()))["n"]), *told, inside))
    columns = ("world", "actions ahead", "n", "model", "linear model", "frozen world", "inside nine tenths, %")
    note = "mean absolute error of all numbers, each in its standard deviations; inside: what happened lay between the"
    return Table("open loop, error", columns, tuple(rows), f"{note} 5 % and 95 % quantiles of 20 futures")


def _variables(results: Mapping[str, Any]) -> Table:
    rows = []
    for task in results["tasks"]:
        if "model" not in task["arms"]:
            continue
        told = [task["arms"]["model"][str(horizon)]["variables"] for horizon in SHOWN]
        for index, (name, unit) in enumerate(zip(task["variables"], task["units"], strict=True)):
            cells = (f"{values[index]:.3g}" if values else "–" for values in told)
            rows.append((task["task"], name, unit or "–", *cells))
    columns = ("world", "number", "unit", *(f"{horizon} ahead" for horizon in SHOWN))
    return Table("open loop, the model's error in units", columns, tuple(rows))


def _one_ahead(results: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            task["task"],
            str(task["episodes"]),
            between(task["nats"], 2),
            between(task["reward"], 3),
            str(task["ended"]),
            share(task["ending"]),
        )
        for task in results["tasks"]
        if "nats" in task
    )
    columns = ("world", "episodes", "nats a transition", "reward's error", "ends", "AUROC of an end, %")
    return Table("one action ahead", columns, rows, "nats with each number's standard deviation as its unit")
