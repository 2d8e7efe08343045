"""A learned policy for one objective of a world that shows numbers, and the value of being somewhere with it.

Both are small networks on a model's features. They are practised in imagination (`policy_practice`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from gedanken.worlds.spec import WorldSpec


class PolicyConfig(BaseModel):
    """How a policy is made and practised, by proximal policy optimisation (Schulman et al., 2017) in imagination.

    Attributes:
        hidden, layers: features of a hidden layer, and how many there are.
        rows: futures side by side.
        ahead: actions imagined in each, between two rounds of gradient steps.
        life: actions after which a future begins anew, on average.
        discount: what a reward is worth one action later.
        trace: λ of the advantages' estimate (Schulman et al., 2016).
        clip: how far the chance of an action may move from what it was, as a ratio.
        entropy: nats' worth of reward, in standard deviations of the advantage, that keep actions from narrowing.
        rate: learning rate.
        epochs, batches: how often what was imagined is gone through, and in how many gradient steps.
        rounds: of imagining and gradient steps, for a task that is practised for the first time.
    """

    hidden: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    rows: int = Field(default=480, ge=1)
    ahead: int = Field(default=16, ge=1)
    life: int = Field(default=128, ge=1)
    discount: float = Field(default=0.99, gt=0, lt=1)
    trace: float = Field(default=0.95, ge=0, le=1)
    clip: float = Field(default=0.2, gt=0)
    entropy: float = Field(default=0.003, ge=0)
    rate: float = Field(default=1e-3, gt=0)
    epochs: int = Field(default=5, ge=1)
    batches: int = Field(default=8, ge=1)
    rounds: int = Field(default=60, ge=0)


@dataclass(frozen=True)
class Drawn:
    """Actions drawn by a policy."""

    raw: Tensor  # [B] int64, or [B, A] of the whole line: what was drawn
    action: Tensor  # [B] int64, or [B, A] controls in their units: what is done
    log: Tensor  # [B] the drawn actions' log-probability or log-density


class Policy(nn.Module):
    """Chances of actions, or a Gaussian over controls whose width is everywhere the same, and a value."""

    def __init__(self, spec: WorldSpec, features: int, config: PolicyConfig) -> None:
        super().__init__()
        self.config, axes = config, spec.controls
        self.discrete, actions = not axes, len(spec.actions)
        sizes = [features, *[config.hidden] * config.layers]
        self.actor, self.critic = _layers([*sizes, actions], 0.01), _layers([*sizes, 1], 1.0)
        self.width = nn.Parameter(torch.full((0 if self.discrete else actions,), -0.5))  # its logarithm
        self.register_buffer("centre", torch.tensor([(a.low + a.high) / 2 for a in axes]), persistent=False)
        self.register_buffer("reach", torch.tensor([(a.high - a.low) / 2 for a in axes]), persistent=False)

    centre: Tensor
    reach: Tensor

    @property
    def acting(self) -> list[nn.Parameter]:
        """Return the parameters that say what to do; the others say what it is worth."""
        return [*self.actor.parameters(), self.width]

    def value(self, features: Tensor) -> Tensor:
        """Return how good it is to be there, [B], from features [B, F]; the unit is the practice's."""
        value: Tensor = self.critic(features).squeeze(-1)
        return value

    def likeliest(self, features: Tensor) -> Tensor:
        """Return the likeliest actions [B], or controls [B, A]."""
        said = self.actor(features)
        return said.argmax(-1) if self.discrete else self._natural(said)

    def draw(self, features: Tensor, generator: torch.Generator | None = None) -> Drawn:
        """Draw actions for features [B, F]."""
        said = self.actor(features)
        if self.discrete:
            logs = said.log_softmax(-1)
            raw = torch.multinomial(logs.exp(), 1, generator=generator).squeeze(1)
            return Drawn(raw, raw, logs.gather(1, raw[:, None]).squeeze(1))
        noise = torch.randn(said.shape, generator=generator)
        raw = said + self.width.exp() * noise
        return Drawn(raw, self._natural(raw), self._density(said, raw))

    def judge(self, features: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return what drawn actions' log-probability is now, [B], and the entropy of the drawing, [B]."""
        said = self.actor(features)
        if self.discrete:
            logs = said.log_softmax(-1)
            return logs.gather(1, raw[:, None]).squeeze(1), -(logs.exp() * logs).sum(-1)
        return self._density(said, raw), (self.width + 1.4189385332).sum().expand(len(raw))  # ln √(2πe)

    def _density(self, mean: Tensor, raw: Tensor) -> Tensor:
        return (-0.5 * ((raw - mean) / self.width.exp()) ** 2 - self.width - 0.9189385332).sum(-1)  # ln √(2π)

    def _natural(self, raw: Tensor) -> Tensor:
        return self.centre + self.reach * raw.clamp(-1, 1)


def _layers(sizes: list[int], last: float) -> nn.Sequential:
    """Return linear layers with SiLU between them, orthogonal; `last` scales the outputs' weights."""
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True), 1):
        linear = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(linear.weight, last if number == len(sizes) - 1 else 2**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1])
