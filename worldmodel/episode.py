"""One episode as it really happened: arrays and what was said about them. Knows no storage and no model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gedanken.worlds.pictures import Picture

EXPERT, AGENT = "expert", "agent"

Action = int | NDArray[Any]
"""A discrete action's number, or controls ``[A]`` in their units, float32."""

STANDSTILL = 8
"""Actions in a row that change nothing, after which a step has failed: in practice, rehearsal and reality."""


@dataclass(frozen=True)
class Episode:
    """What happened from one reset on, with the steps that were pursued.

    Shapes: T transitions, T + 1 observations, K steps. `step_index[t]` is the step pursued at t (-1: none) and
    `origin[k]` the frame whose places ("behind you") step k speaks of. `expert[t]` is the demonstrator's advice at t
    (-1: not asked); `achieved[t]` says that transition t achieved the step pursued. Of a world that shows
    F frames of a picture together, `frames[t : t + F]` are those that observation t shows.
    """

    world: str
    spec_hash: str
    seed: int
    source: str
    goal: str
    observations: NDArray[np.uint8] | NDArray[np.float32]  # [T + 1, height, width, channels] or [T + 1, variables]
    actions: NDArray[np.integer[Any]] | NDArray[np.float32]  # [T], or [T, A] controls
    rewards: NDArray[np.float32]  # [T]
    terminated: bool
    steps: tuple[str, ...]  # [K], as plan text
    step_index: NDArray[np.int16]  # [T]
    origin: NDArray[np.int16]  # [K]
    expert: NDArray[np.int8]  # [T]
    achieved: NDArray[np.bool_]  # [T]
    record: dict[str, Any] = field(default_factory=dict)  # plan, verdict, outcome: JSON
    frames: NDArray[np.uint8] | None = None  # [T + F, size, size, 3]

    def __post_init__(self) -> None:
        """Raise ValueError when lengths contradict each other."""
        length, steps = len(self.actions), len(self.steps)
        lengths = {
            "observations": (len(self.observations), length + 1),
            "rewards": (len(self.rewards), length),
            "step_index": (len(self.step_index), length),
            "expert": (len(self.expert), length),
            "achieved": (len(self.achieved), length),
            "origin": (len(self.origin), steps),
        }
        if self.frames is not None and not length < len(self.frames) <= length + 4:
            lengths["frames"] = (len(self.frames), length + 1)
        wrong = [f"{name} has {got}, needs {want}" for name, (got, want) in lengths.items() if got != want]
        if wrong:
            raise ValueError(f"episode of {length} transitions and {steps} steps: {'; '.join(wrong)}")

    def __len__(self) -> int:
        return len(self.actions)


class Seen:
    """What was seen, moment after moment; of a picture every frame once, small as it is."""

    def __init__(self, picture: Picture | None) -> None:
        self.picture = picture
        self.shown: list[NDArray[Any]] = []  # without pixels
        self._frames: list[NDArray[np.uint8]] = []

    def note(self, observation: NDArray[Any]) -> None:
        """Keep one observation."""
        if self.picture:
            observation, frames = self.picture.split(observation)
            self._frames += list(frames[-1:] if self._frames else frames)
        self.shown.append(observation)

    def film(self, start: int = 0) -> NDArray[np.uint8] | None:
        """Return the frames from that moment on, see `Episode`; None without a picture."""
        return np.stack(self._frames[start:]) if self.picture else None
