"""What the suite `control` measures, learned when it is first asked for: world models by trying, and model-free peers.

Each is kept under the user's home by its world and training seed, made by one process at a time; a training that was
cut off goes on. Environments are trained in with training seeds only.
"""

from __future__ import annotations

import fcntl
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from gedanken.agent.added import keep_learned, slug
from gedanken.evals.control_goals import ADAPTERS
from gedanken.evals.errors import EvalError
from gedanken.evals.suite import Options, evaluation_seeds
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import TrainedDynamics
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.ensemble import SIZES, EnsembleModel
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.trying import POLICIES, Apprentice, TryConfig, try_out
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.spec import WorldSpec

Size = Literal["debug", "small", "base"]

REWARD = "maximize(reward, for 9999)"
TRAINING_SEEDS = 3
POINTS = 24
"""Most points of a learning curve."""

PEERS = {"ppo": "PPO", "dqn": "DQN"}
NO_PEERS = "stable-baselines3 is not installed; `pip install gedanken[peers]` adds it"


@dataclass(frozen=True)
class Setting:
    """How one world is learned: real steps in all, the action that does nothing, and changes of `TryConfig`.

    `shown` are numbers whose means are measured beside the return; `ruled` says that the environment has a rule-based
    driver of its own. `ways` is the model's, see `EnsembleConfig`.
    """

    steps: int
    idle: float
    size: Size = "small"
    ways: int = 1
    changes: Mapping[str, Any] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    ruled: bool = False

    def config(self, seed: int) -> TryConfig:
        """Return how to try."""
        return TryConfig.model_validate(
            {"policy": POLICIES[self.size], "foretold": 0, **self.changes, "steps": self.steps, "seed": seed}
        )

    def plain(self) -> dict[str, Any]:
        """Return plain data, the same for every seed."""
        told = self.config(0).model_dump(mode="json", exclude={"seed", "steps"})
        return {"steps": self.steps, "idle": self.idle, "size": self.size, "ways": self.ways, **told}

    def model(self, spec: WorldSpec) -> EnsembleModel:
        """Return an untrained model."""
        return EnsembleModel(spec, SIZES[self.size].model_copy(update={"ways": self.ways}))


def _search(horizon: int, candidates: int = 64, rounds: int = 2) -> dict[str, int]:
    return {"horizon": horizon, "candidates": candidates, "rounds": rounds}


def _as_it_ships(world: str, idle: float, search: Mapping[str, int], **more: Any) -> Setting:
    """Return how a world that ships is learned, as its adapter says."""
    changes = {**ADAPTERS[world].learning, "search": search}
    return Setting(changes.pop("steps"), idle, ways=changes.pop("ways", 1), changes=changes, **more)


SETTINGS = {
    "CartPole-v1": Setting(5_000, 0, changes={"explored": 0.0, "policy": {"discount": 0.995}, "search": _search(20)}),
    "Pendulum-v1": Setting(
        10_000,
        0.0,
        changes={"random": 1000, "explored": 0.0, "policy": {"discount": 0.97}, "search": _search(20, 100, 3)},
    ),
    "Acrobot-v1": Setting(
        40_000,
        1,
        changes={"random": 2000, "every": 2000, "rounds": 40, "greedy": 0.5, "explored": 0.15, "search": _search(40)},
    ),
    "MountainCarContinuous-v0": Setting(10_000, 0.0, changes={"random": 1000, "explored": 0.3, "search": _search(80)}),
    "LunarLander-v3": Setting(
        100_000,
        0,
        changes={
            "random": 4000,
            "every": 4000,
            "then": 800,
            "rounds": 80,
            "longest": 400,
            "explored": 0.0,
            "search": _search(40),
        },
    ),
    "highway": _as_it_ships("highway", 1, search=_search(10), shown=("speed", "overtaken"), ruled=True),
    "motor": _as_it_ships("motor", 0.0, search=_search(20), shown=("error", "current")),
}
"""The budgets of real steps are at most those that the suite's aims allow; they were tried out on training seeds."""


MORE_TASKS = ("LunarLander-v3", "highway", "motor")
"""Those that need more packages, or hours."""


class LearnedWorlds:
    """What suites share whose tasks are worlds of numbers, learned for each training seed when first asked for."""

    known: Mapping[str, Setting] = SETTINGS
    more_tasks: tuple[str, ...] = ()
    """Tasks that are measured where they are named."""

    def __init__(self, tasks: Sequence[str] | None = None, settings: Mapping[str, Setting] | None = None) -> None:
        self.settings = dict(settings or self.known)
        self.tasks = tuple(tasks or (task for task in self.settings if task not in self.more_tasks))

    @property
    def learning(self) -> dict[str, Any]:
        """Return how the tasks' worlds are learned."""
        return {task: self.settings[task].plain() for task in self.tasks}

    def learners(self, options: Options) -> list[int]:
        """Return the training seeds whose models are measured: episodes take turns among them."""
        return sorted({seed % TRAINING_SEEDS for seed in evaluation_seeds(options.seed, options.limit)})

    def weights(self, options: Options) -> list[Path]:
        """Return the files of the models, there already or not."""
        return [model_path(task, n) / "model.safetensors" for task in self.tasks for n in self.learners(options)]

    def curves(self, options: Options) -> list[dict[str, Any]]:
        """Return how the models that are there were learned, by task and training seed; see `learning_curve`."""
        found = []
        for task in self.tasks:
            for learner in self.learners(options):
                if (path := model_path(task, learner)).exists():
                    points = learning_curve(lived(path.name, world_of(task).spec))
                    found.append({"task": task, "training_seed": learner, "points": points})
        return found


