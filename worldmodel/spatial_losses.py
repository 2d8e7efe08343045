"""What the `spatial` family learns from filtered frames: a loss for each of its networks. It never sees a step.

Targets are what was seen, before, now and later in the same episode; no gradient goes through the beliefs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from gedanken.worldmodel.protocol import Batch
from gedanken.worldmodel.spatial_frames import Frames

if TYPE_CHECKING:
    from gedanken.worldmodel.spatial import SpatialModel


def losses(model: SpatialModel, frames: Frames, batch: Batch) -> dict[str, Tensor]:
    """Return the losses by name."""
    going = ~frames.first
    view = model.grid.encode(batch.observation.flatten(0, 1))
    visible = ~model.grid.hidden[view]
    return {
        "motion": _motion_loss(model, frames, going),
        "change": _change_loss(model, frames, view, visible, going),
        "sight": _sight_loss(model, frames, visible),
        "completion": _completion_loss(model, frames),
        **_passage_loss(model, frames, going),
        **_signal_losses(model, frames, batch, going),
    }


def _motion_loss(model: SpatialModel, frames: Frames, going: Tensor) -> Tensor:
    before = frames.before
    logits = model.motion(before.seen[going], before.hand[going], frames.belief.action[going])
    target = frames.motion[going].expand_as(logits)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1))


def _change_loss(model: SpatialModel, frames: Frames, view: Tensor, visible: Tensor, going: Tensor) -> Tensor:
    """Learn what cells near the agent become; frames in which it stayed where it was tell most of that."""
    grid, motions = model.grid, frames.motion.argmax(1)
    telling = going * torch.where(motions == 0, 4.0, 1.0)
    rows = torch.multinomial(telling, max(1, round(0.4 * int(going.sum()))))
    motion = motions[rows]
    hand, action = frames.before.hand[rows], frames.belief.action[rows]
    logits = model.change(frames.moved[rows], hand, action, motion)  # [E, n, near + 1, V + 1]
    shown = torch.full((len(rows), grid.cells), grid.unknown, dtype=view.dtype, device=view.device)
    shown.scatter_(1, grid.view.expand(len(rows), -1), torch.where(visible[rows], view[rows], grid.unknown))
    shown[:, grid.cells // 2] = grid.unknown
    target = torch.cat([shown[:, model.near], frames.belief.hand[rows, None]], 1)
    target = torch.where(target == grid.unknown, -100, target).long()
    losses = F.cross_entropy(
        logits.flatten(0, 2), target.expand(logits.shape[:-1]).flatten(), ignore_index=-100, reduction="sum"
    )
    return losses / (len(target) * model.config.members)


def _passage_loss(model: SpatialModel, frames: Frames, going: Tensor) -> dict[str, Tensor]:
    if model.passage is None:
        return {}
    before, belief, ahead = frames.before, frames.belief, model.grid.cells // 2 - model.grid.side
    loss = model.passage.loss(
        before.seen[going, ahead],
        before.hand[going],
        belief.action[going],
        frames.motion[going],
        belief.seen[going, ahead],
        belief.hand[going],
    )
    return {"passage": loss}


def _sight_loss(model: SpatialModel, frames: Frames, visible: Tensor) -> Tensor:
    rows = _some(torch.arange(len(visible), device=visible.device), 0.4)
    view = frames.hindsight[:, model.grid.view][rows]
    dropped = torch.rand(view.shape, device=view.device) < 0.1
    losses = F.binary_cross_entropy_with_logits(
        model.sight(torch.where(dropped, model.grid.unknown, view)), visible[rows].float(), reduction="none"
    )
    losses[:, model.grid.view_agent] = 0.0
    return losses.sum(1).mean()


def _completion_loss(model: SpatialModel, frames: Frames) -> Tensor:
    """Learn what unseen cells turn out to be, some of them revealed; a cell never seen counts little, as hidden.

    Frames are drawn by how much they have yet to see: there is little to learn from the ends of episodes.
    """
    seen, later = frames.belief.seen, frames.hindsight
    seen, later = seen[:, model.grid.window], later[:, model.grid.window]
    told = ((seen == model.grid.unknown) & (later != model.grid.unknown)).sum(1) + 0.5
    rows = torch.multinomial(told, max(1, round(0.3 * len(told))))
    seen, later = seen[rows], later[rows]
    reveal = torch.rand(len(rows), 1, device=seen.device).square()
    revealed = torch.where(torch.rand(seen.shape, device=seen.device) < reveal, later, seen)
    open_cells = revealed == model.grid.unknown
    target = torch.where(later == model.grid.unknown, 0, later).long()
    weight = open_cells * torch.where(later == model.grid.unknown, 0.1, 1.0)
    cells = _some(weight.flatten().nonzero().squeeze(1), 0.4)
    losses = F.cross_entropy(model.completion(revealed, cells), target.flatten()[cells], reduction="none")
    weight = weight.flatten()[cells]
    return (losses * weight).sum() / weight.sum().clamp(min=1.0)


def _signal_losses(model: SpatialModel, frames: Frames, batch: Batch, going: Tensor) -> dict[str, Tensor]:
    belief = frames.belief
    reward, continues = model.signals(
        belief.seen_before, belief.hand_before, belief.action, belief.seen[:, model.patch], belief.hand
    )
    return {
        "reward": F.binary_cross_entropy_with_logits(reward[going], batch.reward.flatten()[going].clamp(0, 1)),
        "continues": F.binary_cross_entropy_with_logits(continues[going], batch.continues.flatten()[going]),
    }


def _some(rows: Tensor, share: float) -> Tensor:
    """Pick a random share of row numbers, at least one where there is any."""
    return rows[torch.randperm(len(rows), device=rows.device)[: max(1, round(share * len(rows)))]]
