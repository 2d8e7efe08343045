"""Imagined futures as answers show them: shares, spreads, endings in words, a few views. Knows no run."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from gedanken.agent.events import View
from gedanken.agent.mind import view_of
from gedanken.tools.answers import Ending, PlanFutures, Spread, StepReached
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worlds.fields import GridField
from gedanken.worlds.protocol import World

FRAMES = 8
"""Imagined views that an answer shows."""

ENDINGS = 5
"""Different endings that an answer names, the most frequent first."""


def plan_futures(rehearsal: Rehearsal, index: int, world: World) -> PlanFutures:
    """Return the distributions of one plan."""
    plan, success = rehearsal.plans[index], rehearsal.success[index]
    length = rehearsal.length[index].float()
    lengths = length[success]
    steps = []
    for step, reached in zip(plan.steps, rehearsal.reached[index].T, strict=False):
        after = reached[reached >= 0].float()
        mean = float(after.mean()) if len(after) else None
        steps.append(StepReached(step=str(step), share=len(after) / len(reached), actions=mean))
    spread = None
    if len(lengths):
        spread = Spread(mean=float(lengths.mean()), least=float(lengths.min()), most=float(lengths.max()))
    return PlanFutures(
        plan=str(plan),
        success=float(success.float().mean()),
        steps=steps,
        actions=spread,
        disagreement=float(rehearsal.disagreement[index].sum() / length.sum().clamp(min=1)),
        ends=endings(rehearsal.ends[index], world),
        views=frames(rehearsal, index),
    )


def endings(views: Tensor, world: World) -> list[Ending]:
    """Put the last views [S, height, width, C] into words, and count them."""
    field = world.spec.observation
    agent: tuple[int, ...] = ()
    if isinstance(field, GridField):
        views, agent = views.to(torch.uint8), field.agent
    said = Counter(world.describe(view, agent) for view in views.cpu().numpy())
    return [Ending(sees=sees, share=count / len(views)) for sees, count in said.most_common(ENDINGS)]


def frames(rehearsal: Rehearsal, index: int) -> list[View]:
    """Return a few views of a plan's first future, spread evenly over it."""
    if rehearsal.views is None:
        return []
    length = int(rehearsal.length[index, 0]) + 1
    shown = min(length, FRAMES)
    times = {round(i * (length - 1) / max(1, shown - 1)) for i in range(shown)}
    return [view_of(rehearsal.views[index, now]) for now in sorted(times)]
