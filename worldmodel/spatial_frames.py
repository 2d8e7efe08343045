"""The `spatial` family's frames: whole batches filtered, and looked back at. Nothing here learns, or sees a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gedanken.worldmodel.precision import exact
from gedanken.worldmodel.protocol import Batch
from gedanken.worldmodel.spatial_grid import INVERSE

if TYPE_CHECKING:
    from gedanken.worldmodel.spatial import SpatialBelief, SpatialModel


@dataclass(frozen=True)
class Frames:
    """Everything that filtering B·T frames yields for the losses, no gradients attached."""

    belief: SpatialBelief
    moved: Tensor  # [B·T, P·P] the map after the motion, before the new view is written
    hindsight: Tensor  # [B·T, P·P] the map with what later frames showed
    motion: Tensor  # [B·T, M] posterior over motions
    before: SpatialBelief
    first: Tensor  # [B·T]


@torch.no_grad()
def frames_of(model: SpatialModel, batch: Batch) -> Frames:
    """Filter all frames of a batch, and write into each what later ones showed; in full precision, as when acting."""
    with exact(batch.action.device.type):
        return _filtered(model, batch)


def _filtered(model: SpatialModel, batch: Batch) -> Frames:
    grid, length = model.grid, batch.action.shape[1]
    belief = model.initial(len(batch.action))
    befores, beliefs, moved, motions = [], [], [], []
    view = grid.encode(batch.observation)
    if model.training:
        model.note_usual(view)
    for t in range(length):
        first = batch.is_first[:, t] if t else torch.ones_like(batch.is_first[:, 0])
        befores.append(belief)
        belief, there, posterior = model.filter(belief, batch.action[:, t], view[:, t], first)
        beliefs.append(belief)
        belief = model.begin_goal(belief, batch.goal_begins[:, t])
        belief = model.begin_step(belief, batch.step_begins[:, t])
        moved.append(there)
        motions.append(posterior)
    first = batch.is_first.clone()
    first[:, 0] = True
    hindsight = [beliefs[-1].seen]
    backwards = torch.tensor(INVERSE, device=view.device)[torch.stack(motions).argmax(2)]  # [T, B]
    for t in range(length - 1, 0, -1):
        back = grid.move(hindsight[-1], backwards[t])
        seen = beliefs[t - 1].seen
        later = torch.where(first[:, t, None], grid.unknown, back)
        hindsight.append(torch.where(seen == grid.unknown, later, seen))

    def flat(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts, 1).flatten(0, 1)

    def together(parts: list[SpatialBelief]) -> SpatialBelief:
        return type(parts[0])(**{name: flat([getattr(p, name) for p in parts]) for name in vars(parts[0])})

    return Frames(
        together(beliefs), flat(moved), flat(hindsight[::-1]), flat(motions), together(befores), first.flatten()
    )
