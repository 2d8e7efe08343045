"""The `ensemble` family, for worlds that show numbers: small networks side by side predict how each number changes.

A belief is what was seen last, so the observation has to say all that matters. Each future keeps to one member: where
they differ, futures differ. Chua et al., "Deep reinforcement learning in a handful of trials", 2018 (PETS).

A reward and whether the episode goes on are foretold together, as chances of bins (Hafner et al., 2023), once for
either: where one is said without the other, policies learn to be paid for the same end again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import cast

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor, nn

from gedanken.worldmodel.protocol import Batch, Belief, Readout
from gedanken.worldmodel.rssm_nets import between, gumbel, symexp, symlog, two_hot
from gedanken.worldmodel.spatial_nets import EnsembleLinear
from gedanken.worlds.spec import SpecError, WorldSpec

_FURTHEST = 10.0  # standard deviations from the mean at which an input is cut off
_BINS = 41  # of rewards, from the least to the most that were seen, even on the symlog scale
_UNHEARD_OF = -6.0  # logit of each end before anything was learned
_RARE = 0.01  # nats, below which the share of what is rare counts no more in training
_RAREST = 0.01  # chance of an end; a smaller one is taken for a network's error
_LEAST_WAY = -4.6  # logarithm of a chance; what is rarer than one in a hundred is never imagined
_SHARPEST, _VAGUEST = -7.0, 2.0  # logarithms of a predicted variance; sharper ones were false on new episodes


class EnsembleConfig(BaseModel):
    """Sizes of the family.

    Attributes:
        members: networks side by side.
        hidden: features of each hidden layer.
        layers: hidden layers.
        moments: of what was really seen, so many are remembered.
        ways: in which a number may change, each with a chance, a mean and a spread of its own (Bishop, "Mixture density
            networks", 1994); more than one where things jump: another car is suddenly the next one.
    """

    members: int = 5
    hidden: int = 128
    layers: int = 2
    moments: int = 2048
    ways: int = Field(default=1, ge=1)


SIZES = {
    "debug": EnsembleConfig(members=3, hidden=32, moments=64),
    "small": EnsembleConfig(),
    "base": EnsembleConfig(hidden=256, layers=3),
}


@dataclass(frozen=True)
class EnsembleBelief(Belief):
    """What was seen or imagined last, and the member that imagines on."""

    values: Tensor  # [B, variables] float32, in the world's units
    reward: Tensor  # [B] of the last imagined transition, 0 where the last one was real
    continues: Tensor  # [B] 1 where the episode went on after it, 0 where it ended
    member: Tensor  # [B] 0…E - 1


@dataclass(frozen=True)
class _Prediction:
    """What members say of the next moment; the last dimensions are ways of changing, categories of all kinds."""

    mean: Tensor  # […, numbers, ways] change, in standard deviations of changes
    spread: Tensor  # […, numbers, ways] logarithm of its variance
    chance: Tensor  # […, numbers, ways] logarithm of the chance that it changes so
    kinds: Tensor  # […, all categories] logits


class EnsembleModel(nn.Module):
    """See the module; implements `Dynamics`. Call `measure` before the first training."""

    family = "ensemble"

    def __init__(self, spec: WorldSpec, config: EnsembleConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        variables = spec.vector.variables
        changing = [i for i, v in enumerate(variables) if not v.exogenous]
        self.numbers = [i for i in changing if variables[i].categories is None]
        self.kinds = [(i, variables[i].categories or 0) for i in changing if variables[i].categories]
        if not changing:
            raise SpecError(f"world {spec.name!r} shows nothing that could change")
        self._exogenous = [i for i, v in enumerate(variables) if v.exogenous]
        self._plain = [i for i, v in enumerate(variables) if v.categories is None]
        categories, numbers, hidden = sum(size for _, size in self.kinds), len(self.numbers), config.hidden
        shown = len(self._plain) + sum(v.categories or 0 for v in variables)
        inputs = shown + len(spec.actions)
        told = numbers * (2 if config.ways == 1 else 3 * config.ways)
        layers = [inputs, *[hidden] * config.layers]
        self.net: nn.Module = _layers(config.members, [*layers, told])
        if categories:  # on their own: what is rare would be lost among numbers
            self.net = _Beside([self.net, _layers(config.members, [*layers, categories])])
        self.signals = _layers(config.members, [inputs + shown, hidden, 2 * _BINS])
        nn.init.constant_(cast(EnsembleLinear, self.signals[-1]).bias[..., :_BINS], _UNHEARD_OF)
        for name in ("mean", "scale", "low", "high"):
            self.register_buffer(name, torch.full((len(variables),), float(name in ("scale", "high"))))
        self.register_buffer("change", torch.ones(numbers))
        self.register_buffer("bins", torch.zeros(_BINS))  # rewards
        self.register_buffer("chance", torch.ones(1 + len(self.kinds)))
        self.register_buffer("seen", torch.zeros(config.moments, len(variables) + 1))  # moments, and their rewards
        axes = spec.controls
        self.register_buffer("centre", torch.tensor([(a.low + a.high) / 2 for a in axes]), persistent=False)
        self.register_buffer("reach", torch.tensor([max((a.high - a.low) / 2, 1e-6) for a in axes]), persistent=False)

    mean: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    change: Tensor
    bins: Tensor
    chance: Tensor  # nats that it costs to know only the share of ends, and of each variable's kinds
    seen: Tensor
    centre: Tensor
    reach: Tensor

    @torch.no_grad()
    def measure(self, values: Tensor, after: Tensor, reward: Tensor, continues: Tensor) -> None:
        """Take means, deviations, ranges and shares from transitions: values, after [n, variables], the others [n].

        Imagined numbers stay within the range that was seen, widened by half of it to both sides, but not beyond the
        bounds that the world names, unless it broke them.
        """
        everything = torch.cat([values, after]).double()
        self.mean.copy_(everything.mean(0))
        self.scale.copy_(_deviation(everything))
        least, most = everything.amin(0), everything.amax(0)
        margin = 0.5 * (most - least)
        variables, infinite = self.spec.vector.variables, float("inf")
        low = torch.tensor([-infinite if v.low is None else v.low for v in variables])
        high = torch.tensor([infinite if v.high is None else v.high for v in variables])
        self.low.copy_(torch.minimum(torch.maximum(least - margin, low), least))
        self.high.copy_(torch.maximum(torch.minimum(most + margin, high), most))
        self.change.copy_(_deviation((after - values).double()[:, self.numbers]))
        ends = symlog(reward.double()).aminmax()
        self.bins.copy_(symexp(torch.linspace(float(ends.min), float(ends.max), _BINS, dtype=torch.float64)))
        shares = [continues.double().mean()[None]] + [
            F.one_hot(after[:, index].long(), size).double().mean(0) for index, size in self.kinds
        ]
        shares[0] = torch.cat([shares[0], 1 - shares[0]])
        self.chance.copy_(torch.stack([_entropy(share) for share in shares]).clamp(min=_RARE))

    @torch.no_grad()
    def remember(self, values: Tensor, reward: Tensor, first: Tensor, generator: torch.Generator) -> None:
        """Remember some of the moments from which it went on: values [n, variables], reward [n], first [n] bool.

        A quarter of them are beginnings.
        """
        beginnings, count = first.nonzero().squeeze(1), len(self.seen)
        anywhere = torch.randint(len(values), (count,), generator=generator)
        begins = beginnings[torch.randint(len(beginnings), (count // 4,), generator=generator)]
        picked = torch.cat([begins, anywhere])[:count]
        self.seen.copy_(torch.cat([values, reward[:, None]], 1)[picked])

    # ---- beliefs ---------------------------------------------------------------------------------------------------

    def initial(self, batch: int) -> EnsembleBelief:
        """Return beliefs in mean values."""
        nothing = torch.zeros(batch, device=self.mean.device)
        return EnsembleBelief(self.mean.repeat(batch, 1), nothing, nothing + 1, nothing.long())

    def observe(self, belief: EnsembleBelief, action: Tensor, observation: Tensor, is_first: Tensor) -> EnsembleBelief:
        """Believe what is seen."""
        nothing = torch.zeros_like(belief.reward)
        return replace(belief, values=observation.float(), reward=nothing, continues=nothing + 1)

    def begin_goal(self, belief: EnsembleBelief, rows: Tensor) -> EnsembleBelief:
        """Return the belief: objectives speak of no places."""
        return belief

    def begin_step(self, belief: EnsembleBelief, rows: Tensor) -> EnsembleBelief:
        """Return the belief: nothing is held."""
        return belief

    def suppose(self, belief: EnsembleBelief, steps: Tensor) -> EnsembleBelief:
        """Give the rows to the members in turn."""
        rows = torch.arange(len(belief.member), device=belief.member.device)
        return replace(belief, member=rows % self.config.members)

    def intervene(self, belief: EnsembleBelief, inputs: Mapping[str, float]) -> EnsembleBelief:
        """Set exogenous variables. Raises SpecError for a name that is none of them."""
        names, values = [v.name for v in self.spec.vector.variables], belief.values.clone()
        for name, value in inputs.items():
            if name not in self.spec.exogenous:
                known = ", ".join(self.spec.exogenous) or "none"
                raise SpecError(f"{self.spec.name} has no exogenous variable {name!r}; it has {known}")
            values[:, names.index(name)] = value
        return replace(belief, values=values)

    def moments(self) -> EnsembleBelief:
        """Return beliefs of moments that were really seen and went on; zeros before anything was."""
        return replace(self.initial(len(self.seen)), values=self.seen[:, :-1], reward=self.seen[:, -1])

    # ---- imagination -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def imagine(self, belief: EnsembleBelief, action: Tensor) -> EnsembleBelief:
        """Sample what each row's own member predicts."""
        inputs = self._inputs(belief.values, action)
        said = self._split(self._own(self.net, inputs, belief.member))
        mean, spread = said.mean[..., 0], said.spread[..., 0]
        if self.config.ways > 1:
            chance = torch.where(said.chance < _LEAST_WAY, -torch.inf, said.chance)
            way = (chance + gumbel(tuple(chance.shape), chance.device)).argmax(-1, keepdim=True)
            mean, spread = said.mean.gather(-1, way).squeeze(-1), said.spread.gather(-1, way).squeeze(-1)
        values = belief.values.clone()
        values[:, self.numbers] += (mean + (spread / 2).exp() * torch.randn_like(mean)) * self.change
        values = torch.minimum(torch.maximum(values, self.low), self.high)
        for (index, _), logits in zip(self.kinds, self._kinds(said), strict=True):
            values[:, index] = torch.multinomial(logits.softmax(-1), 1).squeeze(1).float()
        if self._exogenous:
            values[:, self._exogenous] = belief.values[:, self._exogenous]
        signals = self._own(self.signals, torch.cat([inputs, self._shown(values)], -1), belief.member)
        chances = signals.view(-1, 2, _BINS).softmax(-1)  # of bins, where it ends and where it goes on
        ends = (signals[:, :_BINS].logsumexp(-1) - signals[:, _BINS:].logsumexp(-1)).sigmoid()
        over = torch.rand_like(ends) < ends * (ends > _RAREST)
        chances = torch.where(over[:, None], chances[:, 0], chances[:, 1])
        reward = (chances * (self.bins - self.bins[0])).sum(-1) + self.bins[0]  # exact where all are the same
        return replace(belief, values=values, reward=reward, continues=(~over).float())

    def readout(self, belief: EnsembleBelief) -> Readout:
        """Return the values as they are, and the reward of the last imagined transition and whether it went on."""
        return Readout(belief.values, belief.reward, belief.continues)

    @torch.no_grad()
    def disagreement(self, belief: EnsembleBelief, action: Tensor) -> Tensor:
        """Return the mutual information between member and prediction; numbers count as if mixtures were Gaussian."""
        said = self._all(belief.values, action)
        chance = said.chance.exp()
        mean = (chance * said.mean).sum(-1)
        own = (chance * (said.spread.exp() + (said.mean - mean[..., None]) ** 2)).sum(-1).mean(0)
        doubt = 0.5 * torch.log1p(mean.var(0, unbiased=False) / own).sum(-1)
        for logits in self._kinds(said):
            chance = logits.softmax(-1)
            doubt = doubt + _entropy(chance.mean(0)) - _entropy(chance).mean(0)
        return doubt

    @torch.no_grad()
    def surprise(self, belief: EnsembleBelief, action: Tensor, observation: Tensor) -> Tensor:
        """Return −log of the members' mixed density, with each number's standard deviation as its unit."""
        said, seen = self._all(belief.values, action), observation.float()
        units = (self.change / self.scale[self.numbers]).log().sum()
        numbers, kinds = self._likelihood(said, belief.values, seen)
        members = torch.tensor(float(self.config.members))
        return units - torch.logsumexp(sum(kinds, numbers), 0) + members.log()

    def features(self, belief: EnsembleBelief) -> Tensor:
        """Return what a policy acts on, [B, F]: numbers in standard deviations, categories one-hot."""
        return self._shown(belief.values)

    # ---- networks --------------------------------------------------------------------------------------------------

    def _shown(self, values: Tensor) -> Tensor:
        """Return what networks read of values: numbers in standard deviations, categories one-hot."""
        numbers = ((values - self.mean) / self.scale)[..., self._plain].clamp(-_FURTHEST, _FURTHEST)
        kinds = [F.one_hot(values[..., i].long(), size).to(numbers.dtype) for i, size in self.kinds]
        return torch.cat([numbers, *kinds], -1) if kinds else numbers

    def _inputs(self, values: Tensor, action: Tensor) -> Tensor:
        return torch.cat([self._shown(values), self.acted(action)], -1)

    def acted(self, action: Tensor) -> Tensor:
        """Return what networks read of actions, [B, A]: one-hot, or controls in half ranges."""
        if self.spec.controls:
            return (action.float() - self.centre) / self.reach
        return F.one_hot(action.long(), len(self.spec.actions)).float()

    def _all(self, values: Tensor, action: Tensor) -> _Prediction:
        """Ask every member about every row: […] become [E, n]."""
        return self._split(self.net(self._inputs(values, action).expand(self.config.members, -1, -1)))

    def _own(self, net: nn.Module, inputs: Tensor, member: Tensor) -> Tensor:
        """Ask each row's own member: rows [B, inputs] become [E, most rows of a member, inputs], and come back."""
        members, rows = self.config.members, len(member)
        answers: Tensor
        if rows % members == 0 and torch.equal(member, torch.arange(rows, device=member.device) % members):
            answers = net(inputs.view(-1, members, inputs.shape[1]).transpose(0, 1))  # in turn, as `suppose` gives them
            return answers.transpose(0, 1).flatten(0, 1)
        order = member.argsort(stable=True)
        counts = member.bincount(minlength=members)
        place = torch.arange(rows, device=member.device) - (counts.cumsum(0) - counts)[member[order]]
        together = inputs.new_zeros(members, int(counts.max()), inputs.shape[1])
        together[member[order], place] = inputs[order]
        answers = net(together)
        result = answers.new_empty(rows, answers.shape[-1])
        result[order] = answers[member[order], place]
        return result

    def _split(self, answer: Tensor) -> _Prediction:
        n, ways = len(self.numbers), self.config.ways
        parts = 2 if ways == 1 else 3
        numbers, kinds = answer[..., : parts * n * ways], answer[..., parts * n * ways :]
        mean, spread, *odds = numbers.view(*numbers.shape[:-1], parts, n, ways).unbind(-3)
        spread = _VAGUEST - F.softplus(_VAGUEST - spread)
        spread = _SHARPEST + F.softplus(spread - _SHARPEST)
        return _Prediction(mean, spread, odds[0].log_softmax(-1) if odds else torch.zeros_like(mean), kinds)

    def _kinds(self, said: _Prediction) -> list[Tensor]:
        """Return the logits […, categories] of every categorical variable."""
        ends = list(accumulate(size for _, size in self.kinds))
        return [said.kinds[..., end - size : end] for end, (_, size) in zip(ends, self.kinds, strict=True)]

    def _likelihood(self, said: _Prediction, before: Tensor, after: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the members' log-likelihoods of the next numbers, […], in standard deviations, and of every kind."""
        change = ((after - before)[:, self.numbers] / self.change)[..., None]
        misses = (change - said.mean) ** 2 * (-said.spread).exp()
        gaussian = said.chance - 0.5 * (said.spread + misses + 1.8378770664)  # ln 2π
        kinds = [
            logits.log_softmax(-1).gather(-1, after[:, index].long().expand(logits.shape[:-1])[..., None]).squeeze(-1)
            for (index, _), logits in zip(self.kinds, self._kinds(said), strict=True)
        ]
        return gaussian.logsumexp(-1).sum(-1), kinds

    # ---- learning --------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> tuple[dict[str, Tensor], EnsembleBelief]:
        """Return the losses by name, means over members and transitions, and the beliefs of all frames.

        What is rare counts as much as what is not: ends and kinds in units of what knowing only their shares costs.
        """
        before, after, action, reward, continues = transitions(batch)
        inputs = self._inputs(before, action)
        every = (self.config.members, -1, -1)
        numbers, kinds = self._likelihood(self._split(self.net(inputs.expand(*every))), before, after)
        signals = self.signals(torch.cat([inputs, self._shown(after)], -1).expand(*every))
        ends, goes_on = signals[..., :_BINS], signals[..., _BINS:]
        place, over = between(self.bins, reward.float()), continues <= 0
        told = torch.where(over[:, None], ends, goes_on)
        odds = ends.logsumexp(-1) - goes_on.logsumexp(-1)
        end = F.binary_cross_entropy_with_logits(odds, over.to(odds).expand(odds.shape))
        losses = {
            "change": -numbers.mean(),
            "reward": two_hot(told, place.expand(told.shape[:-1])).mean(),
            "end": end / self.chance[0],
        }
        if kinds:
            losses["kinds"] = -(torch.stack(kinds, -1).mean((0, 1)) / self.chance[1:]).sum()
        seen = batch.observation.flatten(0, 1).float()
        return losses, replace(self.initial(len(seen)), values=seen)


class _Beside(nn.Module):
    """Networks of the same inputs, their answers side by side."""

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answer for [E, n, inputs]."""
        return torch.cat([net(inputs) for net in self.nets], -1)


def _layers(members: int, sizes: list[int]) -> nn.Sequential:
    """Return linear layers of these sizes for all members, SiLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [EnsembleLinear(members, inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def transitions(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return before [n, variables], after, action [n] or [n, A], reward [n] and continues [n] of all transitions."""
    inside = ~batch.is_first[:, 1:]
    before, after = batch.observation[:, :-1][inside].float(), batch.observation[:, 1:][inside].float()
    return before, after, batch.action[:, 1:][inside], batch.reward[:, 1:][inside], batch.continues[:, 1:][inside]


def _deviation(columns: Tensor) -> Tensor:
    """Return standard deviations [columns], 1 where nothing differs."""
    deviation = columns.std(0, unbiased=False)
    return torch.where(deviation > 1e-9, deviation, torch.ones_like(deviation))


def _entropy(chances: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(chances).sum(-1)
    return entropy


__all__ = ["SIZES", "EnsembleBelief", "EnsembleConfig", "EnsembleModel", "transitions"]
