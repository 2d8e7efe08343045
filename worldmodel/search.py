"""Model-predictive control by search: which actions, imagined, serve an objective best. Knows no words, no environment.

CEM (de Boer et al., 2005) moves its proposal to the best candidates, MPPI (Williams et al., 2017) to all of them, each
by how good it is. Here they differ in the candidates' weights only, discrete actions and controls in the proposal only.
Shapes: B searches, C candidates, S futures of each, H actions, A actions or controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from gedanken.worldmodel.protocol import Belief, Dynamics
from gedanken.worldmodel.tasks import Found, Task
from gedanken.worlds.objectives import Avoid, Objective, Optimize, outcome

_SPOILT = 100.0  # standard deviations of loss that failing at once counts as, half of it when failing last
_UNIFORM = 0.5  # share of the uniform distribution in a warm-started proposal over discrete actions
_NARROWEST = 0.05  # least standard deviation of a proposal, in half ranges of a control


class SearchConfig(BaseModel):
    """How to search.

    Attributes:
        method: cem or mppi.
        horizon: actions that are imagined ahead.
        candidates: sequences of actions tried in each round.
        futures: futures of each candidate, best a multiple of the ensemble's members.
        rounds: how often the proposal is bettered.
        elites: share of the candidates that CEM moves to.
        temperature: standard deviations of the score within which MPPI tells candidates apart.
    """

    method: Literal["cem", "mppi"] = "cem"
    horizon: int = Field(default=20, ge=1)
    candidates: int = Field(default=64, ge=2)
    futures: int = Field(default=5, ge=1)
    rounds: int = Field(default=3, ge=1)
    elites: float = Field(default=0.1, gt=0, le=1)
    temperature: float = Field(default=0.2, gt=0)

    def lighter(self) -> SearchConfig:
        """Return a search for use inside of imagined futures, of which there are many, each searched at every action.

        Candidates and rounds are fewer; with fewer futures of each the lucky ones would be taken for the good ones.
        """
        return self.model_copy(update={"candidates": max(8, self.candidates // 4), "rounds": 1})


@dataclass(frozen=True)
class Searched(Found):
    """What a search found; `memory` are its proposals, [B, H, A] probabilities, or means in -1…1."""

    spoilt: Tensor  # [B] how much the best candidate's futures are spoilt: 0 none, 1 all of them at once


class Search:
    """Search in a model's imagination; any number of searches advance together, none is a loop of its own."""

    def __init__(self, model: Dynamics, config: SearchConfig) -> None:
        self.model, self.config = model, config
        axes = model.spec.controls
        self.discrete, self.actions = not axes, len(model.spec.actions)
        self._centre = torch.tensor([(axis.low + axis.high) / 2 for axis in axes])
        self._reach = torch.tensor([(axis.high - axis.low) / 2 for axis in axes])

    @torch.no_grad()
    def __call__(
        self, belief: Belief, tasks: Sequence[Task], memory: Tensor | None, generator: torch.Generator
    ) -> Searched:
        """Search from B beliefs for as many tasks; `memory` is the last search's proposal, None for the first."""
        c, problems = self.config, len(tasks)
        middle = self.fresh(problems) if memory is None else self._shifted(memory)
        width = torch.ones_like(middle)
        rows = self._rows(belief, problems)
        for _ in range(c.rounds):
            candidates = self._draw(middle, width, generator)  # [B, C, H, A]
            loss, spoilt = self._rehearse(rows, tasks, candidates)  # [B, C], [B, C]
            score = _score(loss, spoilt)
            weights = self._weights(score)[:, :, None, None]
            middle = (weights * candidates).sum(1)
            if (
                self.discrete
            ):  # good sequences may differ in every action, so that a mixture of them is good for nothing
                best = candidates[torch.arange(problems), score.argmin(1)]
                middle = (middle + best) / 2  # the likeliest sequence is the best one; it is tried again
            width = (weights * (candidates - middle[:, None]) ** 2).sum(1).sqrt().clamp(min=_NARROWEST)
        share = spoilt.gather(1, score.argmin(1, keepdim=True)).squeeze(1)
        first = middle[:, 0]
        return Searched(first.argmax(-1) if self.discrete else self.natural(first), middle, share)

    @torch.no_grad()
    def costs(self, belief: Belief, tasks: Sequence[Task], candidates: Tensor) -> Tensor:
        """Return how bad candidates [B, C, H, A] are, beside those of the same search: [B, C], for other solvers.

        Candidates are one-hot, or in half ranges of the controls, and as many as the search's own.
        """
        return _score(*self._rehearse(self._rows(belief, len(tasks)), tasks, candidates))

    def knows(self, task: Task) -> bool:
        """See `Finder`; everything is searched for when it is to be done."""
        return True

    def practise(self, task: Task) -> None:
        """See `Finder`."""

    # ---- proposals -------------------------------------------------------------------------------------------------

    def fresh(self, problems: int) -> Tensor:
        """Return proposals that prefer nothing, with which searches begin, [B, H, A]."""
        shape = (problems, self.config.horizon, self.actions)
        return torch.full(shape, 1 / self.actions) if self.discrete else torch.zeros(shape)

    def _shifted(self, proposal: Tensor) -> Tensor:
        """Move a proposal one action on; what lies beyond it is anything."""
        moved = torch.cat([proposal[:, 1:], self.fresh(len(proposal))[:, :1]], 1)
        return (1 - _UNIFORM) * moved + _UNIFORM / self.actions if self.discrete else moved

    def _draw(self, middle: Tensor, width: Tensor, generator: torch.Generator) -> Tensor:
        """Draw candidates [B, C, H, A], one-hot or in -1…1; the first is the middle of the proposal itself."""
        problems, horizon, actions = middle.shape
        count = self.config.candidates
        if not self.discrete:
            noise = torch.randn(problems, count, horizon, actions, generator=generator)
            noise[:, 0] = 0
            return (middle[:, None] + width[:, None] * noise).clamp(-1, 1)
        flat = middle.reshape(-1, actions)
        codes = torch.multinomial(flat, count, replacement=True, generator=generator)
        codes[:, 0] = flat.argmax(-1)
        chosen = codes.view(problems, horizon, count).transpose(1, 2)
        return torch.nn.functional.one_hot(chosen, actions).float()

    def natural(self, controls: Tensor) -> Tensor:
        """Return controls [B, A], which are in half ranges, in their units."""
        return self._centre + self._reach * controls

    def _weights(self, score: Tensor) -> Tensor:
        """Return the candidates' weights [B, C] by their scores, each row of sum 1."""
        if self.config.method == "mppi":
            return (-score / self.config.temperature).softmax(1)
        count = max(1, round(self.config.elites * score.shape[1]))
        best = score.topk(count, 1, largest=False).indices
        return torch.zeros_like(score).scatter_(1, best, 1 / count)

    # ---- imagination -----------------------------------------------------------------------------------------------

    def _rows(self, belief: Belief, problems: int) -> Belief:
        """Return beliefs for all futures of all candidates of B searches."""
        times = self.config.candidates * self.config.futures
        return self.model.suppose(belief.repeat(times), torch.zeros(problems * times, 0, 0))

    def _rehearse(self, rows: Belief, tasks: Sequence[Task], candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Imagine all futures of all candidates of all searches; return mean losses and how much was spoilt, [B, C].

        A future that ends spoils what is not achieved by then, except where the world's own reward is asked for.
        """
        c, shape = self.config, (len(tasks), self.config.candidates, self.config.futures)
        total, spoilt, charged = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
        running = torch.ones(shape, dtype=torch.bool)
        field, groups = self.model.spec.vector, _together(tasks)
        for ahead in range(1, c.horizon + 1):
            done = candidates[:, :, ahead - 1].repeat_interleave(c.futures, 1).flatten(0, 1)  # [B·C·S, A]
            rows = self.model.imagine(rows, done.argmax(-1) if self.discrete else self.natural(done))
            said = self.model.readout(rows)
            values = field.values(said.observation, said.reward, torch)
            goes_on = (said.continues > 0.5).view(shape)
            named = {name: value.view(shape) for name, value in values.items()}
            loss, achieved, failed, ending = _moment(groups, ahead, named)
            bad = running & (failed | (~goes_on & ~achieved & ending))
            charged = torch.where(running, loss, charged)
            total += charged
            spoilt += bad * (1 - 0.5 * ahead / c.horizon)
            over = running & (~goes_on | achieved)
            charged = torch.where(over & ~bad, 0.0, charged)  # done; what is spoilt stays as bad as it was
            running &= ~over & ~bad
        return total.mean(2), spoilt.mean(2)


def _together(tasks: Sequence[Task]) -> list[tuple[Task, Tensor, Tensor]]:
    """Return one task of each kind, with the searches [b] that serve it and how far each of them is [b]."""
    groups: dict[tuple[Objective, tuple[Avoid, ...]], list[int]] = {}
    for index, task in enumerate(tasks):
        groups.setdefault((task.objective, task.standing), []).append(index)
    return [
        (tasks[rows[0]], torch.tensor(rows), torch.tensor([tasks[row].spent for row in rows]))
        for rows in groups.values()
    ]


def _moment(
    groups: Sequence[tuple[Task, Tensor, Tensor]], ahead: int, values: dict[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return [B, C, S] losses, what is achieved and what has failed, and [B, 1, 1] whether an end spoils the task.

    Searches that serve the same objective are asked together.
    """
    shape = next(iter(values.values())).shape
    loss, achieved, failed = torch.zeros(shape), *(torch.zeros(shape, dtype=torch.bool) for _ in range(2))
    ending = torch.ones(shape[0], 1, 1, dtype=torch.bool)
    for task, rows, began in groups:
        part = values if len(groups) == 1 else {name: value[rows] for name, value in values.items()}
        spent, objective = (began + ahead)[:, None, None], task.objective
        met, missed = outcome(objective, spent, part, torch)
        for condition in task.standing:
            missed = missed | ~condition.holds(part, torch)
        loss[rows] = objective.loss(part, torch).float().nan_to_num(1e6, 1e6, -1e6)
        achieved[rows], failed[rows] = met & ~missed, missed
        ending[rows] = not (isinstance(objective, Optimize) and objective.paid)
    return loss, achieved, failed, ending


def _score(loss: Tensor, spoilt: Tensor) -> Tensor:
    """Return losses [B, C] in standard deviations from each search's mean, what is spoilt far above them."""
    return (loss - loss.mean(1, keepdim=True)) / (loss.std(1, keepdim=True) + 1e-8) + _SPOILT * spoilt
