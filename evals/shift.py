"""The suite `shift`: levels whose actions do something else than where the checkpoint learned them.

How much is reached before anything is learned, and after so many real episodes: with what was imagined beside them, and
with as many gradient steps on the real ones alone. The right plan is carried out, so that plans make no difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gedanken.evals.arms import ABOUT, IDLE, Arm, no_op, oracle, random
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.sample import Sample
from gedanken.evals.shift_learning import ShiftSetting, learned, shifted_path
from gedanken.evals.suite import Options, Parts, evaluation_seeds
from gedanken.worlds.babyai_shifts import SHIFTED

TASKS = (
    "BabyAI-GoToLocal-v0+swapped-turns",
    "BabyAI-PutNextLocal-v0+swapped-turns",
    "BabyAI-PickupLoc-v0+noisy",
    "BabyAI-PickupLoc-v0+sticky",
)
SETTING = ShiftSetting()
REAL_ONLY = ", real only"
UNSHIFTED = "not shifted"
"""The ceiling."""


def _after(budget: int, imagined: bool) -> str:
    return f"after {budget}{'' if imagined else REAL_ONLY}"


def _learned(
    budget: int, imagined: bool, setting: ShiftSetting, parts: Parts, task: str, seeds: Sequence[int]
) -> Iterator[Sample]:
    """Carry right plans out with what was learned from so many episodes; seeds take turns among training seeds."""
    by_learner: dict[int, list[int]] = defaultdict(list)
    for seed in seeds:
        by_learner[setting.learner(seed)].append(seed)
    for learner, mine in by_learner.items():
        pupil = learned(parts, task, setting, learner, budget, imagined)
        for sample in oracle(replace(parts, trained=pupil), task, mine):
            yield replace(sample, arm=_after(budget, imagined))


def _before(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    for sample in oracle(parts, task, seeds):
        yield replace(sample, arm="before")


def _unshifted(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    for sample in oracle(parts, task.partition(SHIFTED)[0], seeds):
        yield replace(sample, task=task, arm=UNSHIFTED)


def _players(setting: ShiftSetting) -> dict[str, Arm]:
    stages = [(budget, imagined) for budget in reversed(setting.budgets) for imagined in (True, False)]
    after: dict[str, Arm] = {_after(*stage): partial(_learned, *stage, setting) for stage in stages}
    return {**after, "before": _before, UNSHIFTED: _unshifted, "random": random, IDLE: no_op}


class ShiftSuite(EpisodeSuite):
    """See the module."""

    name = "shift"
    default_limit = 100
    levels = TASKS
    players = _players(SETTING)
    default_arms = tuple(players)
    about = {
        "before": "a right plan, carried out by the controller of the checkpoint as it is",
        UNSHIFTED: "the same in the level as it was before, on the same seeds: the ceiling",
        **{arm: ABOUT[arm] for arm in ("random", IDLE)},
        **{_after(b, True): f"the same after {b} real episodes, learned from and imagined on" for b in SETTING.budgets},
        **{_after(b, False): f"the same, the gradient steps all on the {b} real episodes" for b in SETTING.budgets},
    }

    def __init__(self, tasks: Sequence[str] | None = None, setting: ShiftSetting = SETTING) -> None:
        self.setting, self.players = setting, _players(setting)
        super().__init__(tasks)

    @property
    def learning(self) -> dict[str, Any]:
        """Return how the arms' models are learned."""
        return self.setting.plain()

    def weights(self, options: Options) -> list[Path]:
        """Return the files of the models, there already or not."""
        learners = sorted({self.setting.learner(seed) for seed in evaluation_seeds(options.seed, options.limit)})
        stages = [
            (b, imagined)
            for b in self.setting.budgets
            for imagined in (True, False)
            if _after(b, imagined) in options.arms
        ]
        paths = [shifted_path(task, n, *stage) for task in self.tasks for n in learners for stage in stages]
        return [path / "model.safetensors" for path in paths]
