"""What the suite `shift` measures, learned when it is first asked for: a checkpoint adapted to a level that is shifted.

Kept under the user's home by level, training seed, number of real episodes, and whether anything was imagined. Episodes
are the agent's own, on training seeds, made by what was learned from the ones before; nobody demonstrates.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gedanken.agent.added import slug
from gedanken.evals.control_learning import alone
from gedanken.evals.errors import EvalError
from gedanken.evals.suite import Parts
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.adapt import LATEST, AdaptConfig, adapt, own_episodes, startling
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worlds.spec import WorldSpec

APART = 10_000
"""Training seeds for each training seed's episodes, from FIRST on."""

FIRST = FIRST_TRAINING_SEED + 60_000_000


class ShiftSetting(BaseModel):
    """How checkpoints are adapted, for how many training seeds, and to how many real episodes, stage after stage."""

    budgets: tuple[int, ...] = (50, 200, 1000)
    training_seeds: int = 2
    adapting: AdaptConfig = AdaptConfig()

    def learner(self, seed: int) -> int:
        """Return the training seed whose models an evaluation seed measures."""
        return seed % self.training_seeds

    def plain(self) -> dict[str, Any]:
        """Return plain data."""
        return self.model_dump(mode="json")

    def config(self, seed: int, imagined: bool) -> AdaptConfig:
        """Return how to adapt; without imagination the steps of it are taken on real episodes instead."""
        config = self.adapting.model_copy(update={"seed": seed})
        if imagined:
            return config
        return config.model_copy(update={"steps": config.steps + config.dreams, "dreams": 0})


def shifted_path(task: str, seed: int, budget: int, imagined: bool) -> Path:
    """Return where a checkpoint is kept."""
    return checkpoint.home() / "checkpoints" / f"{_name(task, seed, imagined)}-{budget}"


def learned(parts: Parts, task: str, setting: ShiftSetting, seed: int, budget: int, imagined: bool) -> Trained:
    """Return what was learned from so many episodes, learning it, and what comes before it, where it isn't there yet.

    Raises CheckpointError, EvalError, StoreError and TrainingError.
    """
    begun, path = parts.trained, shifted_path(task, seed, budget, imagined)
    spec, name = begun.model.spec, _name(task, seed, imagined)
    with alone(path.name):
        if not path.exists():
            fewer = [b for b in setting.budgets if b < budget]
            actor = learned(parts, task, setting, seed, fewer[-1], imagined) if fewer else begun
            seeds = range(FIRST + seed * APART, FIRST + seed * APART + budget)
            with ExperienceStore(_folder() / f"{name}.sqlite") as store:
                there = store.seeds_from("agent")
                left = [s for s in seeds if s not in there]
                store.append_many(list(own_episodes(parts.make_world, task, left, actor.controller)))
                episodes = _first(store, spec, budget)
            pupil = adapt(begun, episodes, setting.config(seed, imagined))
            card = {"episodes": len(episodes), "from": begun.name, "setting": setting.plain()}
            card |= {"surprise": startling(pupil, episodes[-LATEST:])}
            kept = Trained(pupil.model, pupil.controller, path.name, path, {**begun.card, **card})
            checkpoint.save(kept, path)
    trained = checkpoint.load(path, spec)
    if trained.card.get("setting") != setting.plain() or trained.card.get("from") != begun.name:
        raise EvalError(f"{path} was learned otherwise than this suite does now; move it")
    return trained


def _first(store: ExperienceStore, spec: WorldSpec, budget: int) -> list[Episode]:
    episodes: Sequence[Episode] = [episode for _, episode in store.episodes(spec_hash=spec.hash)]
    return sorted(episodes, key=lambda episode: episode.seed)[:budget]


def _name(task: str, seed: int, imagined: bool) -> str:
    return f"shift-{slug(task)}-{seed}{'' if imagined else '-real'}"


def _folder() -> Path:
    path = checkpoint.home() / "shift"
    path.mkdir(parents=True, exist_ok=True)
    return path
