"""An episode played again in its environment: what other actions would have done, and which cells had been in sight."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gedanken.evals.errors import EvalError
from gedanken.worldmodel.episode import Episode
from gedanken.worlds.protocol import Observation, World

STRIDE = 8
"""Frames from one state in which every action is tried to the next."""

NEVER = 1 << 30


@dataclass(frozen=True)
class Replay:
    """What only the environment can tell of an episode of T transitions.

    `first_seen` is the frame in which each cell of each view was first in sight, `NEVER` in worlds that do not say
    where the cells of a view are (`view_cells`). `views` and `seen` hold, for every `STRIDE`-th frame, the view after
    each action, and which of its cells had been in sight up to that frame.
    """

    first_seen: NDArray[np.int64]  # [T + 1, height, width]
    views: Mapping[int, NDArray[np.uint8]]  # [A, height, width, C]
    seen: Mapping[int, NDArray[np.bool_]]  # [A, height, width]


def replay(world: World, env: gymnasium.Env[Any, Any], episode: Episode) -> Replay:
    """Play an episode again; at every `STRIDE`-th frame take each action in a copy of the environment.

    Raises EvalError where the environment does not do again what it did.
    """
    raw, _ = env.reset(seed=episode.seed)
    sights = _Sights(world)
    first_seen = [sights.look(env, episode.observations[0], 0)]
    views, seen = {}, {}
    for frame, action in enumerate(episode.actions.tolist()):
        if frame % STRIDE == 0:
            copies = [copy.deepcopy(env) for _ in world.spec.action_names]
            views[frame] = np.stack([world.observation(other.step(a)[0]) for a, other in enumerate(copies)])
            seen[frame] = np.stack([sights.first(other) <= frame for other in copies])
        raw, *_ = env.step(action)
        if not np.array_equal(world.observation(raw), episode.observations[frame + 1]):
            raise EvalError(
                f"{world.id} with seed {episode.seed} does not play again as it did (frame {frame + 1}), so other"
                " actions can't be tried from the same state"
            )
        first_seen.append(sights.look(env, episode.observations[frame + 1], frame + 1))
    return Replay(np.stack(first_seen), views, seen)


class _Sights:
    """When each place of an environment was first in sight; the agent's own cell, which shows its hand, always was."""

    def __init__(self, world: World) -> None:
        self._field = world.spec.grid
        self._cells = getattr(world, "view_cells", None)
        self._first: dict[tuple[int, ...], int] = {}

    def look(self, env: gymnasium.Env[Any, Any], view: Observation, frame: int) -> NDArray[np.int64]:
        """Note what a view shows, and return when each of its cells was first in sight."""
        if self._cells is not None:
            visible = view[..., 0] != self._field.hidden
            visible[self._field.agent] = True
            for place in self._cells(env)[visible].tolist():
                self._first.setdefault(tuple(place), frame)
        return self.first(env)

    def first(self, env: gymnasium.Env[Any, Any]) -> NDArray[np.int64]:
        """Return when each cell of the view that an environment shows now was first in sight, [height, width]."""
        shape = (self._field.height, self._field.width)
        if self._cells is None:
            return np.full(shape, NEVER)
        places = self._cells(env).reshape(-1, 2).tolist()
        first = np.array([self._first.get(tuple(place), NEVER) for place in places]).reshape(shape)
        first[self._field.agent] = 0
        return first
