"""What an agent did before where nothing was otherwise: it does that less and less. Knows no world and no plan.

A controller acts on what it knows, and where that leads back to what it knew before, it would go round for ever.
Actions that were seldom taken are tried instead, as by a bonus for counts (Strehl and Littman, 2008). So it is in
reality and in imagination.
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from gedanken.worldmodel.protocol import Belief

AGAIN = 1.0
"""Nats by which an action is the less likely for every time that it was taken in the same state."""

_strange = itertools.count()


@runtime_checkable
class Recognising(Protocol):
    """A world model that can tell whether it knew the same before."""

    def states(self, belief: Any) -> Tensor:
        """Return a number [B] for what is known in each row, the same where nothing is otherwise."""
        ...


def states_of(model: object, belief: Belief, rows: int) -> Tensor:
    """Return a number [B] for what is known in each of so many rows; none comes twice where a family can't tell."""
    if isinstance(model, Recognising):
        return model.states(belief)
    return torch.tensor(list(itertools.islice(_strange, rows)))


class Tried:
    """The actions that each row of a batch took in each state, while one step is pursued.

    Those that changed nothing are not counted: who stands still before a locked door is to notice that, and not to
    wander off.
    """

    def __init__(self, rows: int, actions: int, device: torch.device | str = "cpu") -> None:
        self._uncounted = actions  # stands for an action that does not count
        self._states = torch.empty(rows, 0, dtype=torch.long, device=device)  # [B, T]
        self._taken = self._states.clone()  # [B, T]
        self._last: tuple[Tensor, Tensor] | None = None

    def __getitem__(self, rows: Tensor) -> Tried:
        """Select rows, by a mask or by their numbers."""
        some = Tried(0, self._uncounted, self._states.device)
        some._states, some._taken = self._states[rows], self._taken[rows]
        if self._last is not None:
            some._last = self._last[0][rows], self._last[1][rows]
        return some

    def chances(self, states: Tensor, chances: Tensor) -> Tensor:
        """Return the probabilities [B, A] of actions in the present states [B], of which the policy says `chances`."""
        if self._last is not None:
            before, action = self._last
            counted = torch.where(before == states, self._uncounted, action)
            self._states = torch.cat([self._states, before[:, None]], 1)
            self._taken = torch.cat([self._taken, counted[:, None]], 1)
        self._last = None
        times = chances.new_zeros(len(chances), self._uncounted + 1)
        times.scatter_add_(1, self._taken, (self._states == states[:, None]).to(chances.dtype))
        weighed = chances * torch.exp(-AGAIN * times[:, :-1])
        return weighed / weighed.sum(1, keepdim=True)

    def before(self, states: Tensor) -> Tensor:
        """Tell in which rows [B] an action was taken in the present state that led to another one."""
        return ((self._states == states[:, None]) & (self._taken != self._uncounted)).any(1)

    def note(self, states: Tensor, actions: Tensor) -> None:
        """Remember that actions [B] were taken; each counts if another state follows."""
        self._last = states, actions

    def forget(self, rows: Tensor) -> None:
        """Begin anew in some rows, given as a mask [B]: another step is pursued."""
        self._taken[rows] = self._uncounted
        if self._last is not None:
            self._last = self._last[0], torch.where(rows, self._uncounted, self._last[1])


__all__ = ["AGAIN", "Recognising", "Tried", "states_of"]
