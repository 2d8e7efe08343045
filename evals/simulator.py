"""The ceiling of a search in a learned model: the same search in the real environment, as far as it looks ahead.

For environments of Gymnasium's classic control: what they show is all that there is to know of their state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gedanken.worldmodel.protocol import Belief, Dynamics, Readout
from gedanken.worldmodel.search import Search, SearchConfig
from gedanken.worldmodel.tasks import tasks_of
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.spec import Plan

STATES: dict[str, Callable[[Sequence[float]], Sequence[float]]] = {
    "CartPole-v1": lambda seen: seen,
    "Pendulum-v1": lambda seen: (math.atan2(seen[1], seen[0]), seen[2]),
    "Acrobot-v1": lambda seen: (math.atan2(seen[1], seen[0]), math.atan2(seen[3], seen[2]), *seen[4:]),
    "MountainCarContinuous-v0": lambda seen: seen,
}
"""The environment's state from what it shows, by world."""


@dataclass(frozen=True)
class Simulated(Belief):
    """What the environment would show."""

    values: Tensor  # [B, variables] float32
    reward: Tensor  # [B] of the last action
    continues: Tensor  # [B] 1, or 0 from its end on


class Simulator:
    """A real environment as a model, with what `Search` asks of one. Raises KeyError for a world not in `STATES`."""

    def __init__(self, world: GymWorld) -> None:
        self.spec, self._state = world.spec, STATES[world.id]
        self._env: Any = world.make().inner.unwrapped
        self._env.reset(seed=0)

    def seen(self, values: NDArray[np.float32]) -> Simulated:
        """Return the belief of who sees `values` [variables]."""
        return Simulated(torch.from_numpy(values)[None], torch.zeros(1), torch.ones(1))

    def suppose(self, belief: Simulated, steps: Tensor) -> Simulated:
        """See `Dynamics`; nothing is unknown."""
        return belief

    def imagine(self, belief: Simulated, action: Tensor) -> Simulated:
        """Take an action in each row [B] that has not ended."""
        values, ends, env = belief.values.numpy().copy(), belief.continues.numpy().copy(), self._env
        rewards = np.zeros_like(ends)
        states, actions = belief.values.tolist(), action.numpy() if self.spec.controls else action.tolist()
        for row in np.flatnonzero(ends):
            env.state = np.array(self._state(states[row]))
            env.steps_beyond_terminated = None  # CartPole's; the others know of no such thing
            values[row], rewards[row], terminated, _, _ = env.step(actions[row])
            ends[row] = not terminated
        return Simulated(*map(torch.from_numpy, (values, rewards, ends)))

    def readout(self, belief: Simulated) -> Readout:
        """See `Dynamics`."""
        return Readout(belief.values, belief.reward, belief.continues)


class SimulatorSearch:
    """What our own search finds for a plan's first step in the real environment, called with what is seen."""

    def __init__(self, world: GymWorld, plan: Plan, config: SearchConfig, seed: int) -> None:
        self._simulator, self._task = Simulator(world), tasks_of(world.spec, plan)[0]
        self._search = Search(cast(Dynamics, self._simulator), config.model_copy(update={"futures": 1}))
        self._generator = torch.Generator().manual_seed(seed)
        self._memory: Tensor | None = None

    def __call__(self, seen: NDArray[np.float32]) -> Any:
        """Return the next action."""
        belief = cast(Belief, self._simulator.seen(seen))
        found = self._search(belief, [self._task], self._memory, self._generator)
        self._memory = found.memory
        return found.action[0].numpy() if self._simulator.spec.controls else int(found.action[0])
