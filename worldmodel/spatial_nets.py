"""The networks of the `spatial` family, one for each question it answers. But for `Acting`, they never see a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gedanken.worldmodel.spatial_grid import LAID, MOTIONS, Grid


def image(vectors: Tensor, height: int, width: int) -> Tensor:
    """View vectors [B, height·width, C] of cells as pictures [B, C, height, width], their channels last in memory."""
    return vectors.view(-1, height, width, vectors.shape[2]).permute(0, 3, 1, 2)


def draw(weights: Tensor) -> Tensor:
    """Draw a category [n], int32, from each row of weights [n, V] (a tenth of `torch.multinomial`'s time)."""
    heights = weights.cumsum(-1)
    at = torch.rand(len(weights), 1, device=weights.device) * heights[:, -1:] * (1 - 1e-6)
    return torch.searchsorted(heights, at, right=True, out_int32=True).squeeze(1).clamp(max=weights.shape[1] - 1)


def pick(logits: Tensor, floor: float = 0.08) -> Tensor:
    """Sample categories [n] from logits [n, V]; what is rarer than `floor` is left out, or rare slips would add up."""
    probabilities = logits.softmax(-1)
    probabilities = torch.where(probabilities < floor, 0.0, probabilities)
    flat = probabilities.sum(-1, keepdim=True) == 0
    return draw(torch.where(flat, logits.softmax(-1), probabilities))


def mutual_information(logits: Tensor) -> Tensor:
    """Return the mutual information in nats between the ensemble member [E, …, V] and the category, […]."""
    each = logits.log_softmax(-1)
    shares = each.exp()
    mean = shares.mean(0)
    entropy = -(mean * mean.clamp(min=1e-9).log()).sum(-1)
    return (entropy + (shares * each).sum(-1).mean(0)).clamp(min=0.0)


class EnsembleLinear(nn.Module):
    """E linear layers side by side: ``[E, n, inputs] → [E, n, outputs]``."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(members, inputs, outputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Apply every member to its own input."""
        return torch.baddbmm(self.bias, x, self.weight)


class Codes(nn.Module):
    """Vectors of codes: a code's is the sum of one for each channel's category and one of its own.

    What is learned of one red thing, or of one locked door, is so learned of all. `scores` compares vectors with all
    codes.
    """

    def __init__(self, grid: Grid, size: int) -> None:
        super().__init__()
        self.own = nn.Embedding(grid.codes + 1, size)
        self.parts = nn.ModuleList(nn.Embedding(count + 1, size) for count in grid.sizes)
        self.categories: Tensor  # [V + 1, categories of all channels], 1 where a code has one
        each = [F.one_hot(column, count + 1) for column, count in zip(grid.channels.unbind(1), grid.sizes, strict=True)]
        self.register_buffer("categories", torch.cat(each, 1).float(), persistent=False)
        for part in (self.own, *self.parts):
            nn.init.normal_(part.weight, std=(1 + len(grid.sizes)) ** -0.5)

    def table(self) -> Tensor:
        """Return the vectors of all codes, [V + 1, size]."""
        parts = torch.cat(list(self.parts.parameters()))  # [categories, size]
        return self.own.weight + self.categories @ parts

    def forward(self, codes: Tensor) -> Tensor:
        """Return vectors […, size] for codes […]."""
        return F.embedding(codes, self.table())

    def scores(self, vectors: Tensor) -> Tensor:
        """Return logits […, V + 1] for vectors […, size]."""
        return F.linear(vectors, self.table() * vectors.shape[-1] ** -0.5)


def _ensemble(members: int, inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    last = EnsembleLinear(members, hidden, outputs)
    nn.init.zeros_(last.weight)
    return nn.Sequential(EnsembleLinear(members, inputs, hidden), nn.SiLU(), last)


def by_members(net: nn.Module, x: Tensor, members: int, turn: int | None) -> Tensor:
    """Ask every member about all rows x [B, inputs], or each row's own member, ``(row + turn) mod E``.

    Returns [E, B, outputs], or [1, B, outputs].
    """
    if turn is None:
        out: Tensor = net(x.expand(members, -1, -1))
        return out
    rows = len(x)
    padded = F.pad(x, (0, 0, 0, -rows % members)).view(-1, members, x.shape[1]).transpose(0, 1)
    out = net(padded.roll(turn, 0)).roll(-turn, 0)
    return out.transpose(0, 1).flatten(0, 1)[None, :rows]


class Motion(nn.Module):
    """Which rigid motion does an action cause, given the 3×3 cells around the agent and its hand? [E, B, M] logits."""

    def __init__(self, grid: Grid, actions: int, embed: int, members: int) -> None:
        super().__init__()
        self.cells, self.actions, self.members = grid.patch(1), actions, members
        self.codes = Codes(grid, embed)
        self.net = _ensemble(members, 10 * embed + actions, 96, len(MOTIONS))

    @property
    def certainty(self) -> nn.Module:
        """Return the last layer, whose scale is the certainty."""
        return self.net[-1]

    def forward(self, codes: Tensor, hand: Tensor, action: Tensor, turn: int | None = None) -> Tensor:
        """Answer for maps [B, P·P], hands [B], actions [B]; see `by_members`."""
        x = self.codes(torch.cat([codes[:, self.cells], hand[:, None]], 1)).flatten(1)
        x = torch.cat([x, F.one_hot(action, self.actions).float()], 1)
        return by_members(self.net, x, self.members, turn).log_softmax(-1)


class Change(nn.Module):
    """What do the cells near the agent, and its hand, become? [E, B, near + 1, V + 1] logits, biased to stay.

    It is told in which channels the cells are like what is in hand: whether a key fits is learned for all colours.
    """

    def __init__(self, grid: Grid, actions: int, embed: int, members: int, near: int) -> None:
        super().__init__()
        self.grid, self.patch, self.actions, self.members, self.near = grid, grid.patch(1), actions, members, near
        self.near_cells = grid.patch(int(near**0.5) // 2)
        self.codes = Codes(grid, embed)
        inputs = 10 * embed + 9 * len(grid.sizes) + actions + len(MOTIONS)
        self.net = _ensemble(members, inputs, 128, (near + 1) * (embed + 1))
        self.values = Codes(grid, embed)
        self.stay = nn.Parameter(torch.tensor(4.0))

    def forward(
        self,
        codes: Tensor,
        hand: Tensor,
        action: Tensor,
        motion: Tensor,
        turn: int | None = None,
        *,
        hand_only: bool = False,
    ) -> Tensor:
        """Answer for moved maps [B, P·P], hands [B], actions [B], motions [B]; see `by_members`.

        With `hand_only` what the hand becomes is all that is answered, [E, B, 1, V + 1].
        """
        x = self.codes(torch.cat([codes[:, self.patch], hand[:, None]], 1)).flatten(1)
        like = self.grid.alike(codes[:, self.patch], hand).transpose(1, 2).flatten(1)
        chosen = [F.one_hot(action, self.actions), F.one_hot(motion.long(), len(MOTIONS))]
        x = torch.cat([x, like, *chosen], 1)
        y: Tensor = by_members(self.net, x, self.members, turn)
        y = y.view(*y.shape[:2], self.near + 1, -1)  # [E, B, near + 1, embed + 1]
        old = torch.cat([codes[:, self.near_cells], hand[:, None]], 1)
        if hand_only:
            y, old = y[:, :, -1:], old[:, -1:]
        logits = self.values.scores(y[..., :-1])
        index = old.long().expand(len(y), -1, -1)[..., None]
        return logits.scatter_add(-1, index, self.stay + y[..., -1:])


class Sight(nn.Module):
    """Which cells of the view are in sight, given what is there? [B, view] logits; cells there may be unknown."""

    def __init__(self, grid: Grid, embed: int) -> None:
        super().__init__()
        self.shape = grid.shape
        self.codes = Codes(grid, embed)
        self.position = nn.Parameter(torch.zeros(1, embed, *grid.shape))
        widths = [embed, 32, 32, 32]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:], strict=False))
        self.head = nn.Linear(32 * grid.shape[0] * grid.shape[1], grid.shape[0] * grid.shape[1])

    def forward(self, view: Tensor) -> Tensor:
        """Answer for views [B, height·width] of codes."""
        x = image(self.codes(view), *self.shape) + self.position
        for layer in self.layers:
            x = F.silu(layer(x))
        out: Tensor = self.head(x.flatten(1))
        return out


