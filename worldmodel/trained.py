"""A learned model and who acts with it, ready to use. Knows no files but where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from gedanken.worldmodel.actor import Actor, Cloned
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.policy import Policy, PolicyConfig
from gedanken.worldmodel.protocol import Batch, VectorDynamics, WorldModel
from gedanken.worldmodel.tasks import practised_for
from gedanken.worlds.spec import Plan, WorldSpec

if TYPE_CHECKING:
    from gedanken.worldmodel.objective_actor import ObjectiveActor


@dataclass(frozen=True)
class Trained:
    """A world model and its controller, ready to use."""

    model: WorldModel
    controller: Controller
    name: str
    path: Path | None = None
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Return the networks by name."""
        return {"model": cast(nn.Module, self.model), "controller": self.controller}

    @property
    def actor(self) -> Actor:
        """Return who carries plans out: the controller."""
        return Cloned(self.controller)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the model's and the controller's losses of a batch by name."""
        losses, belief = self.model.loss(batch)
        return {**losses, **self.controller.loss(batch, belief)}


@dataclass(frozen=True)
class TrainedDynamics:
    """A world model without a controller that imitates; `policies` are those of the plan that it was tried with.

    Its steps were practised in imagination; others are when they are first asked for. Without any policy, what to do is
    found by search.
    """

    model: VectorDynamics
    name: str
    path: Path | None = None
    card: dict[str, Any] = field(default_factory=dict)
    policies: tuple[Policy, ...] = ()

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Return the networks by name."""
        policies = {f"policy{number}": policy for number, policy in enumerate(self.policies)}
        return {"model": cast(nn.Module, self.model), **policies}

    @property
    def actor(self) -> Actor:
        """Return who carries plans out."""
        return self.objective_actor

    @cached_property
    def objective_actor(self) -> ObjectiveActor:
        """Return the same: policies, or a search as the card says it was learned with."""
        from gedanken.worldmodel.objective_actor import ObjectiveActor
        from gedanken.worldmodel.practised import Policies, Repertoire
        from gedanken.worldmodel.search import Search, SearchConfig

        if not self.policies:
            search = SearchConfig.model_validate(self.card.get("search", {}))
            return ObjectiveActor(self.model, Search(self.model, search), Search(self.model, search.lighter()))
        tasks = practised_for(self.model.spec, plan_of(self.model.spec, self.card))
        known = dict(zip(tasks, self.policies, strict=True))
        config = PolicyConfig.model_validate(self.card["policy"])
        acting = Policies(self.model, Repertoire(self.model, config, known=known))
        return ObjectiveActor(self.model, acting, acting)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the model's losses of a batch by name."""
        return self.model.loss(batch)[0]


def plan_of(spec: WorldSpec, card: Mapping[str, Any]) -> Plan:
    """Return the plan that a checkpoint was tried with, as its card tells it."""
    return spec.parse_plan(card["plan"].replace(";", "\n"))