def learning_curve(episodes: Sequence[Episode]) -> list[tuple[int, float]]:
    """Return the real steps taken so far and the mean return of the episodes that ended meanwhile, in order."""
    ends, returns = np.cumsum([len(e) for e in episodes]), np.array([float(e.rewards.sum()) for e in episodes])
    parts = np.minimum((ends - 1) * POINTS // ends[-1], POINTS - 1) if len(ends) else ends
    return [
        (int(ends[parts == part][-1]), float(returns[parts == part].mean())) for part in sorted(set(parts.tolist()))
    ]


def world_of(task: str, **arguments: Any) -> GymWorld:
    """Return a task's world, made with more arguments. Raises WorldError where the environment can't be made."""
    return GymWorld(ADAPTERS[task].model_copy(update={"arguments": arguments}) if arguments else ADAPTERS[task], task)


def model_path(task: str, seed: int) -> Path:
    """Return where the world model of a task and a training seed is kept."""
    return checkpoint.home() / "checkpoints" / f"control-{slug(task)}-{seed}"


def learned(task: str, setting: Setting, seed: int) -> TrainedDynamics:
    """Return the world model of a task and a training seed, learning it where it is not there yet.

    Whoever asks for it meanwhile waits. Raises CheckpointError, EvalError, StoreError, TrainingError and WorldError.
    """
    world, path = world_of(task), model_path(task, seed)
    with alone(path.name):
        if not path.exists():
            _learn(world, setting, seed, path)
    trained = checkpoint.load_dynamics(path, world.spec)
    card, own = trained.card, setting.plain()
    if others := [f"{key} {value}" for key, value in card.get("setting", {}).items() if own.get(key) != value]:
        raise EvalError(f"{path} was learned otherwise ({', '.join(others)}); move it")
    if card.get("real_steps") != setting.steps:
        raise EvalError(f"{path} was learned from {card.get('real_steps')} steps, not {setting.steps}; move it")
    return trained


def _learn(world: GymWorld, setting: Setting, seed: int, path: Path) -> None:
    torch.manual_seed(seed)
    apprentice = Apprentice(setting.model(world.spec), world.spec.parse_plan(REWARD), setting.config(seed))
    with ExperienceStore(_store(path.name)) as store:
        past = [episode for _, episode in store.episodes(spec_hash=world.spec.hash)]
        for tried in try_out(world, apprentice, past):
            store.append(tried.episode)
    all_of_it = lived(path.name, world.spec)
    keep_learned(apprentice, all_of_it, path, {"real_steps": sum(map(len, all_of_it)), "setting": setting.plain()})


def lived(name: str, spec: WorldSpec) -> list[Episode]:
    """Return the episodes that a world model, by its folder's name, was learned from. Raises StoreError."""
    with ExperienceStore(_store(name)) as store:
        return [episode for _, episode in store.episodes(spec_hash=spec.hash)]


def peers_missing() -> bool:
    """Tell whether the model-free peers can't be trained here."""
    return importlib.util.find_spec("stable_baselines3") is None


def peer_path(arm: str, task: str, setting: Setting, seed: int) -> Path:
    """Return where a peer is kept, by the seed of the environment that it was trained in."""
    return _folder() / f"{arm}-{slug(task)}-{FIRST_TRAINING_SEED + seed}-{setting.steps}.zip"


class Peer:
    """A model-free policy trained by its library's own defaults on as many real steps, and the rest of a rollout."""

    def __init__(self, arm: str, task: str, setting: Setting, seed: int) -> None:
        if peers_missing():
            raise EvalError(f"{arm}: {NO_PEERS}")
        library: Any = importlib.import_module("stable_baselines3")
        kind, path = getattr(library, PEERS[arm]), peer_path(arm, task, setting, seed)
        with alone(path.stem):
            if not path.exists():
                env, temporary = world_of(task).make(), path.with_name(f"tmp-{path.name}")
                policy = kind("MlpPolicy", env, seed=FIRST_TRAINING_SEED + seed, device="cpu", verbose=0)
                policy.learn(total_timesteps=setting.steps)
                policy.save(temporary)
                env.close()
                temporary.replace(path)
        self.policy = kind.load(path, device="cpu")

    @property
    def real_steps(self) -> int:
        """Return how many real steps it was trained on; its library takes whole rollouts."""
        return int(self.policy.num_timesteps)

    def act(self, seen: NDArray[np.float32]) -> Any:
        """Return the likeliest action."""
        return self.policy.predict(seen, deterministic=True)[0]


def plays(arm: str, world: GymWorld) -> bool:
    """Tell whether a peer takes such actions: DQN knows no controls."""
    return arm != "dqn" or not world.spec.controls


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Let one process at a time make what has this name; one that is killed lets the next one go on."""
    with (_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _store(name: str) -> Path:
    return _folder() / f"{name}.sqlite"


def _folder() -> Path:
    path = checkpoint.home() / "control"
    path.mkdir(parents=True, exist_ok=True)
    return path
