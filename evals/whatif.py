"""The suite `whatif`: is what a model says of another input what the world does under that input?

The same plan, from the same beginning, is carried out really with an input as it is and as it is supposed to be, and
imagined so. Models are learned from episodes whose inputs are drawn anew each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gedanken.evals.control_learning import TRAINING_SEEDS, LearnedWorlds, Setting, learned, world_of
from gedanken.evals.judging import between, share
from gedanken.evals.measures import Estimate, Measure, mean
from gedanken.evals.number_open_loop import INSIDE, believed
from gedanken.evals.run_folder import Key
from gedanken.evals.statistics import Interval, bootstrap, mean_interval
from gedanken.evals.suite import Options, Parts, Table, evaluation_seeds
from gedanken.worldmodel.trying import pursue
from gedanken.worlds.spec import Plan

SETTINGS = {
    "Pendulum-gravity": Setting(10_000, 0.0, changes={"random": 3000, "explored": 0.0, "policy": {"discount": 0.97}}),
    "CartPole-force": Setting(10_000, 0, changes={"random": 2000, "explored": 0.0, "policy": {"discount": 0.995}}),
    "MountainCar-power": Setting(10_000, 0.0, changes={"random": 2000, "explored": 0.3}),
}
PLANS = {task: "maximize(reward, for 30)" for task in SETTINGS}
"""What is done in both worlds: the task itself for so many actions."""

CHANGES = (-0.4, -0.2, 0.2, 0.4)
"""Shares of an input's value by which it is changed; it stays in the range from which episodes drew it."""

FUTURES = 40


class WhatIfSuite(LearnedWorlds):
    """See the module; implements `Suite`."""

    name = "whatif"
    default_limit = 100
    known = SETTINGS
    arms = ("model",)
    clocks: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = (
        Estimate("error of the change, standard deviations", mean(lambda s: _error(s)), more_is_better=False),
    )

    def count(self, options: Options) -> int:
        """Return the number of samples."""
        return len(self.tasks) * options.limit

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield one sample for each supposed input."""
        over = {key[:2] for key in done}
        for task in self.tasks:
            known = cache(partial(learned, task, self.settings[task]))
            for seed in evaluation_seeds(options.seed, options.limit):
                if (task, seed) not in over:
                    trained = known(learner := seed % TRAINING_SEEDS)
                    yield {
                        "task": task,
                        "seed": seed,
                        "arm": "model",
                        "training_seed": learner,
                        **_asked(task, trained, seed),
                    }

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return, for each task, how far the predicted change is from the real one, beside that of no change."""
        tasks = list(dict.fromkeys(sample["task"] for sample in samples))
        return {"tasks": [_task(task, [sample for sample in samples if sample["task"] == task]) for task in tasks]}

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return one table."""
        rows = tuple(
            (
                row["task"],
                str(row["n"]),
                between(row["error"], 3),
                between(row["nothing"], 3),
                between(row["correlation"], 3),
                share(row["inside"]),
            )
            for row in results["tasks"]
        )
        columns = ("world", "n", "the model's error", "if nothing changed", "correlation", "inside nine tenths, %")
        note = (
            "the change of every number after 30 actions, in its standard deviations, mean over numbers; inside: the"
            f" real change lay between the 5 % and 95 % quantiles of {FUTURES} futures"
        )
        return [Table("another input: the change foretold and the real one", columns, rows, note)]


def _asked(task: str, trained: Any, seed: int) -> dict[str, Any]:
    """Suppose another input; return what changed really and in imagination, in standard deviations by number."""
    world, rng = world_of(task), np.random.default_rng((seed, 31))
    [(name, about)] = world.adapter.exogenous.items()
    now = float(rng.uniform(about.low, about.high))
    then = float(np.clip(now * (1 + CHANGES[int(rng.integers(len(CHANGES)))]), about.low, about.high))
    plan, model = world.spec.parse_plan(PLANS[task]), trained.model
    free = [i for i, variable in enumerate(world.spec.vector.variables) if not variable.exogenous]
    scale = model.scale.numpy()[free]
    real = (_real(world, trained, plan, seed, {name: then}) - _real(world, trained, plan, seed, {name: now}))[free]
    env = world.make()
    seen, _ = env.reset(seed=seed, options={"exogenous": {name: now}})
    env.close()
    belief = believed(model, torch.from_numpy(seen)[None])
    settings: dict[str, Any] = {"samples": FUTURES, "horizon": 1000, "standstill": 0, "seed": seed}
    ends = [
        trained.objective_actor.rehearse(belief, [plan], [0], **settings, inputs={name: value}).ends[0].numpy()[:, free]
        for value in (now, then)
    ]
    futures = (ends[1] - ends[0]) / scale  # [S, numbers]
    low, high = np.quantile(futures, INSIDE, axis=0)
    real = real / scale
    inside = (real >= low - 1e-6) & (real <= high + 1e-6)
    told = {"real": real.tolist(), "foretold": futures.mean(0).tolist(), "inside": inside.tolist()}
    return {"input": name, "now": now, "then": then, **told}


def _real(world: Any, trained: Any, plan: Plan, seed: int, inputs: dict[str, float]) -> NDArray[np.float64]:
    env = world.make(free=True)
    episode = pursue(world, env, plan, seed, trained.objective_actor, np.random.default_rng(seed), inputs).episode
    env.close()
    return np.asarray(episode.observations[-1], np.float64)


def _error(sample: Mapping[str, Any]) -> float:
    return float(np.mean(np.abs(np.subtract(sample["foretold"], sample["real"]))))


def _task(task: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    real, foretold = (np.array([sample[name] for sample in samples]) for name in ("real", "foretold"))
    return {
        "task": task,
        "n": len(samples),
        "error": mean_interval([_error(sample) for sample in samples]).as_dict(),
        "nothing": mean_interval(np.abs(real).mean(1)).as_dict(),
        "correlation": _correlation(foretold, real).as_dict(),
        "inside": mean_interval([float(np.mean(sample["inside"])) for sample in samples]).as_dict(),
    }


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> Interval:
    """Return Pearson's correlation of all numbers' changes, with its bootstrap interval over samples."""

    def statistic(rows: NDArray[np.int64]) -> float:
        first, second = one[rows].ravel(), other[rows].ravel()
        return float(np.corrcoef(first, second)[0, 1]) if first.std() and second.std() else float("nan")

    return bootstrap(statistic, np.arange(len(one)))
