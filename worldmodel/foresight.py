"""Who comes back to where it was looks ahead: futures are imagined, and the first that gets there is followed.

A policy that goes round in a circle does not know what else to do. The world model may: among many futures, each of
which does less and less what it did before, one may get there (rollouts of a policy, as in Tesauro and Galperin,
"On-line Policy Improvement using Monte-Carlo Search", NeurIPS 1996). Knows no plan beyond the present step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.protocol import Belief
from gedanken.worldmodel.tried import Tried, states_of

SAMPLES, HORIZON = 32, 48
"""Futures that are imagined at a time, and the most actions of each."""

FIRST, PAUSE = 48, 16
"""Actions of a step before the first look ahead, and between it and the second; twice as many before each later one."""


class Foresight:
    """Chooses the actions of one step in reality: the controller's, but what was done before in the same state less.

    Where such a state comes again, futures are imagined; what the first that achieves the step does in a state is done
    there.
    """

    def __init__(self, controller: Controller, codes: Sequence[int]) -> None:
        self.controller, self.codes = controller, codes
        self.tried = Tried(1, len(controller.model.spec.actions))
        self.looks = 0
        self._way: dict[int, int] = {}
        self._rest, self._pause = FIRST, PAUSE

    def decide(
        self, belief: Belief, state: Tensor, chances: Tensor, rng: np.random.Generator, *, greedy: bool = False
    ) -> int:
        """Return the next action from a belief of one row, its state [1] and what the controller says of it [1, A]."""
        state, here = state.cpu(), int(state)
        chances = self.tried.chances(state, chances.double().cpu())
        self._rest -= 1
        if self._rest < 0 and here not in self._way and self.tried.before(state):
            self._way = foresee(self.controller, belief, self.codes, int(rng.integers(2**31)))
            self.looks += 1
            self._rest, self._pause = self._pause, 2 * self._pause
        action = self._way.pop(here, None)
        if action is None:
            action = int(chances.argmax()) if greedy else int(rng.choice(chances.shape[1], p=chances[0].numpy()))
        self.tried.note(state, torch.tensor([action]))
        return action


@torch.no_grad()
def foresee(
    controller: Controller,
    belief: Belief,
    codes: Sequence[int],
    seed: int,
    *,
    samples: int = SAMPLES,
    horizon: int = HORIZON,
) -> dict[int, int]:
    """Imagine futures of a step from a belief of one row until one achieves it; return what that does in each state.

    Where it is in a state again, what it does last counts: its detours are left out. Empty where no future gets there.
    """
    model, device = controller.model, next(controller.parameters()).device
    steps = torch.tensor([codes], device=device).expand(samples, -1)
    tried, track = Tried(samples, len(model.spec.actions), device), list[tuple[Tensor, Tensor]]()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        future = model.suppose(belief.repeat(samples), steps[:, None])
        for _ in range(horizon):
            states = states_of(model, future, samples)
            chances = tried.chances(states, controller.act(future, steps).exp())
            actions = torch.multinomial(chances, 1).squeeze(1)
            tried.note(states, actions)
            track.append((states, actions))
            future = model.imagine(future, actions)
            achieved = controller.achieved(future, steps)
            if achieved.max() > 0.5:
                row = int(achieved.argmax())
                return {int(states[row]): int(actions[row]) for states, actions in track}
    return {}


__all__ = ["FIRST", "HORIZON", "PAUSE", "SAMPLES", "Foresight", "foresee"]
