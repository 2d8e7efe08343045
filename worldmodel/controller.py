"""The controller: which action serves a step, how likely it is to be achieved, whether it just was. Knows no plans."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gedanken.worldmodel.protocol import Batch, Belief, WorldModel


class Controller(nn.Module):
    """Heads on a world model's features; they are trained together with it, its dynamics never see the step.

    `act` follows a demonstrator (cloning), `value` is the expected discount ``γ^(transitions to go)`` of what was done.
    """

    discount = 0.97

    def __init__(self, model: WorldModel, hidden: int = 256) -> None:
        super().__init__()
        self._model = (model,)  # a tuple, so that the model's parameters are not the controller's too
        actions = len(model.spec.actions)
        self.policy = nn.Linear(model.embed_size, actions)
        self.worth = nn.Sequential(nn.Linear(model.embed_size, hidden), nn.SiLU(), nn.Linear(hidden, 1))
        self.judge = nn.Sequential(nn.Linear(model.outcome_size, hidden), nn.SiLU(), nn.Linear(hidden, 1))

    def attach(self, model: WorldModel) -> None:
        """Read the features of another model of the same sizes (a copy)."""
        self._model = (model,)

    @property
    def model(self) -> WorldModel:
        """Return the world model whose features are read."""
        return self._model[0]

    @torch.no_grad()
    def act(self, belief: Belief, step: Tensor) -> Tensor:
        """Return log-probabilities of the actions, [B, A], for steps [B, G]."""
        logits: Tensor = self.policy(self.model.embed(belief, step))
        return logits.log_softmax(-1)

    @torch.no_grad()
    def value(self, belief: Belief, step: Tensor) -> Tensor:
        """Return the expected discounted success of the steps, [B], in 0…1."""
        logits: Tensor = self.worth(self.model.embed(belief, step))
        return logits.squeeze(-1).sigmoid()

    @torch.no_grad()
    def achieved(self, belief: Belief, step: Tensor) -> Tensor:
        """Return the probability that the last transition achieved the steps, [B]."""
        logits: Tensor = self.judge(self.model.embed_outcome(belief, step))
        return logits.squeeze(-1).sigmoid()

    def loss(self, batch: Batch, belief: Belief) -> dict[str, Tensor]:
        """Return the losses by name for the beliefs of all frames, as `WorldModel.loss` returns them."""
        step, before = batch.step.flatten(0, 1).long(), batch.step_before.flatten(0, 1).long()
        pursued = (step[:, 0] >= 0).nonzero().squeeze(1)
        acting = self.model.begin_goal(belief, batch.goal_begins.flatten())
        acting = self.model.begin_step(acting, batch.step_begins.flatten())[pursued]
        features = self.model.embed(acting, step[pursued])
        expert, to_go = batch.expert.flatten()[pursued], batch.to_go.flatten()[pursued]
        worth = torch.where(to_go >= 0, self.discount ** to_go.float(), 0.0)
        arrived = ((before[:, 0] >= 0) & ~batch.is_first.flatten()).nonzero().squeeze(1)
        outcome = self.judge(self.model.embed_outcome(belief[arrived], before[arrived])).squeeze(-1)
        # where nobody advised, what was done is worth imitating if it led to the step's achievement
        taken = torch.where(to_go >= 0, batch.taken.flatten()[pursued], -1)
        target = torch.where(expert >= 0, expert, taken)
        hits = batch.achieved.flatten()[arrived].float()
        policy = F.cross_entropy(self.policy(features), target.clamp(min=0), reduction="none")
        value = F.binary_cross_entropy_with_logits(self.worth(features.detach()).squeeze(-1), worth, reduction="none")
        achieved = F.binary_cross_entropy_with_logits(outcome, hits, reduction="none")
        return {"policy": _mean(policy[target >= 0]), "value": _mean(value), "achieved": _mean(achieved)}


def _mean(losses: Tensor) -> Tensor:
    """Return the mean, 0 where there is nothing to average (a batch of episodes without steps)."""
    return losses.sum() / max(1, losses.numel())
