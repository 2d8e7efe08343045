"""How far is it? Distances over a known map, from what the model has learned of which cells can be entered.

`Passage` learns from motions and changes; `distances` is value iteration for shortest paths, on integers, with no
gradient. Tamar et al., "Value Iteration Networks", NeurIPS 2016, is the idea; here the transitions are the world
model's own, and nothing is propagated back through the iterations.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gedanken.worldmodel.precision import exact
from gedanken.worldmodel.spatial_grid import FAR, LAID, MOTIONS, Grid
from gedanken.worldmodel.spatial_nets import Codes

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
        like = self.grid.alike(ahead[:, None], hand)[:, 0].float()
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
    def costs(self, hand: Tensor, shown: Tensor) -> Tensor:
        """Return what entering a cell costs with hands [n]: [n, V + 1] uint8, asked only for the codes shown [m].

        What is in the hand may be put down, so no cell costs more than with an empty one and LAID besides. Nor does a
        thing that can be taken cost less: what a full hand can do to a box is to open it, and then it is gone.
        """
        hands, which = torch.unique(hand, return_inverse=True)
        if self.grid.bare is not None:
            hands = torch.cat([hands, hands.new_tensor([self.grid.bare])])
        pairs = self.promises(shown.repeat(len(hands)), hands.repeat_interleave(len(shown)))
        moves, clears = pairs.view(len(hands), len(shown), 2).unbind(-1)
        cost = torch.full((len(hands), self.grid.codes + 1), FAR, dtype=torch.uint8, device=hand.device)
        cost[:, shown] = torch.where(moves > SURE, 1, torch.where(clears > SURE, CLEARED, FAR)).to(torch.uint8)
        cost[:, self.grid.hidden] = HOPED
        if self.grid.bare is not None:
            cost[self.grid.solid[hands].nonzero(), self._things(shown)] = FAR
            cost = torch.minimum(cost, cost[-1] + LAID)
        return cost[which]

    @torch.no_grad()
    def ways(
        self, seen: Tensor, hand: Tensor, step: Tensor, marks: Tensor, held: Tensor, bringing: bool
    ) -> list[Tensor]:
        """Return distances [B, arguments + 2, P·P] on maps [B, P·P]: to marked cells, what is unknown, and helpers.

        If `bringing`, also those [B, 2, P·P] to where steps [B, G] lead and to what is unknown, with what is to be
        brought there in the hand: what the first of two arguments speaks of, else a helper. An empty hand learns here
        that the way which it is to come back is barred. `marks` and `held` tell whether arguments are meant by cells
        [B, arguments, P·P] and by hands [B, arguments].
        """
        seen = seen.long()
        shown = torch.bincount(seen.flatten()).nonzero().squeeze(1)
        with exact(seen.device.type):
            costs = self.costs(hand, shown)
            unknown, helpers = seen == self.grid.unknown, self.helpers(seen, shown, costs)
            ways = [distances(costs.gather(1, seen), torch.cat([marks, torch.stack([unknown, helpers], 1)], 1))]
            if bringing:
                two = (step[:, 1 + len(self.grid.spec.attributes) :] > 0).any(1)
                there = torch.where(two[:, None], marks[:, -1], marks[:, 0])
                found = torch.where(torch.where(two[:, None], marks[:, 0], helpers), seen, -1).amax(1)
                costs = self.costs(torch.where((found < 0) | two & held[:, 0], hand, found), shown)
                ways.append(distances(costs.gather(1, seen), torch.stack([there, unknown], 1)))
        return ways

    @torch.no_grad()
    def helpers(self, seen: Tensor, shown: Tensor, costs: Tensor) -> Tensor:
        """Tell which cells of maps [B, P·P] show a thing that would, in the hand, open what stays shut now.

        A key for a locked door that has been seen is such a thing. `shown` [m] are the codes of all maps, `costs`
        [B, V + 1] those with the present hands.
        """
        grid = self.grid
        present = torch.zeros(len(seen), grid.codes + 1, device=seen.device).scatter_(1, seen, 1.0)
        shut = present * grid.solid * (costs == FAR)
        things = self._things(shown)
        useful = torch.zeros_like(present, dtype=torch.bool)
        if len(things):
            useful[:, things] = shut @ (self.costs(things, shown) < FAR).float().t() > 0
        return useful.gather(1, seen)

    def _things(self, shown: Tensor) -> Tensor:
        """Return those of codes [m] that an empty hand can take."""
        things = shown[self.grid.solid[shown]]
        actions = torch.arange(self.actions, device=shown.device).repeat(len(things))
        tries = self.takes(things.repeat_interleave(self.actions), actions).view(len(things), self.actions)
        return things[tries.amax(1) > 0] if len(things) else things

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
            like = self.grid.alike(ahead[:, None], hand)[:, 0].sum(1)
            kinds = ((ahead * (len(self.grid.sizes) + 1) + like) * 2 + self.grid.solid[hand]) * self.actions + action
            _, kind, counts = torch.unique(kinds, return_inverse=True, return_counts=True)
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
def distances(costs: Tensor, sources: Tensor) -> Tensor:
    """Return how much it costs to get from each cell next to, or onto, the nearest source: [B, S, P·P] uint8.

    `costs` [B, P·P] uint8 are those of entering cells; `sources` [B, S, P·P] bool, S kinds of them. FAR at most. Beside
    a source one is there, whether or not it could be entered.
    """
    begin = torch.where(sources, 0, torch.where(_beside(sources), CLEARED, FAR)).to(torch.uint8)
    chunks = zip(torch.split(costs[:, None], _CHUNK), torch.split(begin, _CHUNK), strict=True)
    parts = [_sweep(_lattice(cost), _lattice(found)) for cost, found in chunks]
    return torch.cat([part.flatten(0, 1).permute(2, 1, 0) for part in parts])


def _beside(cells: Tensor) -> Tensor:
    """Tell which cells of maps [B, S, P·P] lie beside one that is true."""
    side = int(cells.shape[2] ** 0.5)
    grid = F.pad(cells.view(*cells.shape[:2], side, side), (1, 1, 1, 1))
    inner = slice(1, -1)
    near = grid[..., :-2, inner] | grid[..., 2:, inner] | grid[..., inner, :-2] | grid[..., inner, 2:]
    return near.flatten(2)


def _lattice(maps: Tensor) -> Tensor:
    """Lay maps [B, S, P·P] out as [P, P, S, B], so that all that is done to a cell is done to neighbours in memory."""
    side = int(maps.shape[2] ** 0.5)
    return maps.permute(2, 1, 0).contiguous().view(side, side, *maps.shape[1::-1])


def _sweep(cost: Tensor, found: Tensor) -> Tensor:
    """Carry distances over the map [P, P, S, B] line by line, forth and back, down and up, until nothing changes."""
    rows = list(zip(found.unbind(0), cost.unbind(0), strict=True))
    columns = list(zip(found.unbind(1), cost.unbind(1), strict=True))
    while True:
        before = found.clone()
        for lines in (rows, rows[::-1], columns, columns[::-1]):
            for (behind, toll), (here, _) in pairwise(lines):
                torch.minimum(here, behind + toll, out=here)  # at most 2 · FAR < 256
        if torch.equal(before, found):
            return found
