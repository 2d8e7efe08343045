"""The contracts of world models: beliefs, readouts, batches, and what a family must do. Knows only worlds' specs.

Shapes: B batch, T time, C channels, G slots of a step's codes (`WorldSpec.step_sizes`), A actions, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from gedanken.worlds.spec import WorldSpec


@dataclass(frozen=True)
class Belief:
    """A batch of latent states; every field is a tensor whose first dimension is the batch."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply a function to every tensor."""
        return replace(self, **{f.name: function(getattr(self, f.name)) for f in fields(self)})

    def __getitem__(self, rows: Tensor | slice) -> Self:
        """Select rows."""
        return self.map(lambda tensor: tensor[rows])

    def repeat(self, times: int) -> Self:
        """Repeat every row `times` times, copies side by side."""
        return self.map(lambda tensor: tensor.repeat_interleave(times, 0))

    def where(self, rows: Tensor, other: Self) -> Self:
        """Take the rows ``[B]`` that are true from `self`, the others from `other`."""

        def choose(name: str) -> Tensor:
            mine, theirs = getattr(self, name), getattr(other, name)
            return torch.where(rows.view(-1, *(1,) * (mine.dim() - 1)), mine, theirs)

        return replace(self, **{f.name: choose(f.name) for f in fields(self)})


@dataclass(frozen=True)
class Readout:
    """What a belief says in the world's own terms."""

    observation: Tensor  # [B, height, width, C] decoded categories of the view, or [B, variables] float32
    reward: Tensor  # [B] expected reward of the last transition, whatever the goal was
    continues: Tensor  # [B] probability that the episode goes on


@dataclass(frozen=True)
class Batch:
    """Packed episodes, aligned on observations: frame t holds what led into observation t and what was done from it.

    `is_first` marks episode starts inside a row; `goal_begins` the frames whose places later steps speak of.
    `to_go` counts the transitions until the step is achieved, -1 where it never was.
    """

    observation: Tensor  # [B, T, height, width, C] uint8, or [B, T, variables] float32
    action: Tensor  # [B, T] the action that led here, or [B, T, A] controls; 0 on first frames
    is_first: Tensor  # [B, T] bool
    reward: Tensor  # [B, T] received on arriving
    continues: Tensor  # [B, T] float, 0 where the episode had ended
    goal_begins: Tensor  # [B, T] bool
    step_begins: Tensor  # [B, T] bool: the step pursued from here on begins here
    step_before: Tensor  # [B, T, G] the step pursued on the way here, -1 where none
    achieved: Tensor  # [B, T] bool: arriving here achieved `step_before`
    step: Tensor  # [B, T, G] the step pursued from here, -1 where none
    expert: Tensor  # [B, T] the demonstrator's advice here, -1 where not asked
    taken: Tensor  # [B, T] the action really taken here, -1 on last frames
    to_go: Tensor  # [B, T]


class Dynamics(Protocol):
    """A learned latent model of a world's dynamics, all that filtering and a search need. No goal ever enters it.

    Observations are [B, height, width, C] or [B, variables], actions [B] or controls [B, A].
    """

    spec: WorldSpec

    def initial(self, batch: int) -> Belief:
        """Return the belief before anything has been seen."""
        ...

    def observe(self, belief: Belief, action: Tensor, observation: Tensor, is_first: Tensor) -> Belief:
        """Filter: the posterior after an action and an observation; rows with `is_first` [B] start anew."""
        ...

    def begin_goal(self, belief: Belief, rows: Tensor) -> Belief:
        """Note, in the rows [B] that are true, that places in steps speak of the present pose, where there are any."""
        ...

    def begin_step(self, belief: Belief, rows: Tensor) -> Belief:
        """Note, in the rows [B] that are true, that a step begins: what is held then is remembered, where one holds."""
        ...

    def suppose(self, belief: Belief, steps: Tensor) -> Belief:
        """Settle what is not known, one whole world per row, given that what the steps [B, K, G] name can exist."""
        ...

    def imagine(self, belief: Belief, action: Tensor) -> Belief:
        """Sample the next belief from the prior, without an observation."""
        ...

    def readout(self, belief: Belief) -> Readout:
        """Decode a belief."""
        ...

    def disagreement(self, belief: Belief, action: Tensor) -> Tensor:
        """Return how much the ensemble's members differ on the next belief, [B], in nats (mutual information)."""
        ...

    def surprise(self, belief: Belief, action: Tensor, observation: Tensor) -> Tensor:
        """Return the negative log-likelihood of an observation under the prior, [B], in nats."""
        ...

    def loss(self, batch: Batch) -> tuple[dict[str, Tensor], Belief]:
        """Return the losses by name and the filtered beliefs of all B·T frames.

        Frames are row-major, their beliefs as they are before `goal_begins` and `step_begins` are applied.
        """
        ...


class VectorDynamics(Dynamics, Protocol):
    """Dynamics of a world that shows numbers, some of which may be inputs that nobody controls."""

    def intervene(self, belief: Belief, inputs: Mapping[str, float]) -> Belief:
        """Set exogenous variables. Raises SpecError for a name that is none of them."""
        ...

    def moments(self) -> Belief:
        """Return beliefs of moments that were really seen and went on, with the rewards that came with them."""
        ...

    def features(self, belief: Belief) -> Tensor:
        """Return what a policy acts on, [B, F]."""
        ...


class WorldModel(Dynamics, Protocol):
    """Dynamics with features on which a learned controller acts, and judges what it has done."""

    embed_size: int
    outcome_size: int

    def same(self, belief: Belief, other: Belief) -> Tensor:
        """Tell in which rows [B] two beliefs show the same, so that nothing has happened between them."""
        ...

    def embed(self, belief: Belief, step: Tensor) -> Tensor:
        """Return features [B, embed_size] for acting on a step [B, G]."""
        ...

    def embed_outcome(self, belief: Belief, step: Tensor) -> Tensor:
        """Return features [B, outcome_size] for telling whether the last transition achieved a step [B, G]."""
        ...
