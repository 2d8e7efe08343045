"""The same state, another action: what each action is imagined to do, and what it really does in a copy of the world.

Telling cells are those in which the real views after the actions of one state differ, as far as they can be seen: a
model that ignores the action cannot have them right for every action.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gedanken.worldmodel.protocol import Belief, WorldModel

ANSWERS = ("n", "right", "frozen", "told_apart", "cells", "cells_right", "n_seen", "right_seen")
"""What is counted for an action: times it could be told from others; all telling cells right, imagined and if the
world froze; nearer to what it really does than to what any other does; telling cells, and those right; and, with
telling cells only that had been in sight before, times it could be told, and all right."""


@torch.no_grad()
def compare_actions(
    model: WorldModel, belief: Belief, steps: Tensor, now: Tensor, real: Tensor, seen: Tensor, futures: int
) -> list[list[dict[str, float]]]:
    """Imagine every action from each belief [n], in `futures` supposed worlds; return `ANSWERS` by row and action.

    `steps` [n, K, G] are what the worlds are supposed for, `now` [n, height, width, C] the views from which `real`
    [n, A, height, width, C] follow, of which `seen` [n, A, height, width] had been in sight. Every action of a future
    begins in the same supposed world.
    """
    n, actions = real.shape[:2]
    state = model.suppose(belief.repeat(futures), steps.repeat_interleave(futures, 0)).repeat(actions)
    every = torch.arange(actions, device=real.device).repeat(n * futures)
    views = model.readout(model.imagine(state, every)).observation.view(n, futures, *real.shape[1:])
    differs = (real != real[:, :1]).any(-1).any(1)  # [n, height, width]
    telling = differs[:, None] & (real[..., 0] != model.spec.grid.hidden)  # [n, A, height, width]
    same = (views == real[:, None]).all(-1)  # [n, F, A, height, width]

    def right(cells: Tensor) -> Tensor:
        return (same | ~cells[:, None]).flatten(3).all(3).float().mean(1)

    told, told_seen = (cells.flatten(2).any(2).float() for cells in (telling, telling & seen))
    counts = {
        "n": told,
        "right": right(telling) * told,
        "frozen": ((now[:, None] == real).all(-1) | ~telling).flatten(2).all(2) * told,
        "told_apart": _told_apart(views, real, differs) * told,
        "cells": telling.flatten(2).sum(2),
        "cells_right": (same & telling[:, None]).flatten(3).sum(3).float().mean(1),
        "n_seen": told_seen,
        "right_seen": right(telling & seen) * told_seen,
    }
    columns = {name: values.float().tolist() for name, values in counts.items()}
    return [[{name: columns[name][row][a] for name in ANSWERS} for a in range(actions)] for row in range(n)]


def _told_apart(views: Tensor, real: Tensor, differs: Tensor) -> Tensor:
    """Return in what share of the futures [n, A] an imagined view is nearest to what its own action really does."""
    unlike = (views[:, :, :, None] != real[:, None, None]).any(-1)  # [n, F, A, A, height, width]
    far = (unlike & differs[:, None, None, None]).flatten(4).sum(4)  # [n, F, A imagined, A real]
    another = (real[:, :, None] != real[:, None]).flatten(3).any(3)[:, None]  # [n, 1, A, A] leads elsewhere
    own = far.diagonal(dim1=2, dim2=3)
    nearest_other = far.masked_fill(~another, differs.shape[1] * differs.shape[2] + 1).amin(3)
    return (own < nearest_other).float().mean(1)
