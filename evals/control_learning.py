"""What the suite `control` measures, learned when it is first asked for: world models by trying, and model-free peers.

Each is kept under the user's home by its world and training seed; a training that was cut off goes on.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from gedanken.agent.added import slug
from gedanken.agent.objective_critic import calibrated, pairs_of
from gedanken.evals.control_goals import ADAPTERS
from gedanken.evals.errors import EvalError
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import TrainedDynamics
from gedanken.worldmodel.ensemble import SIZES, EnsembleModel
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.fit import startling
from gedanken.worldmodel.protocol import VectorDynamics
from gedanken.worldmodel.search import SearchConfig
from gedanken.worldmodel.trying import IMAGINED, TryConfig, try_out
from gedanken.worlds.gym_world import GymWorld

REWARD = "maximize(reward, for 9999)"
PEERS = {"ppo": "PPO", "dqn": "DQN"}
NO_PEERS = "stable-baselines3 is not installed; `pip install gedanken[peers]` adds it"


@dataclass(frozen=True)
class Setting:
    """How one world is learned: real steps, the action that does nothing, the search; `first` as in `TryConfig`."""

    steps: int
    idle: float
    search: SearchConfig
    random: int = 1000
    size: Literal["debug", "small", "base"] = "small"
    first: int = 600


SETTINGS = {
    "CartPole-v1": Setting(10_000, 0, SearchConfig(horizon=20, candidates=64, rounds=2)),
    "Pendulum-v1": Setting(15_000, 0.0, SearchConfig(horizon=20, candidates=100, rounds=3)),
    "Acrobot-v1": Setting(50_000, 1, SearchConfig(horizon=40, candidates=64, rounds=2)),
    "MountainCarContinuous-v0": Setting(20_000, 0.0, SearchConfig(horizon=80, candidates=64, rounds=2)),
    "LunarLander-v3": Setting(100_000, 0, SearchConfig(horizon=40, candidates=64, rounds=2)),
}
"""The budgets of real steps are the suite's; no search was tuned on its seeds."""


def world_of(task: str) -> GymWorld:
    """Return a task's world. Raises WorldError where the environment can't be made."""
    return GymWorld(ADAPTERS[task], task)


def learned(task: str, setting: Setting, seed: int) -> TrainedDynamics:
    """Return the world model of a task and a training seed, learning it where it is not there yet.

    Raises CheckpointError, StoreError, TrainingError and WorldError.
    """
    world, name = world_of(task), f"control-{slug(task)}-{seed}"
    path = checkpoint.home() / "checkpoints" / name
    if path.exists():
        trained = checkpoint.load_dynamics(path, world.spec)
        if trained.card.get("real_steps") != setting.steps:
            raise EvalError(
                f"{path} was learned from {trained.card.get('real_steps')} steps, not {setting.steps}; move it"
            )
        return trained
    torch.manual_seed(seed)
    model = EnsembleModel(world.spec, SIZES[setting.size])
    config = TryConfig(
        steps=setting.steps, random=setting.random, first=setting.first, search=setting.search, seed=seed, foretold=0
    )
    with ExperienceStore(_folder() / f"{name}.sqlite") as store:
        past = [episode for _, episode in store.episodes(spec_hash=world.spec.hash)]
        for tried in try_out(world, model, world.spec.parse_plan(REWARD), config, past):
            store.append(tried.episode)
        lived = [episode for _, episode in store.episodes(spec_hash=world.spec.hash)]
    card = {
        "real_steps": sum(map(len, lived)),
        "plan": REWARD,
        "seed": seed,
        "search": setting.search.model_dump(mode="json"),
        "horizon": IMAGINED,
        "surprise": startling(model, lived),
        "calibration": calibrated(pairs_of(lived)).model_dump(mode="json"),
    }
    trained = TrainedDynamics(cast(VectorDynamics, model), name, path, card)
    checkpoint.save(trained, path)
    return trained


def peers_missing() -> bool:
    """Tell whether the model-free peers can't be trained here."""
    return importlib.util.find_spec("stable_baselines3") is None


class Peer:
    """A model-free policy trained by its library's own defaults on as many real steps."""

    def __init__(self, arm: str, task: str, setting: Setting, seed: int) -> None:
        if peers_missing():
            raise EvalError(f"{arm}: {NO_PEERS}")
        library: Any = importlib.import_module("stable_baselines3")
        world, kind = world_of(task), getattr(library, PEERS[arm])
        path = _folder() / f"{arm}-{slug(task)}-{seed}-{setting.steps}.zip"
        if path.exists():
            self.policy = kind.load(path, device="cpu")
            return
        env = world.make().inner
        self.policy = kind("MlpPolicy", env, seed=seed, device="cpu", verbose=0)
        self.policy.learn(total_timesteps=setting.steps)
        self.policy.save(path)
        env.close()

    def act(self, seen: NDArray[np.float32]) -> Any:
        """Return the likeliest action."""
        return self.policy.predict(seen, deterministic=True)[0]


def plays(arm: str, world: GymWorld) -> bool:
    """Tell whether a peer takes such actions: DQN knows no controls."""
    return arm != "dqn" or not world.spec.controls


def _folder() -> Path:
    path = checkpoint.home() / "control"
    path.mkdir(parents=True, exist_ok=True)
    return path
