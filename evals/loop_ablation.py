"""The suite `loop-ablation`: the loop put together part by part, and whether each part pays.

Every arm has one part more than the one before: the language model's first plan that can be read, then under the
grammar, then the best of several plans in rehearsal, judged by the calibrated critic, revised, and planned anew where
reality differs, which is the whole loop; then the loop after it has learnt. The same seeds, and the same answers of the
language model where arms ask the same. On the tasks parts can matter: goals in words that no planner was trained on,
goals that lack a step, and a level whose actions do something else, against which only learning helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gedanken.agent.config import LoopConfig
from gedanken.agent.mind import Describe, Judge
from gedanken.agent.readings import Reading
from gedanken.agent.verdict import Verdict
from gedanken.evals.arms import ABOUT, ARMS, IDLE, Arm, llm_alone, llm_unguided, loop
from gedanken.evals.episodes import EpisodeSuite, costs_of_arms, difference, episodes_of
from gedanken.evals.sample import Sample
from gedanken.evals.shift import SETTING
from gedanken.evals.shift_learning import learned, shifted_path
from gedanken.evals.suite import Options, Parts, Table
from gedanken.evals.task_world import TaskWorld
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worlds.protocol import DemonstratedWorld

LEVELS = ("BabyAI-PutNextLocal-v0", "BabyAI-UnlockLocalDist-v0")
LOCKED = tuple(f"BabyAI-{name}-v0" for name in ("Unlock", "KeyCorridor", "UnlockToUnlock", "BlockedUnlockPickup"))
"""Levels of more rooms in which a goal lacks its steps, for a checkpoint that knows rooms."""

OTHER_WORDS = ", other words"
SHIFTED = "BabyAI-GoToLocal-v0+swapped-turns"
LEARNING, LESSONS = "+learning", 50
"""The arm that has learnt, and the episodes that it learns from: those of `shift`, of its first training seed."""

TASKS = (f"{LEVELS[0]}{OTHER_WORDS}", LEVELS[1], f"{LEVELS[1]}{OTHER_WORDS}", SHIFTED)


class Unjudged:
    """Believes a rehearsal as it stands: success is the share of futures, and nobody judges what the goal means."""

    def __init__(self, critic: Judge) -> None:
        self.critic = critic

    def judge(
        self,
        goal: str,
        rehearsal: Rehearsal,
        describe: Describe | None = None,
        readings: Sequence[Reading] = (),
    ) -> list[Verdict]:
        """See `Judge`."""
        said = self.critic.judge(goal, rehearsal, describe, readings)
        return [verdict.model_copy(update={"success": verdict.carried_out, "satisfies": None}) for verdict in said]


def _rehearsed(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Choose by rehearsal alone; nothing is declined."""
    config = parts.config.model_copy(update={"rounds": 0, "replans": 0, "decline": 0.0})
    yield from loop(parts, task, seeds, arm="+rehearsal", config=config, critic=Unjudged(parts.critic))


def _with(arm: str, parts: Parts, task: str, seeds: Sequence[int], **changes: int) -> Iterator[Sample]:
    yield from loop(parts, task, seeds, arm=arm, config=parts.config.model_copy(update=changes))


