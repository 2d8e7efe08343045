"""The networks of the `rssm` family: cells in and out, a block-diagonal GRU, categorical latents. They know no beliefs.

N rows, D deterministic size, S = groups·classes stochastic size, V joint codes of a cell, E ensemble members.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gedanken.worlds.fields import GridField


class Dense(nn.Sequential):
    """Linear, RMS norm, SiLU: the layer of DreamerV3."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Linear(inputs, outputs, bias=False), nn.RMSNorm(outputs, eps=1e-4), nn.SiLU())


class Cells(nn.Module):
    """The codes of a grid's cells: all channels of a cell joined into one integer 0…V - 1, and back."""

    channels: Tensor

    def __init__(self, field: GridField) -> None:
        super().__init__()
        self.shape = field.height, field.width
        self.sizes = tuple(len(channel.categories) for channel in field.channels)
        self.codes = math.prod(self.sizes)
        self.register_buffer("channels", self.split(torch.arange(self.codes)), persistent=False)  # [V, C]

    def join(self, observation: Tensor) -> Tensor:
        """Join channels: ``[…, height, width, C]`` integers to codes ``[…, height·width]``."""
        code = observation[..., 0].long()
        for channel, size in enumerate(self.sizes[1:], 1):
            code = code * size + observation[..., channel].long()
        return code.flatten(-2)

    def split(self, codes: Tensor) -> Tensor:
        """Split codes ``[…]`` into channels ``[…, C]``."""
        channels = []
        for size in reversed(self.sizes[1:]):
            channels.append(codes % size)
            codes = codes // size
        return torch.stack([codes, *reversed(channels)], -1)


class Encoder(nn.Module):
    """A view as a vector: categories embedded per channel and summed, one convolution, one dense layer."""

    def __init__(self, cells: Cells, width: int, outputs: int) -> None:
        super().__init__()
        self.cells = cells
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in cells.sizes)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.dense = Dense(width * math.prod(cells.shape), outputs)

    def forward(self, codes: Tensor) -> Tensor:
        """Encode codes [N, cells] as [N, outputs]."""
        channels = self.cells.channels.unbind(-1)
        parts = [table(channel) for table, channel in zip(self.tables, channels, strict=True)]
        x = F.embedding(codes, torch.stack(parts).sum(0))  # [N, cells, width]
        x = x.view(len(x), *self.cells.shape, -1).permute(0, 3, 1, 2)  # channels last in memory
        x = F.silu(x + self.conv(x))
        result: Tensor = self.dense(x.permute(0, 2, 3, 1).flatten(1))
        return result


class Decoder(nn.Module):
    """Logits over the joint codes of every cell, [N, cells, V], from a latent state."""

    def __init__(self, cells: Cells, inputs: int, hidden: int, width: int) -> None:
        super().__init__()
        self.shape, self.width = cells.shape, width
        self.dense = nn.Sequential(Dense(inputs, hidden), nn.Linear(hidden, width * math.prod(cells.shape)))
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Linear(width, cells.codes)

    def forward(self, state: Tensor) -> Tensor:
        """Decode states [N, inputs]."""
        x = F.silu(self.dense(state)).view(-1, *self.shape, self.width).permute(0, 3, 1, 2)
        x = F.silu(x + self.conv(x))
        logits: Tensor = self.out(x.permute(0, 2, 3, 1).flatten(1, 2))
        return logits


class BlockLinear(nn.Module):
    """A linear layer whose matrix is block-diagonal: every block of the input feeds its own block of the output."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        bound = (blocks / inputs) ** 0.5
        self.weight = nn.Parameter(torch.empty(blocks, inputs // blocks, outputs // blocks).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(blocks, 1, outputs // blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs] to [N, blocks, outputs / blocks]."""
        blocks = x.view(len(x), len(self.weight), -1).transpose(0, 1)
        return torch.baddbmm(self.bias, blocks, self.weight).transpose(0, 1)


