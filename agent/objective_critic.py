"""The critic of worlds that show numbers: will a plan of objectives be carried out, and is it still what was asked for?

Success is the share of futures in which the plan was carried out, calibrated on what was foretold and then happened,
where there are enough of such pairs. What words mean, only a language model that was trained to plan can say here:
where one wrote the plans, a later one counts as much as it holds what the first ones ask for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict

from gedanken.agent.critic import NOT_ASKED, Z90, Describe, Evidence, evidence_of
from gedanken.agent.readings import Reading, kept_to
from gedanken.agent.verdict import Verdict
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worlds.objectives import objective_of, shortfall, standing
from gedanken.worlds.spec import Plan, WorldSpec

FEWEST = 20
"""Pairs of prediction and outcome below which nothing is fitted: the share of futures is then believed as it stands."""

LATEST = 100
"""Pairs that are fitted, the latest ones: older ones were foretold by a model that knew less."""


class Calibration(BaseModel):
    """From the share of futures to a probability: a line between their logits, fitted to so many `pairs`."""

    model_config = ConfigDict(frozen=True)

    slope: float = 1.0
    bias: float = 0.0
    pairs: int = 0

    def __call__(self, share: float, futures: int) -> float:
        """Return the probability that a plan is carried out, which so many of its futures were."""
        return 1 / (1 + math.exp(-(self.slope * _logit(share, futures) + self.bias)))


class ObjectiveCritic:
    """Judges rehearsed plans of objectives; `horizon` is how many actions of a step were imagined at most."""

    def __init__(self, spec: WorldSpec, horizon: int, calibration: Calibration | None = None) -> None:
        self.spec, self.horizon = spec, horizon
        self.calibration = calibration or Calibration()

    def could_mean(self, plans: Sequence[Plan], readings: Sequence[Reading]) -> list[float]:
        """See `deliberate.Sieve`."""
        return kept_to(plans, readings)

    def judge(
        self,
        goal: str,
        rehearsal: Rehearsal,
        describe: Describe | None = None,
        readings: Sequence[Reading] = (),
    ) -> list[Verdict]:
        """Return one verdict per plan, in the rehearsal's order; without `readings`, what is meant is not judged."""
        evidence = evidence_of(rehearsal, torch.ones(len(rehearsal.plans)))
        meant: Sequence[float | None] = (
            self.could_mean(rehearsal.plans, readings) if readings else [None] * len(rehearsal.plans)
        )
        return [self._verdict(rehearsal, evidence, index, satisfies) for index, satisfies in enumerate(meant)]

    def _verdict(self, rehearsal: Rehearsal, evidence: Evidence, index: int, satisfies: float | None) -> Verdict:
        plan, futures, share = rehearsal.plans[index], evidence.futures, float(evidence.carried_out[index])
        success = self.calibration(share, futures) * (1.0 if satisfies is None else satisfies)
        ended = (rehearsal.reached[index, :, : len(plan.steps)] >= 0).sum(1)  # steps achieved in each future
        failed = torch.bincount(ended, minlength=len(plan.steps) + 1)[: len(plan.steps)]
        failing = int(failed.argmax()) if int(failed.sum()) else None
        spread = Z90 * (success * (1 - success) / futures) ** 0.5
        actions = float(evidence.actions[index])
        words = f"all steps achieved in {futures - int(failed.sum())} of {futures} futures"
        words += "" if actions != actions else f", in about {actions:.0f} actions"
        if failing is not None:
            ends = rehearsal.ends[index][ended == failing].cpu().numpy()
            words = told_failing(plan, failing, int(failed[failing]), futures, self._shortfall(plan, failing, ends))
        elif satisfies is not None and satisfies < 0.5:
            words = NOT_ASKED
        words += self._unseen(plan)
        return Verdict(
            plan=plan,
            success=success,
            low=max(0.0, success - spread),
            high=min(1.0, success + spread),
            satisfies=satisfies,
            carried_out=share,
            steps=None if actions != actions else actions,
            failing_step=failing,
            failing_share=0.0 if failing is None else int(failed[failing]) / futures,
            disagreement=float(evidence.disagreement[index]),
            reasons=words,
            futures=futures,
        )

    def _shortfall(self, plan: Plan, index: int, ends: np.ndarray) -> str:
        """Say in units how the most typical of the futures that failed at a step ended, ``ends`` [futures, variables].

        Typical is the one nearest to the others' median, each number in its own spread.
        """
        spread = ends.std(0) + 1e-9
        typical = int(np.abs((ends - np.median(ends, 0)) / spread).sum(1).argmin())
        values = self.spec.vector.values(ends[typical].astype(np.float64), np.asarray(0.0))
        objective = objective_of(self.spec, plan.steps[index])
        said = shortfall(self.spec.vector, objective, standing(self.spec, plan.steps[: index + 1]), values)
        return said or "the episode ends first"

    def _unseen(self, plan: Plan) -> str:
        """Say which steps were not imagined to their end."""
        objectives = [(step, objective_of(self.spec, step)) for step in plan.steps]
        long = [step for step, objective in objectives if max(objective.earliest, objective.grace) > self.horizon]
        return "".join(f"; of {step} only the first {self.horizon} actions were imagined" for step in long)


def told_failing(plan: Plan, index: int, failed: int, futures: int, why: str) -> str:
    """Say which step of a plan fails, in how many futures, and how a typical one of these ended."""
    return f"step {index + 1} {plan.steps[index]} fails in {failed} of {futures} futures: {why}"


def calibrated(pairs: Sequence[Mapping[str, Any]]) -> Calibration:
    """Fit to pairs of prediction and outcome, see `pairs_of`; for fewer than FEWEST, nothing is changed.

    The slope stays above 0, so that no evidence counts the wrong way, and both numbers are drawn to where they change
    nothing (Platt scaling with a prior of one pair).
    """
    if len(pairs) < FEWEST:
        return Calibration()
    happened = torch.tensor([float(pair["happened"]) for pair in pairs])
    logits = torch.tensor([_logit(float(pair["carried_out"]), int(pair["futures"])) for pair in pairs])
    numbers = torch.zeros(2, requires_grad=True)  # logarithm of the slope, bias
    optimizer = torch.optim.LBFGS([numbers], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        said = numbers[0].exp() * logits + numbers[1]
        value = F.binary_cross_entropy_with_logits(said, happened) + numbers.square().sum() / len(pairs)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    slope, bias = numbers.detach().tolist()
    return Calibration(slope=math.exp(slope), bias=bias, pairs=len(pairs))


def pairs_of(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """Return what was foretold of each plan, and whether it was then carried out, of the latest ones.

    A plan that was given up for another one counts as not carried out; one that a time limit ended is not there.
    """
    return [pair for episode in episodes for pair in episode.record.get("foretold", [])][-LATEST:]


def _logit(share: float, futures: int) -> float:
    """Return the logit of a share, half a future away from none and from all."""
    sure = (share * futures + 0.5) / (futures + 1)
    return math.log(sure / (1 - sure))
