"""What a world model foretells beside what really happened: one action ahead, and many without looking. Knows no suite.

Open loop means: filter up to a frame, suppose the rest of the world, then imagine the episode's real actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gedanken.evals.other_actions import ANSWERS, compare_actions
from gedanken.evals.replay import NEVER, Replay
from gedanken.worldmodel.data import frames_of
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.protocol import Belief, WorldModel
from gedanken.worlds.spec import WorldSpec

HORIZONS = (1, 2, 4, 8, 16, 32, 64)
FUTURES = 4
"""Futures imagined from each beginning."""

COUNTS = (
    "beginnings",
    "changed",
    "changed_right",
    "visible",
    "visible_right",
    "frozen_right",
    "seen",
    "seen_right",
    "hand_right",
    "hand_changed",
    "hand_changed_right",
    "doors",
    "doors_right",
    "doors_frozen_right",
    "doors_switched",
    "doors_switched_right",
)
"""What is counted at each horizon, see `_counts`."""


STRIP = 16
"""Actions up to which an episode's first open loop is kept as it looked: one future's views, beside the real ones."""


def stride(horizon: int) -> int:
    """Return the frames from one beginning of an open loop of so many actions to the next."""
    return max(4, horizon // 4)


@torch.no_grad()
def observe_and_imagine(
    model: WorldModel, episodes: Sequence[Episode], replays: Sequence[Replay] = ()
) -> list[dict[str, Any]]:
    """Filter episodes side by side; return per episode what was surprising, foretold, and right open loop.

    Without `replays` nothing is said of other actions, nor of cells that had been in sight.
    """
    device = next(iter(vars(model.initial(1)).values())).device
    columns = [frames_of(model.spec, episode) for episode in episodes]
    lengths = torch.tensor([len(episode) for episode in episodes], device=device)
    frames = {name: _padded([column[name] for column in columns], device) for name in columns[0]}
    views = frames["observation"]
    frames["first_seen"] = torch.full(views.shape[:-1], NEVER, device=device)
    if replays:
        frames["first_seen"] = _padded([each.first_seen for each in replays], device)
    totals = [_empty(model.spec) for _ in episodes]
    belief = model.initial(len(episodes))
    first = torch.ones(len(episodes), dtype=torch.bool, device=device)
    for now in range(int(lengths.max()) + 1):
        action, seen = frames["action"][:, now], views[:, now]
        if now:
            nats, told = model.surprise(belief, action, seen), model.readout(model.imagine(belief, action))
            for row in (lengths >= now).nonzero().flatten().tolist():
                totals[row]["frames"] += 1
                totals[row]["nats"] += float(nats[row])
                rewarded, ended = bool(frames["reward"][row, now] > 0), bool(frames["continues"][row, now] < 0.5)
                totals[row]["reward"].append([round(float(told.reward[row]), 4), rewarded])
                totals[row]["ending"].append([round(1 - float(told.continues[row]), 4), ended])
        belief = model.observe(belief, action, seen, first & (now == 0))
        belief = model.begin_goal(belief, frames["goal_begins"][:, now])
        belief = model.begin_step(belief, frames["step_begins"][:, now])
        if now % stride(HORIZONS[0]) == 0:
            _open_loop(model, belief, frames, lengths, now, totals)
        _other_actions(model, belief, frames, now, replays, totals)
    return totals


def _open_loop(
    model: WorldModel,
    belief: Belief,
    frames: Mapping[str, Tensor],
    lengths: Tensor,
    begin: int,
    totals: Sequence[dict[str, Any]],
) -> None:
    """Imagine what the episodes did from frame `begin` on, and count what came out right."""
    rows = (lengths > begin).nonzero().flatten()
    steps = frames["step"][rows, begin].long()[:, None].repeat_interleave(FUTURES, 0)  # [n·F, 1, G]
    state = model.suppose(belief[rows].repeat(FUTURES), steps)
    doubt = torch.zeros(len(rows) * FUTURES, device=rows.device)  # nats since the beginning
    for ahead in range(1, max(h for h in HORIZONS if begin % stride(h) == 0) + 1):
        left = lengths[rows] >= begin + ahead
        if not left.any():
            return
        rows, state, doubt = rows[left], state[there := left.repeat_interleave(FUTURES)], doubt[there]
        action = frames["action"][rows, begin + ahead].repeat_interleave(FUTURES, 0)
        doubt = doubt + model.disagreement(state, action)
        state = model.imagine(state, action)
        if ahead not in HORIZONS:
            continue
        last, before, real = (frames["observation"][rows, begin + t] for t in (0, ahead - 1, ahead))
        views = model.readout(state).observation.view(len(rows), FUTURES, *real.shape[1:])  # [n, F, h, w, C]
        right = (views == real[:, None]).all(-1)  # [n, F, height, width]
        seen = _visible(model.spec, real) & (frames["first_seen"][rows, begin + ahead] <= begin)
        counts = _counts(model.spec, right.float().mean(1), last, before, real, seen).tolist()
        rollouts = [doubt.view(len(rows), FUTURES)]  # [n, F] each, and whether the view is wrong, in sight and as seen
        if begin == 0 and ahead <= STRIP:
            for row, *looks in zip(rows.tolist(), views[:, 0].long().tolist(), real.long().tolist(), strict=True):
                totals[row]["strip"][str(ahead)] = looks
        rollouts += [(~right & c[:, None]).flatten(2).any(2) for c in (_visible(model.spec, real), seen)]
        together = torch.stack([part.double() for part in rollouts], 2).tolist()
        for row, values, futures in zip(rows.tolist(), counts, together, strict=True):
            kept = totals[row]["horizons"][str(ahead)]
            for name, value in zip(COUNTS, values, strict=True):
                kept[name] += value
            totals[row]["rollouts"][str(ahead)] += [[round(d, 4), bool(w), bool(s)] for d, w, s in futures]


def _counts(spec: WorldSpec, right: Tensor, last: Tensor, before: Tensor, real: Tensor, seen: Tensor) -> Tensor:
    """Count, for each row, what `COUNTS` names, [n, counts].

    `right` [n, height, width] is the share of the futures in which a cell of the `real` view came out as it is; `last`
    is the view at the beginning and `before` the one before `real`; `seen` cells had been in sight up to the beginning.
    The hand is what the agent's own cell shows. A door was switched when it was at the same place just before, in
    another state.
    """
    visible, changed = _visible(spec, real), (real != last).any(-1)
    hand, hand_changed = (cells[:, spec.grid.agent[0], spec.grid.agent[1], None] for cells in (right, changed))
    doors, switched = _doors(spec, before, real)
    counted = {
        "beginnings": torch.ones_like(hand),
        "changed": visible & changed,
        "changed_right": right * (visible & changed),
        "visible": visible,
        "visible_right": right * visible,
        "frozen_right": visible & ~changed,
        "seen": seen,
        "seen_right": right * seen,
        "hand_right": hand,
        "hand_changed": hand_changed,
        "hand_changed_right": hand * hand_changed,
        "doors": doors,
        "doors_right": right * doors,
        "doors_frozen_right": doors & ~changed,
        "doors_switched": switched,
        "doors_switched_right": right * switched,
    }
    return torch.stack([counted[name].flatten(1).float().sum(1) for name in COUNTS], 1)


def _visible(spec: WorldSpec, view: Tensor) -> Tensor:
    return view[..., 0] != spec.grid.hidden


def _doors(spec: WorldSpec, before: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Tell which cells are doors, and which of them were just switched; none where the world knows no doors."""
    kinds, names = spec.grid.channels[0].categories, [channel.name for channel in spec.grid.channels]
    if "door" not in kinds or "state" not in names:
        none = torch.zeros_like(real[..., 0], dtype=torch.bool)
        return none, none
    doors, differs = real[..., 0] == kinds.index("door"), before != real
    state = names.index("state")
    return doors, doors & differs[..., state] & (differs.sum(-1) == 1)


