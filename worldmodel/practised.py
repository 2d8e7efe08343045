"""Policies as a finder: each task has its own, practised in imagination when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from gedanken.worldmodel.policy import Policy, PolicyConfig
from gedanken.worldmodel.policy_practice import Practice
from gedanken.worldmodel.protocol import Belief, VectorDynamics
from gedanken.worldmodel.tasks import Found, Task
from gedanken.worlds.objectives import attainable

ENOUGH = 0.98
"""Share of the most that a task can pay, and of the futures that last, from which a policy that is there serves it."""


class Repertoire:
    """The policies that there are, `known` ones to begin with; a new one is practised, which takes seconds.

    A task that one of the first policies does already, as the model has it, is not practised, nor is one that acting
    can't bring about. The same seed makes the same policy of a task, whatever was asked before.
    """

    def __init__(
        self, model: VectorDynamics, config: PolicyConfig, *, seed: int = 0, known: Mapping[Task, Policy] | None = None
    ) -> None:
        self.model, self.config, self.seed = model, config, seed
        self.policies = dict(known or {})
        self._first = tuple(self.policies.values())

    def __call__(self, task: Task) -> Policy:
        """Return a task's policy."""
        if task not in self.policies:
            practice = Practice(self.model, task, self.config, seed=self.seed)
            if attainable(task.objective, self.model.spec.vector) and not self._does(practice):
                practice.practise_well(self.config.rounds)
            self.policies[task] = practice.policy
        return self.policies[task]

    def _does(self, practice: Practice) -> bool:
        """Give a practice the first policy that does its task already; tell whether there is one."""
        own = practice.policy
        for policy in self._first if practice.most is not None else ():
            practice.policy = policy
            earned, lasted = practice.trial()
            if earned >= ENOUGH * cast(float, practice.most) and lasted >= ENOUGH:
                return True
        practice.policy = own
        return False


class Policies:
    """Says what policies find likeliest, or with `drawn` what they draw, which tries the world; implements `Finder`."""

    def __init__(self, model: VectorDynamics, policy: Callable[[Task], Policy], *, drawn: bool = False) -> None:
        self.model, self.policy, self.drawn = model, policy, drawn

    def fresh(self, problems: int) -> Tensor:
        """Return nothing, for so many tasks: a policy remembers nothing."""
        return torch.zeros(problems, 0)

    def knows(self, task: Task) -> bool:
        """See `Finder`."""
        return not isinstance(self.policy, Repertoire) or task.practised in self.policy.policies

    def practise(self, task: Task) -> None:
        """See `Finder`."""
        self.policy(task.practised)

    @torch.no_grad()
    def __call__(
        self, belief: Belief, tasks: Sequence[Task], memory: Tensor | None, generator: torch.Generator
    ) -> Found:
        """See `Finder`; a task's policy is the same however long ago it began."""
        groups: dict[Task, list[int]] = {}
        for row, task in enumerate(tasks):
            groups.setdefault(task.practised, []).append(row)
        features, actions = self.model.features(belief), torch.zeros(0)
        for task, rows in groups.items():
            policy, seen = self.policy(task), features[rows]
            said = policy.draw(seen, generator).action if self.drawn else policy.likeliest(seen)
            if not len(actions):
                actions = said.new_empty(len(tasks), *said.shape[1:])
            actions[rows] = said
        return Found(actions, self.fresh(len(tasks)))