class Core(nn.Module):
    """The deterministic step: a block-diagonal GRU on the last state, its stochastic part and what was done.

    Causes are actions, and whether a goal began when the action was chosen; which goal it was is not said.
    """

    def __init__(self, deter: int, stoch: int, actions: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.actions = actions
        self.from_deter, self.from_stoch = Dense(deter, hidden), Dense(stoch, hidden)
        self.from_cause = Dense(actions + 1, hidden)
        self.shared = nn.Linear(3 * hidden, deter)
        self.own = BlockLinear(deter, deter, blocks)
        self.norm = nn.RMSNorm(deter, eps=1e-4)
        self.gates = BlockLinear(deter, 3 * deter, blocks)

    def cause(self, action: Tensor, goal_begins: Tensor, is_first: Tensor) -> Tensor:
        """Encode actions […] and goal flags […] as […, hidden]; first frames have no cause."""
        parts = [F.one_hot(action.long(), self.actions), goal_begins[..., None]]
        cause: Tensor = self.from_cause(torch.cat([part * ~is_first[..., None] for part in parts], -1).float())
        return cause

    def forward(self, deter: Tensor, stoch: Tensor, cause: Tensor) -> Tensor:
        """Return the next deterministic part [N, D] of [N, D], [N, S] and causes [N, hidden]."""
        x = self.shared(torch.cat([self.from_deter(deter), self.from_stoch(stoch), cause], 1))
        x = F.silu(self.norm(x + self.own(deter).flatten(1)))
        reset, candidate, update = (part.flatten(1) for part in self.gates(x).chunk(3, 2))
        candidate = torch.tanh(reset.sigmoid() * candidate)
        return torch.lerp(deter, candidate, (update - 1.0).sigmoid())


class Latent(nn.Module):
    """Log-probabilities of categorical latents, [N, groups, classes], from a vector, with a uniform share mixed in."""

    def __init__(self, inputs: int, hidden: int, groups: int, classes: int, unimix: float) -> None:
        super().__init__()
        self.groups, self.classes, self.unimix = groups, classes, unimix
        self.dense = nn.Linear(inputs, hidden, bias=False)
        self.norm = nn.RMSNorm(hidden, eps=1e-4)
        self.out = nn.Linear(hidden, groups * classes)

    def forward(self, x: Tensor, extra: Tensor | float = 0.0) -> Tensor:
        """Answer for [N, inputs]; `extra` [N, hidden] is added within, for what was projected beforehand."""
        logits = self.out(F.silu(self.norm(self.dense(x) + extra)))
        return mixed(logits.view(-1, self.groups, self.classes), self.unimix)


class Ensemble(nn.Module):
    """Small independent networks, computed together: log-probabilities [E, N, groups, classes] of the next latents."""

    def __init__(self, members: int, inputs: int, hidden: int, groups: int, classes: int, unimix: float) -> None:
        super().__init__()
        self.shape, self.unimix = (groups, classes), unimix
        self.dense = nn.Linear(inputs, members * hidden)
        self.out = BlockLinear(members * hidden, members * groups * classes, members)

    def forward(self, x: Tensor) -> Tensor:
        """Answer for [N, inputs]."""
        logits = self.out(F.silu(self.dense(x))).transpose(0, 1)
        return mixed(logits.reshape(*logits.shape[:2], *self.shape), self.unimix)


class StepFeatures(nn.Module):
    """Features of a state for a step, whose codes, embedded and summed, scale and shift what is read off the state."""

    offsets: Tensor

    def __init__(self, step_sizes: tuple[int, ...], inputs: int, hidden: int, embed: int = 64) -> None:
        super().__init__()
        offsets = torch.tensor([0, *step_sizes[:-1]]).cumsum(0)
        self.register_buffer("offsets", offsets, persistent=False)
        self.codes = nn.Embedding(sum(step_sizes), embed)
        self.step = nn.Sequential(nn.Linear(embed, embed), nn.SiLU(), nn.Linear(embed, 2 * hidden))
        self.dense = nn.Linear(inputs, hidden, bias=False)
        self.norm = nn.RMSNorm(hidden, eps=1e-4)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, state: Tensor, step: Tensor) -> Tensor:
        """Return [N, hidden] for states [N, inputs] and steps [N, G]."""
        scale, shift = self.step(self.codes(step.clamp(min=0).long() + self.offsets).sum(1)).chunk(2, 1)
        x = F.silu(self.norm(self.dense(state)) * (1.0 + scale) + shift)
        return F.silu(x + self.out(x))


