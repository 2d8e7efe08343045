"""Carry a plan out in the real environment, watched by the world's own verifiers. Knows no language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gedanken.agent.events import Acted, StepEnded, StepStarted
from gedanken.agent.mind import Mind, view_of
from gedanken.agent.session import Session, spell
from gedanken.agent.verdict import Verdict
from gedanken.worlds.gym_world import ObjectiveWatch
from gedanken.worlds.protocol import News
from gedanken.worlds.spec import Plan

Ending = Literal["done", "reached", "over", "timeout", "standstill", "surprise", "barred", "failed", "broken"]
"""`barred` says that something was seen that the plan does not provide for, `failed` that the step can't be achieved
any more, `broken` that what was to be avoided happened."""

Result = Literal["achieved", "timeout", "standstill", "surprise", "barred", "failed", "over"]


@dataclass(frozen=True)
class Carried:
    """How carrying out a plan ended, and at which step (an index into the plan)."""

    ending: Ending
    step: int
    why: str


def came_of(verdict: Verdict, carried: Carried, session: Session) -> list[dict[str, Any]]:
    """Return what was foretold of a plan, and whether it was carried out; nothing where a time limit left that open."""
    if carried.ending == "over" and not session.terminated:
        return []
    told = verdict.model_dump(mode="json", include={"carried_out", "disagreement", "futures"})
    return [told | {"happened": carried.ending in ("done", "reached")}]


def carry_out(mind: Mind, plan: Plan, first: int = 0, scene: str = "") -> Carried:
    """Act from step `first` on until the plan is done, the environment ends, or reality differs too much from it.

    `scene` is what was known when the plan was made. A step is watched from where it begins, as it was in training; its
    places ("behind you") speak of where the goal was given.
    """
    for index in range(first, len(plan.steps)):
        carried = _pursue(mind, plan, index, scene)
        if carried is not None:
            return carried
    return Carried("done", len(plan.steps) - 1, "every step was achieved")


def _pursue(mind: Mind, plan: Plan, index: int, scene: str) -> Carried | None:
    """Pursue one step; return None when it was achieved and the episode goes on.

    An objective has its own time, and standing still may be what it asks for.
    """
    session, config, step = mind.session, mind.config, plan.steps[index]
    watch = session.watch(plan, index)
    objective = watch if isinstance(watch, ObjectiveWatch) else None
    session.pursue(plan, index)
    mind.emit(StepStarted(index=index, of=len(plan.steps), step=str(step)))

    def ended(result: Result, spent: int) -> None:
        mind.emit(StepEnded(index=index, step=str(step), result=result, actions=spent))

    news = News(mind.world, step, scene, prepared=index > 0)
    still, before = 0, session.view
    most = objective.most if objective else config.patience
    for spent in range(1, most + 1):
        mind.heed()
        action = session.decide(config.seed, greedy=config.greedy)
        now = session.take(action, str(step), watch.achieved)
        mind.emit(
            Acted(
                number=session.spent,
                action=spell(mind.world.spec, action),
                step=str(step),
                view=view_of(now.observation),
                surprise=now.surprise,
                reward=now.reward,
            )
        )
        if now.over:
            ended("achieved" if now.achieved else "over", spent)
            if objective and now.achieved and index == len(plan.steps) - 1:
                return None
            reached = now.reward > 0 and not objective  # a reward is a mission met only where there is a mission
            return Carried("reached" if reached else "over", index, "the environment ended the episode")
        if now.achieved:
            ended("achieved", spent)
            return None
        if objective and objective.failed:
            ended("failed", spent)
            return Carried("broken" if objective.broken else "failed", index, f"{step}: {objective.why()}")
        if why := news.of(now.observation):
            ended("barred", spent)
            return Carried("barred", index, why)
        if now.surprise > config.surprise:
            ended("surprise", spent)
            return Carried("surprise", index, surprised(step, now.surprise))
        still, before = (still + 1 if np.array_equal(before, now.observation) else 0), now.observation
        if still >= config.standstill and not objective:
            ended("standstill", spent)
            return Carried("standstill", index, stood_still(step, still))
    ended("timeout", most)
    return Carried("timeout", index, not_achieved(step, most))


def not_achieved(step: object, actions: int) -> str:
    """Put into words that a step took too long."""
    return f"{step} was not achieved in {actions} actions"


def stood_still(step: object, actions: int) -> str:
    """Put into words that what was done for a step did nothing any more."""
    return f"{step}: nothing changed any more, {actions} actions long"


def surprised(step: object, nats: float) -> str:
    """Put into words that a step met what the world model does not know."""
    return f"{step}: the world surprised me ({nats:.0f} nats), so I no longer trust the plan"
