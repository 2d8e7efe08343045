"""Learning in imagination: an actor-critic on futures imagined from replayed beliefs, its reward a step achieved.

Hafner et al., "Mastering Diverse Domains through World Models", 2023, is the method; here with the judge of
steps for a reward, and a teacher beside it where there is one. No environment has a part in it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor

from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.intentions import Teacher
from gedanken.worldmodel.protocol import Batch, Belief

B = TypeVar("B", bound=Belief)


class ImaginationConfig(BaseModel):
    """How much is imagined, and what is learned from it.

    Attributes:
        futures: futures imagined in a gradient step, each from a frame of the batch in which a step is pursued.
        horizon: most actions of a future.
        trace: λ of the returns.
        entropy: weight of the policy's entropy.
        taught: weight of what a teacher would do, where there is one (Schmitt et al., "Kickstarting Deep Reinforcement
            Learning", 2018).
    """

    futures: int = Field(default=128, ge=1)
    horizon: int = Field(default=16, ge=1)
    trace: float = Field(default=0.95, ge=0, le=1)
    entropy: float = Field(default=3e-3, ge=0)
    taught: float = Field(default=1.0, ge=0)


@dataclass(frozen=True)
class Futures:
    """What happened in n imagined futures, moment after moment; `row` [m] says whose moment it is, `at` [m] when."""

    belief: Belief  # before the action, of m rows
    row: Tensor
    at: Tensor
    action: Tensor
    done: Tensor  # the action achieved the step
    last: Tensor  # [n] the value of what follows the last moment; 0 where the step was achieved


def imagined(
    controller: Controller, batch: Batch, belief: Belief, config: ImaginationConfig, teacher: Teacher | None = None
) -> dict[str, Tensor]:
    """Return the actor's and the critic's loss on futures imagined from frames of a batch in which steps are pursued.

    With a teacher also how unlike the actor's actions are to what it would do there.
    """
    step = batch.step.flatten(0, 1).long()
    begins = (step[:, 0] >= 0).nonzero().squeeze(1)
    begins = begins[torch.randperm(len(begins), device=begins.device)[: config.futures]]
    if not len(begins):
        return {"imagined": 0.0 * controller.policy.bias.sum()}
    model = controller.model
    start = model.begin_goal(belief, batch.goal_begins.flatten())
    start = model.begin_step(start, batch.step_begins.flatten())[begins]
    futures = dream(controller, start, step[begins], config.horizon)
    features = model.embed(futures.belief, step[begins][futures.row])
    worth: Tensor = controller.worth(features.detach()).squeeze(-1)
    returns = _returns(futures, worth.detach().sigmoid(), controller.discount, config.trace)
    policy = controller.policy(features).log_softmax(-1)
    spread = (returns.quantile(0.95) - returns.quantile(0.05)).clamp(min=0.1)
    advantage = (returns - worth.detach().sigmoid()) / spread
    chosen = policy.gather(1, futures.action[:, None]).squeeze(1)
    entropy = -(policy.exp() * policy).sum(1)
    losses = {
        "imagined": -(chosen * advantage).mean() - config.entropy * entropy.mean(),
        "imagined value": F.binary_cross_entropy_with_logits(worth, returns),
    }
    if teacher is not None:
        wanted = teacher.act(futures.belief, step[begins][futures.row])
        losses["taught"] = -config.taught * (wanted * policy).sum(1).mean()
    return losses


@torch.no_grad()
def dream(controller: Controller, start: Belief, step: Tensor, horizon: int) -> Futures:
    """Let the controller act on steps [n, G] in futures imagined from beliefs of n rows, until each is achieved."""
    model = controller.model
    state = model.suppose(start, step[:, None])
    alive = torch.arange(len(step), device=step.device)
    moments: list[tuple[Belief, Tensor, Tensor, Tensor]] = []
    for _ in range(horizon):
        action = torch.multinomial(controller.act(state, step[alive]).exp(), 1).squeeze(1)
        before, state = state, model.imagine(state, action)
        chance = controller.achieved(state, step[alive])
        done = torch.rand_like(chance) < chance
        moments.append((before, alive, action, done))
        state, alive = state[~done], alive[~done]
        if not len(alive):
            break
    last = torch.zeros(len(step), device=step.device)
    if len(alive):
        last[alive] = controller.value(state, step[alive])
    beliefs, rows, actions, dones = zip(*moments, strict=True)
    at = [torch.full_like(row, t) for t, row in enumerate(rows)]
    return Futures(_joined(beliefs), torch.cat(rows), torch.cat(at), torch.cat(actions), torch.cat(dones), last)


def _returns(futures: Futures, values: Tensor, discount: float, trace: float) -> Tensor:
    """Return λ-returns [m]: the discounted success that the rest of each future, and the values on it, promise."""
    length, rows = int(futures.at.max()) + 1, len(futures.last)
    value = torch.zeros(length + 1, rows, device=values.device)
    value[futures.at, futures.row] = values
    done = torch.ones(length, rows, device=values.device)  # nothing follows what is over
    done[futures.at, futures.row] = futures.done.float()
    ended = torch.zeros(rows, dtype=torch.long, device=values.device).scatter_reduce(
        0, futures.row, futures.at, "amax", include_self=False
    )
    value[ended + 1, torch.arange(rows, device=values.device)] = futures.last
    returns = torch.zeros(length + 1, rows, device=values.device)
    returns[ended + 1, torch.arange(rows, device=values.device)] = futures.last
    for t in reversed(range(length)):
        follows = (1 - trace) * value[t + 1] + trace * returns[t + 1]
        here = discount * (done[t] + (1 - done[t]) * follows)
        returns[t] = torch.where(t <= ended, here, returns[t])
    return returns[futures.at, futures.row]


def _joined(beliefs: tuple[B, ...]) -> B:
    values: dict[str, Any] = {f.name: torch.cat([getattr(b, f.name) for b in beliefs]) for f in fields(beliefs[0])}
    return type(beliefs[0])(**values)


__all__ = ["Futures", "ImaginationConfig", "dream", "imagined"]
