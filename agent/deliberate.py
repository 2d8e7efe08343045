"""Rehearse plans, have them judged, and choose one. Asks no language model, and knows no environment."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gedanken.agent.config import LoopConfig
from gedanken.agent.events import Candidate, Forecast, Imagining, Judged, Practising, Proposed, Rehearsed, View
from gedanken.agent.llm.protocol import LanguageModel, training_of
from gedanken.agent.mind import Describe, Judge, Sink, view_of
from gedanken.agent.propose import Attempt
from gedanken.agent.readings import Reading
from gedanken.agent.session import done_before
from gedanken.agent.verdict import Verdict
from gedanken.worldmodel.actor import Actor
from gedanken.worldmodel.protocol import Belief
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worlds.spec import Plan

NEW = 0.1
"""Least probability of all new plans together for which a revision is rehearsed."""

BARELY = 0.1
"""Least probability that a plan is what is meant for which it is rehearsed, where the critic knows that beforehand."""

NOT_IMAGINED = "it is hardly what the goal asks for, so it was not imagined"

FRAMES = 8
"""Imagined frames that an event shows."""


@runtime_checkable
class Listener(Protocol):
    """A critic that also says what a plan's words mean for a goal, before anything is imagined."""

    def satisfies(self, goal: str, plans: Sequence[Plan]) -> list[float]:
        """Return, for each plan, the probability that achieving its steps meets the goal."""
        ...


@runtime_checkable
class Sieve(Protocol):
    """A critic that knows before anything is imagined which plans cannot be what is meant."""

    def could_mean(self, plans: Sequence[Plan], readings: Sequence[Reading]) -> list[float]:
        """Return, for each plan, the probability that it holds what is meant."""
        ...


@dataclass(frozen=True)
class Option:
    """A plan with its verdict, the round that it came from, its log-probability and the step to begin with."""

    verdict: Verdict
    round: int
    log_probability: float | None
    begin: int = 0

    @property
    def plan(self) -> Plan:
        """The plan, whole."""
        return self.verdict.plan

    @property
    def candidate(self) -> Candidate:
        """The plan as it was written."""
        return Candidate(plan=str(self.plan), log_probability=self.log_probability, round=self.round)


def hardly_meant(
    critic: object, candidates: Sequence[Candidate], plans: Sequence[Plan], readings: Sequence[Reading]
) -> dict[int, Verdict]:
    """Return verdicts on the candidates that are hardly meant, by their place: these need not be imagined.

    None where that is not known beforehand, for what a person wrote, and of first proposals for the likeliest.
    """
    if not readings or not isinstance(critic, Sieve):
        return {}
    meant = critic.could_mean(plans, readings)
    first = {reading.plan for reading in readings} >= set(plans)
    least = min(BARELY, max(meant)) if first else BARELY
    return {
        index: Verdict(
            plan=plans[index],
            success=0.0,
            low=0.0,
            high=0.0,
            satisfies=chance,
            carried_out=0.0,
            steps=None,
            failing_step=None,
            failing_share=0.0,
            disagreement=0.0,
            reasons=NOT_IMAGINED,
            futures=0,
        )
        for index, chance in enumerate(meant)
        if chance < least and candidates[index].log_probability is not None
    }


def imagine(
    actor: Actor,
    belief: Belief,
    plans: Sequence[Plan],
    achieved: list[str],
    config: LoopConfig,
    round: int,
    emit: Sink,
    inputs: Mapping[str, float] | None = None,
) -> tuple[Rehearsal, list[int], Rehearsed]:
    """Rehearse plans from a belief; return also the step with which each is best begun.

    Where first steps were achieved already, the plan is rehearsed without them as well as whole: whether they still
    hold shows in what is imagined. The rehearsal that is returned speaks of whole plans: steps left out are reached
    after 0 actions. `emit` hears of what has to be practised first, and of every moment of the first plan's first
    future in which something changes. `inputs` sets exogenous variables for all futures.
    """
    shown: list[View] = []
    for step in actor.prepare(plans):
        emit(Practising(round=round, step=step))
    began = time.perf_counter()

    def show(views: Tensor) -> None:
        view = view_of(views[0])
        if not shown or view != shown[-1]:
            shown.append(view)
            emit(Imagining(round=round, plan=str(plans[0]), view=view))

    done = [min(done_before(plan, achieved), len(plan.steps) - 1) for plan in plans]
    whole = [index for index, skip in enumerate(done) if skip]
    rehearsal = actor.rehearse(
        belief,
        [*plans, *(plans[index] for index in whole)],
        [*done, *[0] * len(whole)],
        samples=config.samples,
        horizon=config.horizon,
        standstill=config.standstill,
        seed=config.seed,
        inputs=inputs,
        watch=show,
    )
    share = rehearsal.success.float().mean(1).tolist()
    rows = list(range(len(plans)))
    for row, index in enumerate(whole, len(plans)):
        if share[row] > share[index]:
            rows[index], done[index] = row, 0
    rehearsal = rehearsal[rows]
    views = rehearsal.views
    length = int(rehearsal.length[0, 0])
    frames = [] if views is None else [view_of(views[0, t]) for t in _spread(length + 1, FRAMES)]
    imagined = _whole(rehearsal, plans, done)
    event = Rehearsed(
        round=round,
        plans=[str(plan) for plan in plans],
        futures=config.samples,
        actions=int(rehearsal.length.sum()),
        seconds=time.perf_counter() - began,
        views=frames,
        forecasts=forecasts(imagined),
    )
    return imagined, done, event


