"""A peer of our search: the CEM of stable-worldmodel, on our model, through the one method which that library asks for.

Its solvers know of a model only `get_cost`: what candidates cost where one is. Costs are those of our own search, and
candidates, rounds and elites are as many, so that what differs is the solver. Needs stable-worldmodel.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import fields, replace
from os import devnull
from typing import Any

import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from gedanken.worldmodel.protocol import Belief, Dynamics
from gedanken.worldmodel.search import Search, SearchConfig
from gedanken.worldmodel.tasks import Found, Task

SOLVER = "swm-cem"
"""The arm."""

NO_SOLVER = "stable-worldmodel is not installed; `pip install gedanken[solvers]` adds it"


def absent() -> bool:
    """Tell whether stable-worldmodel is not installed; importing it takes seconds."""
    return importlib.util.find_spec("stable_worldmodel") is None


def missing() -> str:
    """Say why this peer can't play here, and what to do; nothing where it can."""
    if absent():
        return NO_SOLVER
    try:
        _library()
    except (ImportError, RuntimeError) as error:
        return f"stable-worldmodel can't be loaded ({error}); it needs a torchvision that was built for this torch"
    return ""


def _library() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about environments of its own that are not installed
        return importlib.import_module("stable_worldmodel")


class SwmCem:
    """A `Finder`: what stable-worldmodel's CEM finds, its categorical one for discrete actions.

    Controls are warm-started by the last plan, one action on; the categorical solver always begins anew.
    """

    def __init__(self, model: Dynamics, config: SearchConfig) -> None:
        self.search, self.config = Search(model, config), config
        self.library = _library()

    def fresh(self, problems: int) -> Tensor:
        """See `Finder`."""
        return torch.zeros(problems, 1, self.search.actions)

    def knows(self, task: Task) -> bool:
        """See `Finder`; everything is searched for when it is to be done."""
        return True

    def practise(self, task: Task) -> None:
        """See `Finder`."""

    def __call__(
        self, belief: Belief, tasks: Sequence[Task], memory: Tensor | None, generator: torch.Generator
    ) -> Found:
        """See `Finder`; `memory` is the last plan, [B, H, A] in half ranges of the controls."""
        discrete, actions, count = self.search.discrete, self.search.actions, len(tasks)
        kind = self.library.solver.CategoricalCEMSolver if discrete else self.library.solver.CEMSolver
        solver = kind(
            Costed(self.search, belief, tasks),
            batch_size=count,
            num_samples=self.config.candidates,
            n_steps=self.config.rounds,
            topk=max(2, round(self.config.elites * self.config.candidates)),  # of one there is no spread
            seed=int(torch.randint(1 << 31, (), generator=generator)),
        )
        space = Discrete(actions) if discrete else Box(-1, 1, (count, actions))
        plan = self.library.PlanConfig(horizon=self.config.horizon, receding_horizon=1)
        solver.configure(action_space=space, n_envs=count, config=plan)
        info = {field.name: getattr(belief, field.name) for field in fields(belief)}
        with open(devnull, "w") as nowhere, redirect_stdout(nowhere):  # it prints how long it took, every time
            found: Tensor = solver.solve(info, None if memory is None else memory[:, 1:])["actions"]
        first = found[:, 0]
        return Found(first[:, 0] if discrete else self.search.natural(first.clamp(-1, 1)), found)


class Costed:
    """Our model as stable-worldmodel's solvers see one, its `Costable`."""

    def __init__(self, search: Search, belief: Belief, tasks: Sequence[Task]) -> None:
        self.search, self.belief, self.tasks = search, belief, tasks

    def get_cost(self, info_dict: Mapping[str, Tensor], action_candidates: Tensor) -> Tensor:
        """Return [B, C] costs of candidates [B, C, H, A]; `info_dict` are beliefs, repeated for every candidate."""
        belief = replace(self.belief, **{name: value[:, 0] for name, value in info_dict.items()})
        return self.search.costs(belief, self.tasks, action_candidates.clamp(-1, 1))
