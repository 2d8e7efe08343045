"""A world of numbers with known laws, for tests of models and searches: a cart on a line, with a switch and wind."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gedanken.worldmodel.episode import AGENT, Episode
from gedanken.worldmodel.protocol import Belief, Readout
from gedanken.worlds.fields import Axis, Variable, VectorField
from gedanken.worlds.objectives import OBJECTIVES
from gedanken.worlds.spec import WorldSpec

FIELD = VectorField(
    name="state",
    variables=(
        Variable(name="x", unit="m"),
        Variable(name="v", unit="m/s"),
        Variable(name="side", categories=2),  # 1 where x is positive
        Variable(name="wind", exogenous=True, low=-1, high=1),
    ),
    expressions=(("energy", "v ** 2 / 2"),),
)
DISCRETE = WorldSpec(
    name="cart",
    observation=FIELD,
    actions=("left", "rest", "right"),
    attributes=(),
    skills=OBJECTIVES,
    exogenous=("wind",),
)
CONTROLS = DISCRETE.model_copy(update={"name": "cart of controls", "actions": (Axis(name="push", low=-2, high=2),)})


@dataclass(frozen=True)
class State(Belief):
    """What a model that is always right believes."""

    values: Tensor
    reward: Tensor
    continues: Tensor


class Truth:
    """The cart's own laws as a model that is always right; it ends beyond `edge`."""

    def __init__(self, spec: WorldSpec, edge: float = 1e9) -> None:
        self.spec, self.edge, self.calls = spec, edge, 0

    def suppose(self, belief: State, steps: Tensor) -> State:
        return belief

    def imagine(self, belief: State, action: Tensor) -> State:
        self.calls += 1
        push = action[:, 0] if self.spec.controls else action.float() - 1
        x, v, _, wind = belief.values.unbind(1)
        v = 0.95 * v + 0.1 * (push + 0.5 * wind)
        x = x + 0.2 * v
        return State(torch.stack([x, v, (x > 0).float(), wind], 1), v, (x.abs() <= self.edge).float())

    def readout(self, belief: State) -> Readout:
        return Readout(belief.values, belief.reward, belief.continues)


def state(*rows: tuple[float, float]) -> State:
    values = torch.tensor([[x, v, float(x > 0), 0.0] for x, v in rows])
    return State(values, torch.zeros(len(rows)), torch.ones(len(rows)))


def after(state: Any, push: float) -> Any:
    """Return the state after an action; push -1, 0 or 1, or a control."""
    x, v, _, wind = state
    v = 0.95 * v + 0.1 * (push + 0.5 * wind)
    x = x + 0.2 * v
    return np.array([x, v, x > 0, wind], np.float32)


def episodes(spec: WorldSpec, count: int, length: int = 40, seed: int = 0) -> list[Episode]:
    """Random episodes; one ends when the cart is beyond 1.2 m; the reward is the speed."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        state = np.array([rng.uniform(-1, 1), rng.uniform(-0.5, 0.5), 0, rng.uniform(-1, 1)], np.float32)
        state[2] = state[0] > 0
        seen, actions, rewards, terminated = [state], [], [], False
        for _ in range(length):
            action = rng.uniform(-2, 2, 1) if spec.controls else rng.integers(3)
            state = after(state, float(action[0]) if spec.controls else float(action) - 1)
            seen, actions, rewards = [*seen, state], [*actions, action], [*rewards, float(state[1])]
            if terminated := bool(abs(state[0]) > 1.2):
                break
        n = len(actions)
        made.append(
            Episode(
                world=spec.name,
                spec_hash=spec.hash,
                seed=1 << 30,
                source=AGENT,
                goal="",
                observations=np.stack(seen),
                actions=np.array(actions, np.float32 if spec.controls else np.uint8),
                rewards=np.array(rewards, np.float32),
                terminated=terminated,
                steps=(),
                step_index=np.full(n, -1, np.int16),
                origin=np.zeros(0, np.int16),
                expert=np.full(n, -1, np.int8),
                achieved=np.zeros(n, np.bool_),
            )
        )
    return made
