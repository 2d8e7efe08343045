"""Put an agent together out of names: world, language model, checkpoint, critic, stores. Knows no terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gedanken.agent import llm as language
from gedanken.agent.added import alike, load_added, slug, unknown
from gedanken.agent.agent import Agent
from gedanken.agent.config import LoopConfig
from gedanken.agent.critic import Critic
from gedanken.agent.graph import saver
from gedanken.agent.journal import Journal
from gedanken.agent.llm.fetch import model_folder
from gedanken.agent.llm.protocol import Encoder
from gedanken.agent.mind import Judge
from gedanken.agent.objective_critic import Calibration, ObjectiveCritic
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import CheckpointError, Trained, TrainedDynamics
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worlds.babyai import BabyAIWorld, level_ids
from gedanken.worlds.babyai_shifts import SHIFTED, ShiftedWorld
from gedanken.worlds.fields import GridField
from gedanken.worlds.protocol import PracticeWorld, World
from gedanken.worlds.spec import SpecError


@dataclass(frozen=True)
class Places:
    """Where things are kept, all under `checkpoint.home()`."""

    store: Path
    journal: Path
    runs: Path


def places() -> Places:
    """Return the files of this user."""
    home = checkpoint.home()
    return Places(home / "experience.sqlite", home / "journal.sqlite", home / "runs.sqlite")


def load_world(id: str) -> World:
    """Return a world by its id. Raises SpecError for one that does not exist, WorldError for one that can't be made."""
    if world := load_added(id):
        return world
    if SHIFTED in id:
        return ShiftedWorld(id)
    if id not in level_ids() and alike(id):
        raise unknown(id)
    return BabyAIWorld(id)


def load_practice(id: str) -> PracticeWorld:
    """Return a world that has a demonstrator and practice goals. Raises SpecError for one that has not."""
    world = load_world(id)
    if not isinstance(world, PracticeWorld):
        raise SpecError(f"nobody demonstrates {id!r}; `gedanken learn {id}` learns it by trying")
    return world


def load_trained(name: str | None, world: World, *others: str) -> Trained | TrainedDynamics:
    """Load a checkpoint for a world, and `others` of its spec; without a name one that ships for them.

    A world that shows numbers has its latest. Raises CheckpointError.
    """
    if isinstance(world.spec.observation, GridField):
        levels = [id.partition(SHIFTED)[0] for id in (world.id, *others)]
        return checkpoint.load(name or checkpoint.shipped(world.spec, *levels), world.spec)
    return checkpoint.load_dynamics(name or latest(world.id), world.spec)


def latest(world: str) -> str:
    """Return the latest checkpoint of a world that shows numbers, or the one that ships for it.

    Raises CheckpointError where it was never learned.
    """
    stem = slug(world)
    if not (numbers := checkpoint.numbers(stem)) and (checkpoint.SHIPPED / stem).is_dir():
        return stem
    if not numbers:
        raise CheckpointError(f"{world} was never learned, so nothing can be imagined: `gedanken learn {world}` first")
    return f"{stem}-{max(numbers)}"


def load_judge(trained: Trained | TrainedDynamics, world: World, encoder: object, config: LoopConfig) -> Judge:
    """Load the critic that goes with a checkpoint; that of a world that shows numbers reads no words."""
    if isinstance(trained, TrainedDynamics):
        fitted = Calibration.model_validate(trained.card.get("calibration", {}))
        return ObjectiveCritic(world.spec, config.horizon, fitted)
    return load_critic(trained.path, world, encoder)


def load_critic(path: Path | None, world: World, encoder: object) -> Judge:
    """Load the critic beside a checkpoint; `encoder` reads its words, or the embedded model where it is another one."""
    if path is None:
        raise CheckpointError("this world model was never saved, so it has no critic; pass one")
    other = getattr(encoder, "folder", None) not in (None, model_folder())
    model = encoder if isinstance(encoder, Encoder) and not other else language.load("embedded")
    if not isinstance(model, Encoder):
        raise CheckpointError("the embedded language model embeds no texts, and the critic needs that")
    return Critic.load(path, world.spec, model)


@contextlib.contextmanager
def open_agent(world_id: str, config: LoopConfig | None = None, *, keep: bool = True) -> Iterator[Agent]:
    """Load an agent and release its files at the end; `keep` stores episodes, learns from them and survives a kill.

    Raises SpecError, CheckpointError, StoreError and LLMError, in the order of what is cheap to find out.
    """
    config = config or LoopConfig.preset()
    world = load_world(world_id)
    with contextlib.ExitStack() as stack:
        where = places()
        trained = load_trained(config.checkpoint, world)
        config = config.practised(trained.card)
        store = stack.enter_context(ExperienceStore(where.store)) if keep else None
        journal = stack.enter_context(Journal(where.journal)) if keep else None
        runs = saver(where.runs) if keep else None
        if runs is not None:
            stack.callback(runs.conn.close)
        model = language.load(config.llm)
        yield Agent(
            world,
            llm=model,
            trained=trained,
            critic=load_judge(trained, world, model, config),
            store=store,
            config=config,
            journal=journal,
            saver=runs,
        )
