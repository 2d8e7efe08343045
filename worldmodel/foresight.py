"""Who comes back to where it was looks ahead: futures are imagined, and the first that gets there is followed.

A policy that goes round in a circle does not know what else to do. The world model may: among many futures, each of
which does less and less what it did before, one may get there (rollouts of a policy, as in Tesauro and Galperin,
"On-line Policy Improvement using Monte-Carlo Search", NeurIPS 1996). Knows no plan beyond the present step.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.protocol import Belief
from gedanken.worldmodel.tried import Tried, states_of

SAMPLES, HORIZON = 16, 48
"""Futures that are imagined at a time, and the most actions of each."""

PAUSE = 16
"""Actions between one look ahead and the next; twice as many after each that found nothing."""


class Foresight:
    """Chooses the actions of one step in reality: the controller's, but what was done before in the same state less.

    Where such a state comes again, futures are imagined; what the first that achieves the step does in a state is done
    there.
    """

    def __init__(self, controller: Controller, codes: Sequence[int]) -> None:
        self.controller, self.codes = controller, codes
        self.tried = Tried(len(controller.model.spec.actions))
        self.looks = 0
        self._way: dict[Hashable, int] = {}
        self._rest, self._pause = 0, PAUSE

    def decide(
        self,
        belief: Belief,
        state: Hashable,
        chances: NDArray[np.float64],
        rng: np.random.Generator,
        *,
        greedy: bool = False,
    ) -> int:
        """Return the next action from a belief of one row, its state's name and what the controller says of it [A]."""
        chances = self.tried.chances(state, chances)
        self._rest -= 1
        if self.tried.before(state) and state not in self._way and self._rest < 0:
            self._way = foresee(self.controller, belief, self.codes, int(rng.integers(2**31)))
            self.looks += 1
            self._pause = PAUSE if self._way else 2 * self._pause
            self._rest = self._pause
        action = self._way.pop(state, None)
        if action is None:
            action = int(chances.argmax() if greedy else rng.choice(len(chances), p=chances))
        self.tried.note(state, action)
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
) -> dict[Hashable, int]:
    """Imagine futures of a step from a belief of one row until one achieves it; return what that does in each state.

    Where it is in a state again, what it does last counts: its detours are left out. Empty where no future gets there.
    """
    model, device = controller.model, next(controller.parameters()).device
    steps = torch.tensor([codes], device=device).expand(samples, -1)
    rng, tried = np.random.default_rng(seed), [Tried(len(model.spec.actions)) for _ in range(samples)]
    track: list[tuple[Sequence[Hashable], list[int]]] = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        future = model.suppose(belief.repeat(samples), steps[:, None])
        for _ in range(horizon):
            states = states_of(model, future, samples)
            said = controller.act(future, steps).exp().double().cpu().numpy()
            actions = []
            for memory, state, chances in zip(tried, states, said, strict=True):
                actions.append(int(rng.choice(len(chances), p=memory.chances(state, chances))))
                memory.note(state, actions[-1])
            track.append((states, actions))
            future = model.imagine(future, torch.tensor(actions, device=device))
            achieved = controller.achieved(future, steps)
            if achieved.max() > 0.5:
                row = int(achieved.argmax())
                return {states[row]: actions[row] for states, actions in track}
    return {}


__all__ = ["HORIZON", "PAUSE", "SAMPLES", "Foresight", "foresee"]
