"""Geometry and codes of egocentric maps: motions, views, patches, which cells a phrase means. Nothing here learns."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gedanken.worlds.spec import WorldSpec

MOTIONS: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0),
    (0, 1, 0),
    (0, -1, 0),
    (0, 0, 1),
    (0, 0, -1),
    (1, 0, 0),
    (3, 0, 0),
    (2, 0, 0),
)
"""The rigid motions of an agent on a grid, one cell at most: (quarter turns to the left, cells ahead, cells right)."""

INVERSE = (0, 2, 1, 4, 3, 6, 5, 7)
"""Index of each motion's inverse."""


HERE, ELSEWHERE = 4, 9
"""Places: the cell where the goal began, and cells beyond the bounds of where it began; 0…8 are around it."""

FAR = 120
"""Distance of what can't be reached; also the cost of entering what can't be entered."""

LAID = 60
"""What it costs besides to clear what only an empty hand can: more than any usual way, so that distances tell of it."""


class Grid(nn.Module):
    """Index tables for maps of ``side × side`` cells around an agent that faces row 0; codes join all channels.

    A cell's code is one integer for all channels of the grid field; `unknown` is the code after the last. The `window`
    is the middle of the map, up to `reach` cells away, at which networks look cell by cell. `bare` is the code of an
    empty hand, where the world has a name for that.
    """

    def __init__(self, spec: WorldSpec, radius: int, reach: int | None = None) -> None:
        super().__init__()
        field = spec.grid
        self.spec, self.radius, self.side = spec, radius, 2 * radius + 1
        self.cells = self.side**2
        self.sizes = tuple(len(channel.categories) for channel in field.channels)
        self.codes = math.prod(self.sizes)
        self.unknown = self.codes
        self.shape = (field.height, field.width)
        self.bare = None if field.empty is None else field.empty * math.prod(self.sizes[1:])
        self.view_agent = field.agent[0] * field.width + field.agent[1]
        self.motion: Tensor
        self.motion_inside: Tensor
        self.view: Tensor
        self.view_before: Tensor
        self.view_inside: Tensor
        self.window: Tensor
        self.view_in_window: Tensor
        self.hidden: Tensor
        self.solid: Tensor
        self.bounds: Tensor
        self.channels: Tensor
        self.looks: Tensor
        self.pose: Tensor
        sources = [self._source(*motion) for motion in MOTIONS]
        self._constant("motion", torch.tensor([[cell for cell, _ in source] for source in sources]))  # [M, P·P]
        self._constant("motion_inside", torch.tensor([[inside for _, inside in source] for source in sources]))
        self.reach = radius if reach is None else reach
        self.window_side = 2 * self.reach + 1
        rows = [radius - field.agent[0] + r for r in range(field.height)]
        columns = [radius - field.agent[1] + c for c in range(field.width)]
        farthest = max(abs(cell - radius) for cell in (*rows, *columns))
        if not farthest <= self.reach <= radius:
            raise ValueError(
                f"a map of radius {radius} with a window of {self.reach} does not hold a view of"
                f" {field.height}×{field.width}"
            )
        self._constant("view", torch.tensor([r * self.side + c for r in rows for c in columns]))  # [49]
        self._constant("view_before", self.motion[:, self.view])  # [M, 49]
        self._constant("view_inside", self.motion_inside[:, self.view])
        edge = radius - self.reach
        self._constant("window", torch.tensor(self._square(self.reach)))  # [W·W]
        in_window = [(r - edge) * self.window_side + c - edge for r in rows for c in columns]
        self._constant("view_in_window", torch.tensor(in_window))  # [49]
        ahead = radius - torch.arange(self.cells) // self.side
        right = torch.arange(self.cells) % self.side - radius
        self._constant("pose", (3 * (ahead.sign() + 1) + right.sign() + 1).int())  # [P·P]
        kinds = torch.arange(self.codes + 1) // math.prod(self.sizes[1:])
        self._constant("hidden", (kinds == field.hidden) | (torch.arange(self.codes + 1) == self.unknown))
        background = torch.isin(kinds, torch.tensor(field.background)) | self.hidden
        self._constant("solid", ~background)  # codes that are objects
        self._constant("bounds", torch.isin(kinds, torch.tensor(field.bounds, dtype=kinds.dtype)))
        every = torch.arange(self.codes)
        channels = torch.cat([self.decode(every).long(), torch.tensor([self.sizes])])  # the unknown is a category, too
        self._constant("channels", channels)  # [V + 1, C]
        looks = torch.where(self.solid[:, None], channels, torch.nan)  # [V + 1, C], like nothing where no object is
        self._constant("looks", looks)
        self._phrases()

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def _source(self, turns: int, ahead: int, right: int) -> list[tuple[int, bool]]:
        """For every cell after the motion, the cell it was before (clamped to the map), and whether that is on it."""
        result, limit = [], self.radius
        for row in range(self.side):
            for column in range(self.side):
                a, r = limit - row, column - limit
                for _ in range(turns):
                    a, r = r, -a
                a, r = a + ahead, r + right
                inside = abs(a) <= limit and abs(r) <= limit
                a, r = max(-limit, min(limit, a)), max(-limit, min(limit, r))
                result.append(((limit - a) * self.side + limit + r, inside))
        return result

    def patch(self, reach: int) -> Tensor:
        """Return the indices of the square of cells up to `reach` away from the agent, row by row."""
        return torch.tensor(self._square(reach), device=self.view.device)

    def _square(self, reach: int) -> list[int]:
        span = range(self.radius - reach, self.radius + reach + 1)
        return [r * self.side + c for r in span for c in span]

    # ---- codes -----------------------------------------------------------------------------------------------------

    def encode(self, observation: Tensor) -> Tensor:
        """Join channels: ``[…, height, width, C]`` integers to codes ``[…, height·width]``, int32."""
        code, *channels = observation.int().unbind(-1)
        for channel, size in zip(channels, self.sizes[1:], strict=True):
            code = code * size + channel
        return code.flatten(-2)

    def decode(self, codes: Tensor) -> Tensor:
        """Split codes ``[…]`` into channels ``[…, C]``; an unknown cell reads as hidden."""
        codes = torch.where(codes == self.unknown, 0, codes)
        channels = []
        for size in reversed(self.sizes[1:]):
            channels.append(codes % size)
            codes = codes // size
        return torch.stack([codes, *reversed(channels)], -1).to(torch.uint8)

    def alike(self, codes: Tensor, other: Tensor) -> Tensor:
        """Tell in which channels objects [B, n] are like one other [B]: [B, n, C], false where either is none."""
        return F.embedding(codes, self.looks) == F.embedding(other, self.looks)[:, None]

    # ---- motion ----------------------------------------------------------------------------------------------------

    def move(self, codes: Tensor, motion: Tensor) -> Tensor:
        """Move maps [B, P·P] by motions [B]; what comes in over the edge is unknown."""
        source = self.motion.index_select(0, motion)
        return torch.where(self.motion_inside[motion], codes.gather(1, source), self.unknown)

    def move_places(self, places: Tensor, motion: Tensor) -> Tensor:
        """Move planes of places [B, P·P]; half-planes go on over the edge."""
        return places.gather(1, self.motion.index_select(0, motion))

    def here(self, batch: int) -> Tensor:
        """Return the places as seen from the present pose, [B, P·P]: 3 · sign(ahead) + sign(right), shifted to 0…8."""
        return self.pose.expand(batch, -1)

    def within(self, places: Tensor, seen: Tensor) -> Tensor:
        """Let places [B, P·P] end at the bounds around where the goal began, as far as maps [B, P·P] show them.

        Bounds are looked for straight ahead, behind, left and right: what they enclose is taken for a rectangle. There
        are none where that cell is a bound itself, as in a doorway, or has left the map.
        """
        if not self.spec.grid.bounds:
            return places
        here = places == HERE
        began = here.byte().argmax(1, keepdim=True)
        bounded = here.any(1, keepdim=True) & ~self.bounds[seen.gather(1, began).long()]
        cells, line = seen.view(-1, self.side, self.side), torch.arange(self.side, device=seen.device)
        rows, columns = began[:, 0] // self.side, began[:, 0] % self.side
        every = torch.arange(len(seen), device=seen.device)

        def between(lines: Tensor, at: Tensor) -> Tensor:
            first = torch.where(lines & (line < at[:, None]), line, -1).amax(1, keepdim=True)
            last = torch.where(lines & (line > at[:, None]), line, self.side).amin(1, keepdim=True)
            return (line >= first) & (line <= last)

        ahead, beside = (
            between(self.bounds[codes.long()], at)
            for codes, at in ((cells[every, :, columns], rows), (cells[every, rows], columns))
        )
        inside = (ahead[:, :, None] & beside[:, None]).flatten(1)
        return torch.where(inside | ~bounded, places, ELSEWHERE)

    # ---- phrases ---------------------------------------------------------------------------------------------------

    def _phrases(self) -> None:
        """Build each attribute's table of what it admits, [values + 1, codes + 1], or [values + 1, 10] for places."""
        every = torch.arange(self.codes + 1)
        channels = torch.cat([self.decode(every[:-1]).long(), torch.full((1, len(self.sizes)), -1)])
        names = [channel.name for channel in self.spec.grid.channels]
        self.tables: list[str] = []
        for attribute in self.spec.attributes:
            rows: list[Tensor]
            if attribute.channel is None:
                rows = [torch.ones(ELSEWHERE + 1, dtype=torch.bool), *(place_mask(value) for value in attribute.values)]
            else:
                which = names.index(attribute.channel)
                categories = self.spec.grid.channels[which].categories
                rows = [self.solid.clone()]
                for value in attribute.values:
                    same = channels[:, which] == (-2 if value == attribute.any_value else categories.index(value))
                    rows.append(self.solid & (same | torch.tensor(value == attribute.any_value)))
            self._constant(f"admits_{attribute.name}", torch.stack(rows))
            self.tables.append(f"admits_{attribute.name}")

    def matches(self, step: Tensor, codes: Tensor, places: Tensor | None) -> Tensor:
        """Tell which cells the arguments of a step [B, G] speak of: [B, arguments, cells] from codes [B, cells]."""
        arguments, per = self.spec.max_arguments, len(self.spec.attributes)
        slots = step[:, 1:].clamp(min=0).view(-1, arguments, per)
        things = slots.any(2, keepdim=True).expand(-1, -1, self.codes + 1)  # [B, arguments, V + 1]
        where = torch.ones_like(things[:, :, : ELSEWHERE + 1])  # [B, arguments, 10]
        for column, (attribute, name) in enumerate(zip(self.spec.attributes, self.tables, strict=True)):
            admitted = getattr(self, name)[slots[:, :, column]]
            if attribute.channel is None:
                where = where & admitted
            else:
                things = things & admitted
        found = things.gather(2, codes.long()[:, None].expand(-1, arguments, -1))
        return found if places is None else found & where.gather(2, places.long()[:, None].expand(-1, arguments, -1))


def place_mask(words: str) -> Tensor:
    """Return which of the 10 places the words mean."""
    index = torch.arange(ELSEWHERE + 1)
    ahead, right = index // 3 - 1, index % 3 - 1
    meanings = {
        "in front of you": ahead > 0,
        "behind you": ahead < 0,
        "on your left": right < 0,
        "on your right": right > 0,
    }
    return meanings[words] & (index != ELSEWHERE)
