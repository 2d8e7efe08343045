"""How far is it? Distances over a known map, from what the model has learned of which cells can be entered.

`Passage` learns from motions and changes; `distances` is value iteration for shortest paths, on integers, with no
gradient. Tamar et al., "Value Iteration Networks", NeurIPS 2016, is the idea; here the transitions are the world
model's own, and nothing is propagated back through the iterations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gedanken.worldmodel.spatial_grid import MOTIONS, Grid
from gedanken.worldmodel.spatial_nets import Codes

FAR = 100
"""Distance of what can't be reached; also the cost of entering what can't be entered."""

HOPED, CLEARED = 2, 3
"""Costs of entering a cell that is unknown, and one that an action must open or empty first; a free one costs 1."""

SURE = 2.0
"""Logit from which an action is trusted to enter a cell or to clear it: nobody may have tried the wrong key."""

_CHUNK = 256
"""Maps handled together, so that their distances stay in the cache."""


class Passage(nn.Module):
    """May an action move the agent off its cell, and may it make the cell ahead one that can be entered?

    Two logits for the code ahead, the hand and the action; a third, `takes`, for whether an empty hand then holds what
    was ahead. The most promising action counts, so that those seldom tried must be learned, too: frames count the less,
    the more there are of their kind.
    """

    pace = 3.0  # times the rest's learning rate

    def __init__(self, grid: Grid, actions: int, embed: int) -> None:
        super().__init__()
        self.grid, self.actions = grid, actions
        self.codes = Codes(grid, embed)
        self.net = nn.Sequential(nn.Linear(2 * embed + len(grid.sizes) + actions, 64), nn.SiLU(), nn.Linear(64, 2))
        self.take = nn.Sequential(nn.Linear(embed + actions, 32), nn.SiLU(), nn.Linear(32, 1))

    def takes(self, ahead: Tensor, action: Tensor) -> Tensor:
        """Answer for codes ahead [n] and actions [n]: logits [n]."""
        x = torch.cat([self.codes(ahead), F.one_hot(action, self.actions).float()], 1)
        out: Tensor = self.take(x).squeeze(1)
        return out

    def forward(self, ahead: Tensor, hand: Tensor, action: Tensor) -> Tensor:
        """Answer for codes ahead [n], hands [n] and actions [n]: logits [n, 2]."""
        like = self.grid.alike(ahead[:, None], hand)[..., 0].float()
        x = torch.cat([self.codes(ahead), self.codes(hand), like, F.one_hot(action, self.actions).float()], 1)
        out: Tensor = self.net(x)
        return out

    def promises(self, ahead: Tensor, hand: Tensor) -> Tensor:
        """Return both logits of the action that promises most, [n, 2], for codes ahead [n] and hands [n]."""
        actions = torch.arange(self.actions, device=ahead.device).repeat(len(ahead))
        each = self(ahead.repeat_interleave(self.actions), hand.repeat_interleave(self.actions), actions)
        best: Tensor = each.view(len(ahead), self.actions, 2).amax(1)
        return best

    @torch.no_grad()
    def costs(self, hands: Tensor) -> Tensor:
        """Return what entering a cell costs with each of some hands [n]: [n, V + 1] uint8."""
        every = torch.arange(self.grid.codes + 1, device=hands.device)
        pairs = self.promises(every.repeat(len(hands)), hands.repeat_interleave(len(every)))
        moves, clears = pairs.view(len(hands), len(every), 2).unbind(-1)
        cost = torch.where(moves > SURE, 1, torch.where(clears > SURE, CLEARED, FAR)).to(torch.uint8)
        cost[:, self.grid.hidden] = HOPED
        return cost

    @torch.no_grad()
    def helpers(self, seen: Tensor, hand: Tensor) -> Tensor:
        """Tell which cells of maps [B, P·P] show a thing that would, in the hand, open what no hand [B] opens now.

        A key for a locked door that has been seen is such a thing.
        """
        grid = self.grid
        present = torch.zeros(len(seen), grid.codes + 1, device=seen.device).scatter_(1, seen, 1.0)
        shut = present * grid.solid * (self._costs_of(hand) == FAR)
        things = (present.amax(0) * grid.solid).nonzero().squeeze(1)
        actions = torch.arange(self.actions, device=seen.device).repeat(len(things))
        tries = self.takes(things.repeat_interleave(self.actions), actions)
        things = things[tries.view(len(things), self.actions).amax(1) > 0]
        useful = torch.zeros_like(present, dtype=torch.bool)
        if len(things):
            useful[:, things] = shut @ (self.costs(things) < FAR).float().t() > 0
        return useful.gather(1, seen)

    def cell_costs(self, seen: Tensor, hand: Tensor) -> Tensor:
        """Return what entering each cell of maps [B, P·P] costs with hands [B], uint8."""
        return self._costs_of(hand).gather(1, seen)

    def _costs_of(self, hand: Tensor) -> Tensor:
        hands, which = torch.unique(hand, return_inverse=True)
        return self.costs(hands)[which]

    def loss(
        self, ahead: Tensor, hand: Tensor, action: Tensor, motion: Tensor, ahead_after: Tensor, hand_after: Tensor
    ) -> Tensor:
        """Return the loss for codes ahead [n] and hands [n] before and after actions [n] that caused motions [n, M]."""
        steps = torch.tensor([turns == 0 and (a, r) != (0, 0) for turns, a, r in MOTIONS], device=ahead.device)
        logits = self(ahead, hand, action)
        with torch.no_grad():
            moved, stayed = motion[:, steps].sum(1), motion[:, 0] > 0.5
            freed = (self.promises(ahead_after, hand_after)[:, 0] > 0).float()
            freed *= stayed  # what turned away, or went in, opened nothing
            like = self.grid.alike(ahead[:, None], hand)[..., 0].float().sum(1)
            kinds = torch.stack([ahead, like.long(), self.grid.solid[hand].long(), action])
            _, kind, counts = torch.unique(kinds, dim=1, return_inverse=True, return_counts=True)
            weight = counts[kind].float().rsqrt()
        known = ~self.grid.hidden[ahead]
        told = known & ~(stayed & self.grid.hidden[ahead_after])
        moves = F.binary_cross_entropy_with_logits(logits[:, 0], moved, reduction="none")
        clears = F.binary_cross_entropy_with_logits(logits[:, 1], freed, reduction="none")
        empty = known & ~self.grid.solid[hand]
        taken = ((hand_after == ahead) & self.grid.solid[ahead]).float()
        takes = F.binary_cross_entropy_with_logits(self.takes(ahead, action), taken, reduction="none")
        return _mean(moves, known * weight) + _mean(clears, told * weight) + _mean(takes, empty * weight)


def _mean(losses: Tensor, weight: Tensor) -> Tensor:
    return (losses * weight).sum() / weight.sum().clamp(min=1e-6)


@torch.no_grad()
def distances(costs: Tensor, sources: Tensor, limit: int = 255) -> Tensor:
    """Return how much it costs to get from each cell next to, or onto, the nearest source: [B, P·P] uint8, FAR at most.

    `costs` [B, P·P] uint8 are those of entering cells; `sources` [B, P·P] bool. Bellman–Ford, until nothing changes or
    `limit` times.
    """
    side = int(costs.shape[1] ** 0.5)
    parts = [
        _distances(cost.t().reshape(side, side, -1).contiguous(), source.t().reshape(side, side, -1), limit)
        for cost, source in zip(torch.split(costs, _CHUNK), torch.split(sources, _CHUNK), strict=True)
    ]
    return torch.cat([part.reshape(side * side, -1).t() for part in parts])


def _distances(cost: Tensor, source: Tensor, limit: int) -> Tensor:
    side, batch = cost.shape[0], cost.shape[2]
    edged = torch.full((side + 2, side + 2, batch), FAR, dtype=torch.uint8, device=cost.device)
    found, through = edged[1:-1, 1:-1], edged.clone()
    found[source] = 0
    for turn in range(limit):
        torch.add(found, cost, out=through[1:-1, 1:-1])  # at most 2 · FAR < 256
        rows = torch.minimum(through[:-2, 1:-1], through[2:, 1:-1])
        columns = torch.minimum(through[1:-1, :-2], through[1:-1, 2:])
        better = torch.minimum(torch.minimum(rows, columns), found)
        if turn % 8 == 7 and torch.equal(better, found):
            break
        found.copy_(better)
    return found