class TwoHot(nn.Module):
    """Numbers as categoricals over bins, even on the symlog scale; a number's mass is split between two neighbours."""

    bins: Tensor

    def __init__(self, bins: int, limit: float) -> None:
        super().__init__()
        self.register_buffer("bins", torch.linspace(-limit, limit, bins), persistent=False)
        self.step = 2 * limit / (bins - 1)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy [N] of logits [N, bins] with numbers [N]."""
        low, high = self.bins[0].item(), self.bins[-1].item()
        return two_hot(logits, (symlog(target.float()).clamp(low, high) - low) / self.step)

    def mean(self, logits: Tensor) -> Tensor:
        """Return the numbers [N] that logits [N, bins] mean."""
        return symexp((logits.float().softmax(-1) * self.bins).sum(-1))


def two_hot(logits: Tensor, place: Tensor) -> Tensor:
    """Return the cross-entropy […] of logits […, bins] with places […] between bins, each split to two neighbours."""
    below = place.floor().clamp(max=logits.shape[-1] - 2).long()
    share, each = place - below, logits.float().log_softmax(-1)
    at = each.gather(-1, torch.stack([below, below + 1], -1))
    return -(at * torch.stack([1.0 - share, share], -1)).sum(-1)


def between(bins: Tensor, numbers: Tensor) -> Tensor:
    """Return places of numbers […] between rising bins [B]: 2.5 is half-way from the third to the fourth.

    So shared, two neighbours have the number itself as their mean; what lies outside is put at the end.
    """
    numbers = numbers.clamp(bins[0], bins[-1])
    below = (torch.searchsorted(bins, numbers, right=True) - 1).clamp(0, len(bins) - 2)
    width = (bins[below + 1] - bins[below]).clamp(min=torch.finfo(bins.dtype).tiny)
    return below + (numbers - bins[below]) / width


def symlog(x: Tensor) -> Tensor:
    """Compress numbers symmetrically: sign(x) · ln(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Undo `symlog`."""
    return x.sign() * x.abs().expm1()


def mixed(logits: Tensor, unimix: float) -> Tensor:
    """Return log-probabilities of which the share `unimix` is uniform, so that no category is ever impossible."""
    return (logits.float().softmax(-1) * (1.0 - unimix) + unimix / logits.shape[-1]).log()


def gumbel(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return Gumbel noise: the argmax of log-probabilities plus this noise is a sample of them."""
    return -torch.empty(shape, device=device).exponential_().clamp(min=1e-20).log()


def straight_through(logs: Tensor, noise: Tensor) -> Tensor:
    """Sample one-hot latents from log-probabilities […, V]; the gradient goes to the probabilities."""
    sample = F.one_hot((logs + noise).detach().argmax(-1), logs.shape[-1]).float()
    probabilities = logs.exp()
    return sample + (probabilities - probabilities.detach())


def sample(logs: Tensor, floor: float) -> Tensor:
    """Sample one-hot latents from log-probabilities […, V], leaving out what is rarer than `floor`.

    Rare slips add up: with 32 groups, each uniform one time in a hundred, every fourth imagined step would slip.
    """
    least = logs.amax(-1, keepdim=True).clamp(max=math.log(floor)) if floor else -math.inf
    logs = torch.where(logs < least, -math.inf, logs)
    return F.one_hot((logs + gumbel(tuple(logs.shape), logs.device)).argmax(-1), logs.shape[-1]).float()


def divergence(logs: Tensor, other: Tensor) -> Tensor:
    """Return KL(logs ‖ other) summed over the groups, [N], from log-probabilities [N, groups, classes]."""
    return (logs.exp() * (logs - other)).sum((-1, -2))


def mutual_information(logs: Tensor) -> Tensor:
    """Return the mutual information in nats between member and prediction, [N], from [E, N, groups, classes]."""
    mean = logs.exp().mean(0)
    entropy = -(mean * mean.clamp(min=1e-9).log()).sum(-1)
    return (entropy + (logs.exp() * logs).sum(-1).mean(0)).clamp(min=0.0).sum(-1)
