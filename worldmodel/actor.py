"""What the loop asks of whoever carries plans out, really and in imagination; and the cloned controller as one.

Two do: `Cloned` where a demonstrator was imitated, `objective_actor.ObjectiveActor` where the world shows numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.episode import Action
from gedanken.worldmodel.foresight import Foresight
from gedanken.worldmodel.protocol import Belief
from gedanken.worldmodel.rehearse import Rehearsal, rehearse
from gedanken.worldmodel.tried import states_of
from gedanken.worlds.spec import Plan


class Pursuit(Protocol):
    """One step of a plan under way in reality."""

    def decide(self, belief: Belief, generator: torch.Generator, *, greedy: bool) -> Action:
        """Return the next action from a belief of one row; to be asked once for every action that is taken."""
        ...


class Actor(Protocol):
    """Carries plans out: one action after the other in reality, many futures at once in imagination."""

    def pursue(self, plan: Plan, index: int) -> Pursuit:
        """Begin a step of a plan in reality."""
        ...

    def prepare(self, plans: Sequence[Plan]) -> Iterator[str]:
        """Practise in imagination what plans ask for and nobody knows how to do; yield each such step before it is."""
        ...

    def rehearse(
        self,
        belief: Belief,
        plans: Sequence[Plan],
        begins: Sequence[int],
        *,
        samples: int,
        horizon: int,
        standstill: int,
        seed: int,
        inputs: Mapping[str, float] | None = None,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Rehearsal:
        """Imagine what is left of each plan from step `begins[n]` on, `samples` times, with views of first futures.

        The rehearsal speaks of the steps that are left. `inputs` sets exogenous variables for the whole of every
        future; see `rehearse` for the rest. Raises SpecError for an input that the world has not.
        """
        ...


class Cloned:
    """A controller that imitates a demonstrator, as an `Actor`."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    def pursue(self, plan: Plan, index: int) -> Pursuit:
        """See `Actor`."""
        codes = self.controller.model.spec.step_codes(plan.steps[index])
        return _ClonedPursuit(self.controller, codes)

    def prepare(self, plans: Sequence[Plan]) -> Iterator[str]:
        """See `Actor`; whatever can be asked for was learned before."""
        return iter(())

    def rehearse(
        self,
        belief: Belief,
        plans: Sequence[Plan],
        begins: Sequence[int],
        *,
        samples: int,
        horizon: int,
        standstill: int,
        seed: int,
        inputs: Mapping[str, float] | None = None,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Rehearsal:
        """See `Actor`."""
        return rehearse(
            self.controller,
            belief,
            remaining(plans, begins),
            samples=samples,
            horizon=horizon,
            standstill=standstill,
            seed=seed,
            intervention=inputs,
            views=True,
            watch=watch,
        )


class _ClonedPursuit:
    """Does what the controller says, with foresight."""

    def __init__(self, controller: Controller, codes: Sequence[int]) -> None:
        self.controller, self.codes = controller, torch.tensor([codes])
        self.foresight = Foresight(controller, codes)

    def decide(self, belief: Belief, generator: torch.Generator, *, greedy: bool) -> int:
        state = states_of(self.controller.model, belief, 1)
        said = self.controller.act(belief, self.codes).exp()
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device)
        return self.foresight.decide(belief, state, said, np.random.default_rng(int(seed)), greedy=greedy)


def remaining(plans: Sequence[Plan], begins: Sequence[int]) -> list[Plan]:
    """Return the plans without the steps before those that they begin with."""
    return [Plan(steps=plan.steps[begin:]) for plan, begin in zip(plans, begins, strict=True)]