def forecasts(rehearsal: Rehearsal) -> list[list[Forecast]]:
    """Return for each plan how often each of its steps was achieved, and after how many actions."""
    return [
        [
            Forecast(
                step=str(step),
                achieved=float((reached >= 0).float().mean()),
                actions=float(reached[reached >= 0].float().mean()) if (reached >= 0).any() else None,
            )
            for step, reached in zip(plan.steps, futures.T, strict=False)
        ]
        for plan, futures in zip(rehearsal.plans, rehearsal.reached, strict=True)
    ]


def judge(
    critic: Judge,
    goal: str,
    rehearsal: Rehearsal,
    describe: Describe,
    round: int,
    readings: Sequence[Reading] = (),
) -> Judged:
    """Have a rehearsal judged."""
    began = time.perf_counter()
    verdicts = critic.judge(goal, rehearsal, describe, readings)
    return Judged(round=round, verdicts=verdicts, seconds=time.perf_counter() - began)


def options(candidates: Sequence[Candidate], verdicts: Sequence[Verdict], begins: Sequence[int]) -> list[Option]:
    """Join candidates, their verdicts and the steps that they begin with."""
    return [
        Option(verdict, candidate.round, candidate.log_probability, begin)
        for candidate, verdict, begin in zip(candidates, verdicts, begins, strict=True)
    ]


def choose(judged: Sequence[Option], tie: float) -> Option:
    """Return the option that is likeliest to meet the goal; close ones: the shorter, then the less doubtful.

    Close are those within `tie`. Where nobody judged what the goal means, the language model's own belief in a plan,
    next to that in the one it believes in most, counts beside its success.
    """
    unjudged = any(option.verdict.satisfies is None for option in judged)
    shares = likelihoods(judged) if unjudged else [1.0] * len(judged)
    chances = [option.verdict.success * share for option, share in zip(judged, shares, strict=True)]
    close = [option for option, chance in zip(judged, chances, strict=True) if chance >= max(chances) - tie]

    def rank(option: Option) -> tuple[float, float, float]:
        steps = option.verdict.steps
        said = option.log_probability
        return (
            float("inf") if steps is None else round(steps),
            round(option.verdict.disagreement, 2),
            0.0 if said is None else -said,
        )

    return min(close, key=rank)


def likelihoods(judged: Sequence[Option]) -> list[float]:
    """Return what the language model gives each plan, next to its likeliest; all 1 where it says nothing of one."""
    said = [option.log_probability for option in judged]
    known = [number for number in said if number is not None]
    if len(known) < len(said):
        return [1.0] * len(said)
    return [math.exp(number - max(known)) for number in known]


def wants_revision(judged: Sequence[Option], config: LoopConfig) -> str | None:
    """Say why another round is needed, or None."""
    if any(option.verdict.satisfies is None for option in judged):
        best = choose(judged, config.tie).verdict.success
    else:
        best = max((option.verdict.success for option in judged), default=0.0)
    if best >= config.accept:
        return None
    return f"the best plan so far has a chance of {best:.0%}; {config.accept:.0%} are wanted"


def nothing_new(proposed: Proposed, llm: LanguageModel) -> bool:
    """Tell whether a language model that was trained to revise still holds to the plans that it was told of.

    They are not among the new ones, which then hold what little is left of its belief.
    """
    said = [candidate.log_probability for candidate in proposed.candidates]
    known = [number for number in said if number is not None]
    return training_of(llm) is not None and len(known) == len(said) > 0 and sum(map(math.exp, known)) < NEW


def attempts_of(judged: Sequence[Option]) -> list[Attempt]:
    """Return the plans judged as attempts to better, the best of them last."""
    ranked = sorted(judged, key=lambda option: option.verdict.success)
    return [Attempt(str(option.plan), option.verdict.reasons) for option in ranked]


def why_not(best: Option | None, missing: Sequence[str], config: LoopConfig) -> str | None:
    """Say why nothing should be done, or None: no plan, no such thing, not what the goal says, no success to expect."""
    if best is None:
        return "I know no plan that would meet that goal"
    verdict = best.verdict
    if not meant(verdict, config):
        return f"none of the plans I can make is likely to be what you mean (best guess: {best.plan.line()})"
    if missing:
        return f"I know of no {' and no '.join(missing)} here"
    if verdict.success < config.decline:
        return f"the best plan, {best.plan.line()}, hardly ever works out when I imagine it: {verdict.reasons}"
    return None


def meant(verdict: Verdict, config: LoopConfig) -> bool:
    """Return whether a plan may be what the goal says; where nobody judged that, it may."""
    return verdict.satisfies is None or verdict.satisfies >= config.meaning


def _whole(rehearsal: Rehearsal, plans: Sequence[Plan], done: Sequence[int]) -> Rehearsal:
    """Put steps done before in front of a rehearsal of what is left."""
    if not any(done):
        return rehearsal
    reached = rehearsal.reached
    longest = max(len(plan.steps) for plan in plans)
    whole = torch.full((*reached.shape[:2], longest), -1, dtype=reached.dtype)
    for row, (plan, skip) in enumerate(zip(plans, done, strict=True)):
        whole[row, :, :skip] = 0
        whole[row, :, skip : len(plan.steps)] = reached[row, :, : len(plan.steps) - skip]
    return replace(rehearsal, plans=tuple(plans), reached=whole)


def _spread(length: int, most: int) -> list[int]:
    """Return at most `most` indices spread over 0…length-1, both ends among them."""
    count = min(length, most)
    return sorted({round(i * (length - 1) / max(count - 1, 1)) for i in range(count)})