def _other_actions(
    model: WorldModel,
    belief: Belief,
    frames: Mapping[str, Tensor],
    now: int,
    replays: Sequence[Replay],
    totals: Sequence[dict[str, Any]],
) -> None:
    """Compare what every action is imagined to lead to with what it really would have led to."""
    asked = [row for row, each in enumerate(replays) if now in each.views]
    if not asked:
        return
    rows = torch.tensor(asked, device=frames["step"].device)
    real, seen = (
        torch.from_numpy(np.stack(parts)).to(rows.device)
        for parts in ([replays[row].views[now] for row in asked], [replays[row].seen[now] for row in asked])
    )
    steps = frames["step"][rows, now].long()[:, None]
    found = compare_actions(model, belief[rows], steps, frames["observation"][rows, now], real, seen, FUTURES)
    for row, actions in zip(asked, found, strict=True):
        for action, counts in zip(model.spec.action_names, actions, strict=True):
            for name, value in counts.items():
                totals[row]["actions"][action][name] += value


def _empty(spec: WorldSpec) -> dict[str, Any]:
    return {
        "frames": 0,
        "nats": 0.0,
        "reward": [],
        "ending": [],
        "horizons": {str(horizon): dict.fromkeys(COUNTS, 0.0) for horizon in HORIZONS},
        "rollouts": {str(horizon): [] for horizon in HORIZONS},
        "strip": {},
        "actions": {name: dict.fromkeys(ANSWERS, 0.0) for name in spec.action_names},
    }


def _padded(parts: Sequence[np.ndarray[Any, Any]], device: torch.device) -> Tensor:
    """Put columns of different lengths into one tensor [B, T, …], zeros behind the ends."""
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(part) for part in parts], batch_first=True).to(device)