class Completion(nn.Module):
    """What is in the cells nobody has seen? A masked model of whole maps, sampled in a few joint rounds.

    Fine features meet a summary of the whole map, made at half the resolution and from what is known to be anywhere
    (one unlocked door says much of the others). Chang et al., "MaskGIT", CVPR 2022.
    """

    rounds = 5

    def __init__(self, grid: Grid, embed: int, width: int) -> None:
        super().__init__()
        self.grid = grid
        self.codes = Codes(grid, embed)
        self.stem = nn.Conv2d(embed, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.anywhere = nn.Linear(embed, 64)
        coarse = 2 * width * ((grid.window_side + 1) // 2) ** 2
        self.summary = nn.Sequential(nn.Linear(coarse + 64, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU())
        self.where, self.what = nn.Linear(256, coarse), nn.Linear(256, 2 * width)
        self.near = nn.Conv2d(width, width, 3, padding=1)
        self.join = nn.Conv2d(3 * width, 2 * width, 1)
        self.head = nn.Linear(2 * width, 2 * embed)
        self.values = Codes(grid, 2 * embed)

    def forward(self, codes: Tensor, cells: Tensor | None = None) -> Tensor:
        """Return logits [B, W·W, V + 1] for windows [B, W·W]; with `cells`, just [n, V + 1] for those of all B·W·W."""
        side = self.grid.window_side
        known = self.codes(codes)
        fine = F.relu(self.stem(image(known, side, side)))
        coarse = F.relu(self.down(fine))
        summary = self.summary(torch.cat([coarse.flatten(1), F.relu(self.anywhere(known)).amax(1)], 1))
        coarse = coarse + self.where(summary).view_as(coarse)
        fine = fine + F.relu(self.near(fine))
        spread = F.interpolate(coarse, scale_factor=2)[:, :, :side, :side]
        joined = self.join(torch.cat([fine, spread], 1)) + self.what(summary)[..., None, None]
        features = F.relu(joined).flatten(2).transpose(1, 2)
        return self.values.scores(self.head(features if cells is None else features.flatten(0, 1)[cells]))

    @torch.no_grad()
    def sample(self, seen: Tensor, places: Tensor, steps: Tensor | None = None) -> Tensor:
        """Fill the unknown cells in the windows of maps [B, P·P]; cells that would stay out of reach remain unknown.

        What steps [B, K, G] name then probably exists.
        """
        grid = self.grid
        codes = seen[:, grid.window]
        if steps is not None:
            alike = bool((codes == codes[:1]).all())  # futures of one belief: what is likely is the same for all
            likely = self(codes[:1] if alike else codes).softmax(-1).expand(len(seen), -1, -1)
            for k in range(steps.shape[1]):
                self._place(codes, seen, likely, steps[:, k], places)
        when = torch.rand_like(codes, dtype=torch.float)  # cells are drawn in random order, few at first
        for turn in range(1, self.rounds + 1):
            begin, end = ((turn - 1) / self.rounds) ** 2, (turn / self.rounds) ** 2
            due = (codes == grid.unknown) & (when >= begin) & (when < end)
            cells = due.flatten().nonzero().squeeze(1)
            if len(cells):
                drawn = draw(self(codes, cells).softmax(-1))
                codes.view(-1)[cells] = torch.where(grid.hidden[drawn], grid.unknown, drawn)
        filled = seen.clone()
        filled[:, grid.window] = codes
        return filled

    def _place(
        self, codes: Tensor, seen: Tensor, likely: Tensor, step: Tensor, places: Tensor, odds: float = 20.0
    ) -> None:
        """Put, in windows [B, W·W], each object that a step [B, G] names and no cell shows into a likely unknown cell.

        A name is evidence that the thing exists: it raises the model's odds of that by the factor `odds`.
        """
        grid = self.grid
        every = torch.arange(grid.codes + 1, device=codes.device).expand(len(codes), -1)
        admitted = grid.matches(step, every, None)  # [B, arguments, V + 1]
        here = places[:, grid.window]
        for position in range(admitted.shape[1]):
            shown = grid.matches(step, seen, places)[:, position].any(1)
            shown |= grid.matches(step, codes, here)[:, position].any(1)
            missing = admitted[:, position].any(1) & ~shown
            rows = missing.nonzero().squeeze(1)
            if not len(rows):
                continue
            open_cells = (codes == grid.unknown)[rows] & self._allowed(step, position, here)[rows]
            mass = likely[rows] * admitted[rows, position, None] * open_cells[..., None]  # [n, P·P, V + 1]
            expected = mass.flatten(1).sum(1).clamp(max=0.99)  # how many the model expects out of sight
            chance = odds * expected / (1 - expected + odds * expected)
            exists = torch.rand_like(chance) < chance
            if exists.any():
                drawn = draw(mass[exists].flatten(1))
                codes[rows[exists], drawn // (grid.codes + 1)] = drawn % (grid.codes + 1)

    def _allowed(self, step: Tensor, position: int, places: Tensor) -> Tensor:
        """Tell which cells [B, P·P] lie where an argument says its object is, whatever is there."""
        grid, per = self.grid, len(self.grid.spec.attributes)
        allowed = torch.ones_like(places, dtype=torch.bool)
        for column, attribute in enumerate(grid.spec.attributes):
            if attribute.channel is None:
                slot = step[:, 1 + position * per + column].clamp(min=0)
                allowed &= getattr(grid, f"admits_{attribute.name}")[slot[:, None], places]
        return allowed


class Signals(nn.Module):
    """Expected reward and whether the episode goes on, from the transition near the agent; two logits [B]."""

    def __init__(self, grid: Grid, actions: int, embed: int) -> None:
        super().__init__()
        self.actions = actions
        self.codes = Codes(grid, embed)
        self.net = nn.Sequential(nn.Linear(52 * embed + actions, 128), nn.SiLU(), nn.Linear(128, 2))

    def forward(
        self, before: Tensor, hand_before: Tensor, action: Tensor, now: Tensor, hand: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Answer for patches [B, 25], hands [B] and actions [B]."""
        x = self.codes(torch.cat([before, hand_before[:, None], now, hand[:, None]], 1)).flatten(1)
        out = self.net(torch.cat([x, F.one_hot(action, self.actions).float()], 1))
        return out[:, 0], out[:, 1]


def _nearness(distance: Tensor) -> Tensor:
    """Return how near it is, 1…0 for distances […] of ways that are free, -1…0 where the hand must be emptied first."""
    return torch.where(distance < LAID, torch.exp(-distance / 10), -torch.exp((LAID - distance) / 10))


class Acting(nn.Module):
    """Features for acting: convolutions over the known window with the step's objects marked, then one dense layer.

    Marked are also the things that are like what is in hand, and like what was in hand when the step began. `ways` may
    add maps of distances, seen from the agent's cell, and how far the goals of these maps are.
    """

    def __init__(
        self, grid: Grid, skills: int, arguments: int, embed: int, width: int, hidden: int, ways: int = 0
    ) -> None:
        super().__init__()
        self.grid, self.side = grid, grid.window_side
        self.codes = Codes(grid, embed)
        self.skill = nn.Embedding(skills, embed)
        self.stem = nn.Conv2d(embed + arguments + 2 * len(grid.sizes) + ways, width, 3, padding=1)
        self.layer = nn.Conv2d(width, width, 3, padding=1)
        extra = 3 * embed + 2 * arguments + 5 * ways
        self.dense = nn.Linear(width * self.side**2 + extra, hidden)
        self.out = nn.Linear(hidden, hidden)
        middle = self.side**2 // 2
        self.beside = [middle - self.side, middle + 1, middle + self.side, middle - 1]

    def forward(
        self,
        codes: Tensor,
        marks: Tensor,
        hand: Tensor,
        held: Tensor,
        skill: Tensor,
        began: Tensor,
        ways: Sequence[Tensor] = (),
    ) -> Tensor:
        """Return [B, hidden] for maps [B, P·P], marks [B, arguments, P·P], hands [B], held [B, arguments], skills [B].

        `began` [B] is the hand when the step began; `ways`, each [B, n, P·P], are distances to what matters for the
        step.
        """
        window = self.grid.window
        near = codes[:, window]
        like = [self.grid.alike(near, other) for other in (hand, began)]
        maps = [self.codes(near), marks[:, :, window].transpose(1, 2), *like]
        extra = [self.codes(hand), self.skill(skill.long()), held.float(), marks.any(2).float(), self.codes(began)]
        for distances in ways:
            here = distances[:, :, self.grid.cells // 2].float()
            downhill = (distances[:, :, window].float() - here[..., None]).clamp(-4, 4) / 4
            maps.append(downhill.transpose(1, 2))
            extra += [_nearness(here), downhill[:, :, self.beside].flatten(1)]
        x = F.relu(self.stem(image(torch.cat(maps, 2), self.side, self.side)))
        x = F.relu(x + self.layer(x))
        x = F.silu(self.dense(torch.cat([x.flatten(1), *extra], 1)))
        return F.silu(x + self.out(x))
