"""A room with a heater, and a model that knows its laws exactly: the loop on numbers, tested without any learning."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gedanken.agent.agent import Agent
from gedanken.agent.config import LoopConfig
from gedanken.agent.graph import saver
from gedanken.agent.journal import Journal
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.objective_critic import ObjectiveCritic
from gedanken.worldmodel.checkpoint import TrainedDynamics
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.protocol import Belief, Readout
from gedanken.worlds.adapter import Adapter
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.spec import SpecError, WorldSpec

ID = "ExactHouse-v0"
SEARCH = {"horizon": 5, "candidates": 24, "futures": 1, "rounds": 2}


class House(gymnasium.Env[Any, Any]):
    """An action warms the room by up to 3 °C; a tenth of what it is warmer than outside goes."""

    observation_space = spaces.Box(-50, 60, (1,), np.float32)
    action_space = spaces.Box(0, 1, (1,), np.float32)
    outside, broken = 5.0, False

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.room, self.taken = float(self.np_random.uniform(8, 16)), 0
        return np.array([self.room], np.float32), {}

    def step(self, action: Any) -> Any:
        self.taken += 1
        self.room += 0.1 * (self.outside - self.room) + (0.0 if self.broken else 3 * float(action[0]))
        return np.array([self.room], np.float32), -float(action[0]), self.room > 40, False, {}


@dataclass(frozen=True)
class Known(Belief):
    values: Tensor
    reward: Tensor


class Laws:
    """The house's own laws as dynamics; every future is the same but for a little noise."""

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec

    def initial(self, batch: int) -> Known:
        return Known(torch.zeros(batch, 2), torch.zeros(batch))

    def observe(self, belief: Known, action: Tensor, observation: Tensor, is_first: Tensor) -> Known:
        return Known(observation.float(), torch.zeros(len(observation)))

    def begin_goal(self, belief: Known, rows: Tensor) -> Known:
        return belief

    begin_step = suppose = begin_goal

    def intervene(self, belief: Known, inputs: Mapping[str, float]) -> Known:
        if set(inputs) - {"outside"}:
            raise SpecError("no such input")
        values = belief.values.clone()
        values[:, 1] = inputs["outside"]
        return replace(belief, values=values)

    def imagine(self, belief: Known, action: Tensor) -> Known:
        room, outside = belief.values.unbind(1)
        after = room + 0.1 * (outside - room) + 3 * action[:, 0] + 0.01 * torch.randn_like(room)
        return Known(torch.stack([after, outside], 1), -action[:, 0])

    def readout(self, belief: Known) -> Readout:
        return Readout(belief.values, belief.reward, (belief.values[:, 0] <= 40).float())

    def disagreement(self, belief: Known, action: Tensor) -> Tensor:
        return torch.zeros(len(action))

    def surprise(self, belief: Known, action: Tensor, observation: Tensor) -> Tensor:
        foreseen = self.imagine(belief, action).values
        return 100 * (foreseen - observation).abs().sum(1)


def house(id: str = "house", lasts: str | None = "30 min") -> GymWorld:
    if ID not in gymnasium.registry:
        gymnasium.register(ID, House, max_episode_steps=200)
    exogenous = {"outside": {"attribute": "outside", "low": -5, "high": 15, "unit": "°C"}}
    adapter = {"environment": ID, "names": ["room"], "units": ["°C"], "actions": ["heater"], "lasts": lasts}
    return GymWorld(Adapter.model_validate(adapter | {"exogenous": exogenous}), id)


def trained(world: GymWorld) -> TrainedDynamics:
    model: Any = Laws(world.spec)
    return TrainedDynamics(model, "laws", card={"search": SEARCH})


@contextmanager
def agent_in(home: Path, script: Any, **changes: Any) -> Iterator[Agent]:
    """A durable agent in the house whose language model says what `script` says."""
    world, config = house(), LoopConfig.preset("debug", learn_steps=0, horizon=100, **changes)
    runs = saver(home / "runs.sqlite")
    with ExperienceStore(home / "experience.sqlite") as store, Journal(home / "journal.sqlite") as journal:
        yield Agent(
            world,
            llm=ScriptedModel(script),
            trained=trained(world),
            critic=ObjectiveCritic(world.spec, config.horizon),
            store=store,
            config=config,
            journal=journal,
            saver=runs,
        )
    runs.conn.close()
