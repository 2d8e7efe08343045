"""What the critic says of a plan. Plain data: knows no model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from gedanken.worlds.spec import Plan


class Verdict(BaseModel):
    """The critic's word on one rehearsed plan.

    Attributes:
        success: probability, 0…1, that carrying the plan out meets the goal as it was said.
        low, high: 90 % interval of `success`, from the number of futures and the ensemble.
        satisfies: probability that a plan whose steps are all achieved meets the goal as it was said; None where
            nobody can judge what words mean, and `success` speaks of the plan alone.
        carried_out: share of the futures in which every step was achieved.
        steps: expected number of actions in those futures; None where there is none.
        failing_step: index of the step at which most of the other futures end; None where none fails.
        failing_share: share of all futures that end there.
        disagreement: mean mutual information of the ensemble along the futures, in nats per action.
        reasons: one sentence for the language model and the person.
        futures: number of futures rehearsed.
    """

    model_config = ConfigDict(frozen=True)

    plan: Plan
    success: float
    low: float
    high: float
    satisfies: float | None
    carried_out: float
    steps: float | None
    failing_step: int | None
    failing_share: float
    disagreement: float
    reasons: str
    futures: int
