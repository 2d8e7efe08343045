"""The `rssm` family: a recurrent state-space model in the manner of DreamerV3, one flat latent for all that is seen.

Deterministic part: the state of a block-diagonal GRU, which has to remember what was seen and where. Stochastic part:
groups of categories, which the posterior reads off state and view, and the prior predicts from the state alone. Nothing
about motion or sight is built in. Hafner et al., "Mastering diverse domains through world models", 2023.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from pydantic import BaseModel, model_validator
from torch import Tensor, nn

from gedanken.worldmodel.protocol import Batch, Belief, Readout
from gedanken.worldmodel.rssm_nets import (
    Cells,
    Core,
    Decoder,
    Dense,
    Encoder,
    Ensemble,
    Latent,
    StepFeatures,
    TwoHot,
    divergence,
    gumbel,
    mutual_information,
    sample,
    straight_through,
)
from gedanken.worlds.spec import WorldSpec


class RSSMConfig(BaseModel):
    """Sizes and weights of the family.

    Attributes:
        deter: size of the deterministic part; a multiple of `blocks`.
        blocks: blocks of the GRU's matrices.
        groups: groups of the stochastic part, each one category of `classes`.
        classes: categories of a group.
        hidden: features of the layers within dynamics, prior and posterior.
        cell: channels of a cell's embedding in the encoder and of its features in the decoder.
        view: features of the encoded view, and of the decoder's dense layer.
        acting: features for acting on a step.
        outcome: features for telling whether a step was achieved.
        members: members of the ensemble that predicts the next stochastic part.
        member: features of each member.
        unimix: share of the uniform distribution in every category's probabilities.
        free_nats: divergence of posterior and prior below which neither is trained, in nats a frame.
        dynamics: weight of training the prior towards the posterior.
        representation: weight of training the posterior towards the prior.
        bins: bins of the reward's two-hot distribution, on a symlog scale from -20 to 20.
        floor: categories less probable than this are left out when sampling outside of training.
    """

    deter: int = 768
    blocks: int = 8
    groups: int = 32
    classes: int = 16
    hidden: int = 256
    cell: int = 32
    view: int = 384
    acting: int = 384
    outcome: int = 256
    members: int = 4
    member: int = 64
    unimix: float = 0.01
    free_nats: float = 0.1
    dynamics: float = 1.0
    representation: float = 0.1
    bins: int = 81
    floor: float = 0.02

    @model_validator(mode="after")
    def _blocks_fit(self) -> RSSMConfig:
        if self.deter % self.blocks:
            raise ValueError(f"deter is {self.deter}; choose a multiple of blocks, {self.blocks}")
        return self


SIZES = {
    "debug": RSSMConfig(
        deter=64, blocks=4, groups=8, classes=8, hidden=64, cell=8, view=64, acting=64, outcome=32, members=2, member=16
    ),
    "small": RSSMConfig(),
    "base": RSSMConfig(deter=1536, hidden=384, cell=48, view=512, acting=512, member=96),
}


@dataclass(frozen=True)
class RSSMBelief(Belief):
    """A deterministic state, a sample of the stochastic one, and the distribution that the sample is from."""

    deter: Tensor  # [B, D]
    stoch: Tensor  # [B, groups, classes] one-hot
    logits: Tensor  # [B, groups, classes] log-probabilities: the posterior when observed, the prior when imagined
    goal_begins: Tensor  # [B] bool: a goal begins here, which the next step notes in the deterministic part

    @property
    def state(self) -> Tensor:
        """Return both parts side by side, [B, D + S]."""
        return torch.cat([self.deter, self.stoch.flatten(1)], 1)


class RSSMModel(nn.Module):
    """See the module; implements `WorldModel`.

    Of a goal the dynamics learn only when it began, from a flag that is an input of the step after it, so that
    "behind you" can be remembered; the features for acting and judging have to work out the rest.
    """

    family = "rssm"

    def __init__(self, spec: WorldSpec, config: RSSMConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, c = spec, config
        actions, stoch = len(spec.actions), c.groups * c.classes
        state = c.deter + stoch
        self.cells = Cells(spec.grid)
        self.encoder = Encoder(self.cells, c.cell, c.view)
        self.core = Core(c.deter, stoch, actions, c.hidden, c.blocks)
        self.prior = Latent(c.deter, c.hidden, c.groups, c.classes, c.unimix)
        self.posterior = Latent(c.deter, c.hidden, c.groups, c.classes, c.unimix)
        self.seen = nn.Linear(c.view, c.hidden)
        self.decoder = Decoder(self.cells, state, c.view, c.cell)
        self.twohot = TwoHot(c.bins, 20.0)
        self.signals = nn.Sequential(Dense(state, c.hidden // 2), nn.Linear(c.hidden // 2, c.bins + 1))
        self.ensemble = Ensemble(c.members, state + actions, c.member, c.groups, c.classes, c.unimix)
        self.acting = StepFeatures(spec.step_sizes, state + 1, c.acting)
        self.outcome = StepFeatures(spec.step_sizes, state, c.outcome)
        self.embed_size, self.outcome_size = c.acting, c.outcome

    # ---- beliefs ---------------------------------------------------------------------------------------------------

    def initial(self, batch: int) -> RSSMBelief:
        """Return empty beliefs at which a goal begins."""
        device, shape = self.seen.weight.device, (batch, self.config.groups, self.config.classes)
        return RSSMBelief(
            deter=torch.zeros(batch, self.config.deter, device=device),
            stoch=torch.zeros(shape, device=device),
            logits=torch.zeros(shape, device=device).log_softmax(-1),
            goal_begins=torch.ones(batch, dtype=torch.bool, device=device),
        )

    def begin_step(self, belief: RSSMBelief, rows: Tensor) -> RSSMBelief:
        """Return the belief as it is: the recurrent state remembers by itself."""
        return belief

    def begin_goal(self, belief: RSSMBelief, rows: Tensor) -> RSSMBelief:
        """Raise the flag of some rows; the next step, observed or imagined, takes it in and lowers it."""
        return replace(belief, goal_begins=belief.goal_begins | rows)

    @torch.no_grad()
    def observe(self, belief: RSSMBelief, action: Tensor, observation: Tensor, is_first: Tensor) -> RSSMBelief:
        """Filter: one step of the GRU, then sample the posterior. A goal begins at first observations, told or not."""
        belief = self.initial(len(action)).where(is_first, belief)
        deter = self._next(belief, action, is_first)
        logits = self.posterior(deter, self.seen(self.encoder(self.cells.join(observation))))
        return RSSMBelief(deter, sample(logits, self.config.floor), logits, is_first)

    def _next(self, belief: RSSMBelief, action: Tensor, is_first: Tensor) -> Tensor:
        cause = self.core.cause(action, belief.goal_begins, is_first)
        deter: Tensor = self.core(belief.deter, belief.stoch.flatten(1), cause)
        return deter

    # ---- imagination -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def suppose(self, belief: RSSMBelief, steps: Tensor) -> RSSMBelief:
        """Sample the stochastic part anew, the only doubt this family knows; what the steps name has no influence."""
        return replace(belief, stoch=sample(belief.logits, self.config.floor))

    @torch.no_grad()
    def imagine(self, belief: RSSMBelief, action: Tensor) -> RSSMBelief:
        """One step of the GRU, then sample the prior."""
        never = torch.zeros_like(belief.goal_begins)
        deter = self._next(belief, action, never)
        logits = self.prior(deter)
        return RSSMBelief(deter, sample(logits, self.config.floor), logits, never)

    @torch.no_grad()
    def same(self, belief: RSSMBelief, other: RSSMBelief) -> Tensor:
        """Tell in which rows [B] the decoded views are the same."""
        views = [self.readout(which).observation for which in (belief, other)]
        return (views[0] == views[1]).flatten(1).all(1)

    @torch.no_grad()
    def readout(self, belief: RSSMBelief) -> Readout:
        """Decode the likeliest code of every cell, and the reward and continue heads."""
        state = belief.state
        view = self.cells.split(self.decoder(state).argmax(-1)).to(torch.uint8)
        signals = self.signals(state)
        reward = self.twohot.mean(signals[:, :-1])
        return Readout(view.view(len(view), *self.cells.shape, -1), reward, signals[:, -1].sigmoid())

    @torch.no_grad()
    def disagreement(self, belief: RSSMBelief, action: Tensor) -> Tensor:
        """Return the mutual information between the member and its prediction of the next stochastic part."""
        return mutual_information(self._members(belief.state, action))

    def _members(self, state: Tensor, action: Tensor) -> Tensor:
        done = F.one_hot(action.long(), len(self.spec.actions)).to(state.dtype)
        predicted: Tensor = self.ensemble(torch.cat([state, done], 1))
        return predicted

    @torch.no_grad()
    def surprise(self, belief: RSSMBelief, action: Tensor, observation: Tensor) -> Tensor:
        """Return an upper bound of −log p(observation | belief, action): divergence plus reconstruction, one sample."""
        codes = self.cells.join(observation)
        deter = self._next(belief, action, torch.zeros_like(belief.goal_begins))
        posterior, prior = self.posterior(deter, self.seen(self.encoder(codes))), self.prior(deter)
        stoch = sample(posterior, self.config.floor)
        return self._unlikelihood(torch.cat([deter, stoch.flatten(1)], 1), codes) + divergence(posterior, prior)

    def _unlikelihood(self, state: Tensor, codes: Tensor) -> Tensor:
        """Return −log p(view | state), [B], the sum over the cells of codes [B, cells]."""
        logits = self.decoder(state).float()
        return F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view(codes.shape).sum(1)

    # ---- features for the controller -------------------------------------------------------------------------------

    def embed(self, belief: RSSMBelief, step: Tensor) -> Tensor:
        """Return features of the state, of whether the goal begins here, and of the step."""
        features: Tensor = self.acting(torch.cat([belief.state, belief.goal_begins[:, None]], 1), step)
        return features

    def embed_outcome(self, belief: RSSMBelief, step: Tensor) -> Tensor:
        """Return features of the state, which remembers the last action, and of the step."""
        features: Tensor = self.outcome(belief.state, step)
        return features

    # ---- learning --------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> tuple[dict[str, Tensor], RSSMBelief]:
        """Return the losses by name, weighted, to be summed, and the filtered beliefs of all frames with their graph.

        `reconstruction` and `dynamics` are nats a frame. A row's first frame counts as an episode's first.
        """
        c, first = self.config, batch.is_first.clone()
        first[:, 0] = True
        codes = self.cells.join(batch.observation)
        deter, stoch, posterior = self._filter(batch, codes, first)
        state = torch.cat([deter, stoch.flatten(1)], 1)
        prior = self.prior(deter)
        signals, going = self.signals(state), ~first.flatten()
        losses = {
            "reconstruction": self._unlikelihood(state, codes.flatten(0, 1)).mean(),
            "dynamics": c.dynamics * divergence(posterior.detach(), prior).clamp(min=c.free_nats).mean(),
            "representation": c.representation * divergence(posterior, prior.detach()).clamp(min=c.free_nats).mean(),
            "reward": self.twohot.loss(signals[going, :-1], batch.reward.flatten()[going]).mean(),
            "continues": F.binary_cross_entropy_with_logits(signals[:, -1], batch.continues.flatten()),
            "ensemble": self._ensemble_loss(state.detach(), posterior.detach(), batch.action, first),
        }
        return losses, RSSMBelief(deter, stoch, posterior, first.flatten())

    def _filter(self, batch: Batch, codes: Tensor, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return deterministic parts, sampled stochastic parts and posteriors of all frames, row-major."""
        c, (rows, time) = self.config, batch.action.shape
        seen = self.seen(self.encoder(codes.flatten(0, 1))).view(rows, time, -1).unbind(1)
        begun = torch.cat([first[:, :1], (batch.goal_begins | first)[:, :-1]], 1)
        causes = self.core.cause(batch.action, begun, first).unbind(1)
        noise = gumbel((time, rows, c.groups, c.classes), codes.device)
        keep = (~first).float()[..., None].unbind(1)
        deter = torch.zeros(rows, c.deter, device=codes.device)
        stoch = torch.zeros(rows, c.groups, c.classes, device=codes.device)
        deters, stochs, posteriors = [], [], []
        for t in range(time):
            deter = self.core(deter * keep[t], stoch.flatten(1) * keep[t], causes[t])
            posterior = self.posterior(deter, seen[t])
            stoch = straight_through(posterior, noise[t])
            deters.append(deter)
            stochs.append(stoch)
            posteriors.append(posterior)
        together = [torch.stack(parts, 1).flatten(0, 1) for parts in (deters, stochs, posteriors)]
        return together[0], together[1], together[2]

    def _ensemble_loss(self, state: Tensor, posterior: Tensor, action: Tensor, first: Tensor) -> Tensor:
        """Train every member to predict from a frame and the action taken there the posterior of the next."""
        index = torch.arange(first.numel(), device=first.device)[~first.flatten()]
        predicted = self._members(state[index - 1], action.flatten()[index])  # [E, n, groups, classes]
        return divergence(posterior[index].expand_as(predicted).flatten(0, 1), predicted.flatten(0, 1)).mean()


__all__ = ["SIZES", "RSSMBelief", "RSSMConfig", "RSSMModel"]
