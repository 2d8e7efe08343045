"""Episodes packed end to end into batches: no padding, `is_first` marks the seams. Knows no model and no storage."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.protocol import Batch
from gedanken.worlds.fields import VectorField
from gedanken.worlds.spec import WorldSpec


class Replay:
    """Frames of many episodes in memory, sampled as rows of T frames that start where an episode starts.

    Raises ValueError for an episode recorded under another spec.
    """

    def __init__(self, spec: WorldSpec, episodes: Iterable[Episode]) -> None:
        self.spec = spec
        columns: dict[str, list[NDArray[np.generic]]] = {}
        starts, length = [], 0
        for episode in episodes:
            if episode.spec_hash != spec.hash:
                raise ValueError(f"episode of spec {episode.spec_hash} among those of {spec.name} {spec.hash}")
            starts.append(length)
            length += len(episode) + 1
            for name, column in frames_of(spec, episode).items():
                columns.setdefault(name, []).append(column)
        if not starts:
            raise ValueError("no episodes to train on; `gedanken collect` makes some")
        self.columns = {name: torch.from_numpy(np.concatenate(parts)) for name, parts in columns.items()}
        self.starts, self.frames = np.array(starts), length

    def __len__(self) -> int:
        return len(self.starts)

    def sample(self, rng: np.random.Generator, batch: int, time: int, *, anywhere: bool = False) -> Batch:
        """Draw `batch` rows of `time` frames, [B, T]; a row runs on through the episodes stored next to each other.

        It begins where an episode does, or with `anywhere` at any frame.
        """
        starts = np.arange(self.frames) if anywhere else self.starts
        starts = starts[starts <= max(self.frames - time, 0)]
        rows = torch.from_numpy(rng.choice(starts if len(starts) else self.starts[:1], batch))
        index = (rows[:, None] + torch.arange(time)) % self.frames
        return Batch(**{name: column[index] for name, column in self.columns.items()})


def frames_of(spec: WorldSpec, episode: Episode) -> dict[str, NDArray[np.generic]]:
    """Align one episode on its T + 1 observations, see `Batch`."""
    length = len(episode)
    nothing = np.full((1, len(spec.step_sizes)), -1, np.int16)
    if isinstance(spec.observation, VectorField):  # objectives have no codes, and no controller learns from them
        pursued = nothing.repeat(length, 0)
    else:
        codes = np.array(spec.plan_codes([spec.parse_step(s) for s in episode.steps]), np.int16)
        pursued = np.concatenate([codes.reshape(-1, len(spec.step_sizes)), nothing])[episode.step_index]  # [T, G]
    begins = np.zeros(length + 1, np.bool_)
    begins[episode.origin[episode.origin <= length]] = True
    step_begins = np.zeros(length + 1, np.bool_)
    step_begins[:-1] = np.diff(episode.step_index, prepend=-1) != 0
    continues = np.ones(length + 1, np.float32)
    continues[-1] = 1.0 - float(episode.terminated)

    controls = episode.actions.ndim == 2
    actions = episode.actions if controls else episode.actions.astype(np.int64)
    taken = np.full(length, -1, np.int64) if controls else actions  # only discrete actions are ever imitated

    def shifted(column: NDArray[np.generic], first: int) -> NDArray[np.generic]:
        return np.concatenate([np.full((1, *column.shape[1:]), first, column.dtype), column])

    def closed(column: NDArray[np.generic], last: int) -> NDArray[np.generic]:
        return np.concatenate([column, np.full((1, *column.shape[1:]), last, column.dtype)])

    return {
        "observation": episode.observations,
        "action": shifted(actions, 0),
        "is_first": np.arange(length + 1) == 0,
        "reward": shifted(episode.rewards, 0),
        "continues": continues,
        "goal_begins": begins,
        "step_begins": step_begins,
        "step_before": shifted(pursued, -1),
        "achieved": shifted(episode.achieved, 0),
        "step": closed(pursued, -1),
        "expert": closed(episode.expert.astype(np.int64), -1),
        "taken": closed(taken, -1),
        "to_go": closed(_to_go(episode), -1),
    }


def _to_go(episode: Episode) -> NDArray[np.int64]:
    """Count the transitions until the pursued step is achieved, [T], -1 where it never is."""
    result = np.full(len(episode), -1, np.int64)
    for k in range(len(episode.steps)):
        frames = np.flatnonzero(episode.step_index == k)
        hits = frames[episode.achieved[frames]]
        if len(hits):
            before = frames[frames <= hits[0]]
            result[before] = hits[0] - before + 1
    return result
