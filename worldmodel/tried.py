"""What an agent did before where nothing was otherwise: it does that less and less. Knows no world and no plan.

A controller acts on what it knows, and where that leads back to what it knew before, it would go round for ever.
Actions that were seldom taken are tried instead, as by a bonus for counts (Strehl and Littman, 2008).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gedanken.worldmodel.protocol import Belief

AGAIN = 1.0
"""Nats by which an action is the less likely for every time that it was taken in the same state."""


@runtime_checkable
class Recognising(Protocol):
    """A world model that can tell whether it knew the same before."""

    def states(self, belief: Any) -> list[Hashable]:
        """Return a name for what is known in each row, the same where nothing is otherwise."""
        ...


def states_of(model: object, belief: Belief, rows: int) -> Sequence[Hashable]:
    """Return a name for what is known in each of so many rows; none is ever the same where a family can't tell."""
    return model.states(belief) if isinstance(model, Recognising) else [object() for _ in range(rows)]


class Tried:
    """The actions taken in each state, while one step is pursued; those that changed nothing are not counted.

    Who stands still before a locked door is to notice that, and not to wander off.
    """

    def __init__(self, actions: int) -> None:
        self._taken: defaultdict[Hashable, NDArray[np.float64]] = defaultdict(lambda: np.zeros(actions))
        self._last: tuple[Hashable, int] | None = None

    def chances(self, state: Hashable, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities [A] of actions in the present state, of which the policy says `chances` [A]."""
        if self._last is not None and self._last[0] != state:
            before, action = self._last
            self._taken[before][action] += 1
        self._last = None
        taken = self._taken.get(state)
        weighed = chances if taken is None else chances * np.exp(-AGAIN * taken)
        shares: NDArray[np.float64] = weighed / weighed.sum()
        return shares

    def before(self, state: Hashable) -> bool:
        """Tell whether an action was taken in a state that led to another one."""
        return state in self._taken

    def note(self, state: Hashable, action: int) -> None:
        """Remember that an action was taken; it counts if another state follows."""
        self._last = state, action


__all__ = ["AGAIN", "Tried", "states_of"]