def _learned(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Learn from episodes on training seeds as `gedanken learn` does, and learn no more then."""
    pupil = learned(parts, task, SETTING, 0, LESSONS, True)
    config = parts.config.model_copy(update=LoopConfig.own(pupil.card))
    yield from loop(parts, task, seeds, arm=LEARNING, trained=pupil, config=config)


BUILT: dict[str, Arm] = {
    "llm": partial(llm_unguided, arm="llm"),
    "+grammar": partial(llm_alone, arm="+grammar"),
    "+rehearsal": _rehearsed,
    "+critic": partial(_with, "+critic", rounds=0, replans=0),
    "+revision": partial(_with, "+revision", replans=0),
    "loop": loop,
    LEARNING: _learned,
}
"""The arms in the order in which the loop is put together."""

ADDED = {
    "+grammar": "the grammar",
    "+rehearsal": "rehearsal",
    "+critic": "the calibrated critic",
    "+revision": "revision",
    "loop": "new plans where reality differs",
    LEARNING: "learning from episodes",
}
"""What each arm has that the one before it has not."""


class LoopAblation(EpisodeSuite):
    """See the module."""

    name = "loop-ablation"
    default_limit = 100
    levels = TASKS
    more_tasks = (LEVELS[0], *LOCKED)
    players = {
        "loop": loop,
        **dict(reversed(BUILT.items())),
        **{name: ARMS[name] for name in ("policy", "oracle-plan", "bot", "random", IDLE)},
    }
    default_arms = tuple(players)
    arms_share = True
    worlds: Mapping[str, str] = {task: task.removesuffix(OTHER_WORDS) for task in (*LEVELS, *LOCKED, *TASKS)}
    about = ABOUT | {
        "llm": "the first plan that can be read of those that the language model writes without a grammar",
        "+grammar": "the language model's first plan under the grammar",
        "+rehearsal": "the plan that is carried out in most futures; what it means is not judged",
        "+critic": "the plan of likeliest success as the critic says, or none",
        "+revision": "the same, up to two rounds of revision",
        "loop": "the same, and new plans where reality differs: the whole loop",
        LEARNING: f"the whole loop after {LESSONS} episodes of the level on training seeds, and learning from them",
    }

    def plays(self, task: str, arm: str) -> bool:
        """Tell whether an arm plays a task: where actions do something else only learning matters, and no bot plays."""
        if task == SHIFTED:
            return arm in ("loop", LEARNING) or arm not in (*BUILT, "bot")
        return arm != LEARNING

    @property
    def learning(self) -> dict[str, Any]:
        """Return how the last arm learns."""
        return SETTING.plain()

    def weights(self, options: Options) -> list[Path]:
        """Return the file of what the last arm has learned, there already or not."""
        tasks = [task for task in self.tasks if LEARNING in options.arms and self.plays(task, LEARNING)]
        return [shifted_path(task, 0, LESSONS, True) / "model.safetensors" for task in tasks]

    def make_world(self, task: str) -> DemonstratedWorld:
        """Return a task's level, its mission in other words where the task says so."""
        from gedanken.agent.loading import load_practice

        world = load_practice(self.worlds[task])
        return TaskWorld(world, task, words="test") if task.endswith(OTHER_WORDS) else world

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what `EpisodeSuite` does, and as `parts` what each part adds, over all tasks and one by one."""
        return super().summarise(samples) | {"parts": _parts(episodes_of(samples), self.worlds)}

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return success by arm, and what each part adds."""
        rows = tuple(
            (
                ADDED[row["part"]],
                row["task"] or "all",
                f"{100 * row['value']:+.1f} [{_signed(row['low'])}, {_signed(row['high'])}]",
                str(row["n"]),
                _pays(row),
            )
            for row in results["parts"]
        )
        note = "success %, with the part minus without it, paired; a level is one scene in its own and in other words"
        note += "; the intervals of one task hold together with 95 % (Bonferroni)"
        columns = ("part", "task", "adds", "scenes", "pays?")
        return [*super().tables(results), Table("what each part adds", columns, rows, note)]

    def costs(self, results: Mapping[str, Any]) -> list[Table]:
        """Return what an episode of each arm costs."""
        return costs_of_arms(results)


def _parts(episodes: Sequence[Sample], worlds: Mapping[str, str]) -> list[dict[str, Any]]:
    found, level = [], 1 - 0.05 / len(ADDED)
    tasks = list(dict.fromkeys(episode.task for episode in episodes))
    for task in [None, *(tasks if len(tasks) > 1 else [])]:
        mine = [episode for episode in episodes if task in (None, episode.task)]
        arms = [arm for arm in BUILT if any(episode.arm == arm for episode in mine)]
        for before, after in zip(BUILT, list(BUILT)[1:], strict=False):
            if before in arms and after in arms:
                sides = ([episode for episode in mine if episode.arm == arm] for arm in (after, before))
                adds = difference(*sides, level=level, worlds=worlds)
                found += [{"part": after, "task": task, **adds.as_dict()}] if adds else []
    return found


def _signed(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.1f}"


def _pays(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return "too few to say"
    return "yes" if row["low"] > 0 else "no, it costs" if row["high"] < 0 else "not beyond noise"
