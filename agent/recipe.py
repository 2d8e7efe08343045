"""The recipe of a shipped checkpoint, from nothing: practise, train, aggregate, train on, learn what goals mean, calibrate.

Every stage leaves its result in the folder and is skipped when that is there, so an interrupted run goes on.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field

from gedanken.agent.critic import Critic, Evidence
from gedanken.agent.goal_match import GoalMatch, GoalMatchConfig, train_goal_match
from gedanken.agent.goal_practice import Heard, listen
from gedanken.agent.llm.protocol import Encoder
from gedanken.agent.situations import Job, execute_many, first_beliefs, situations
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.aggregate import aggregate
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.rehearse import rehearse
from gedanken.worldmodel.train import TrainConfig, train
from gedanken.worlds.protocol import World
from gedanken.worlds.spec import WorldSpec

Say = Callable[[str], None]
BLOCK = 10_000_000
"""Training seeds that each stage has to itself."""


class RecipeConfig(BaseModel):
    """What goes into a checkpoint.

    Attributes:
        levels: (world id, weight) of the practice episodes; `aggregated` those of the aggregation.
        suite: levels that the critic is calibrated on.
        episodes: practice episodes of the demonstrator; `corrected` those of the agent, corrected by the demonstrator.
        steps: gradient steps on the demonstrator's episodes alone; `more_steps` on all of them.
        heard: plans carried out to learn what goals mean; `epochs` over them.
        situations: plan sets carried out to calibrate the critic; `futures` rehearsed for each plan.
    """

    family: Literal["spatial", "rssm"] = "spatial"
    size: str = "small"
    seed: int = Field(default=0, ge=0, lt=20)
    workers: int = Field(default=2, ge=1)
    levels: tuple[tuple[str, float], ...]
    aggregated: tuple[tuple[str, float], ...]
    suite: tuple[str, ...]
    episodes: int = 40_000
    corrected: int = 4_000
    steps: int = 800
    more_steps: int = 550
    heard: int = 6_000
    epochs: int = 4
    situations: int = 300
    futures: int = 16


def babyai(**changes: Any) -> RecipeConfig:
    """Return the recipe of the shipped `babyai` checkpoint."""

    def named(weights: dict[str, float]) -> tuple[tuple[str, float], ...]:
        return tuple((f"BabyAI-{name}-v0", weight) for name, weight in weights.items())

    practice = {
        "GoToObj": 1,
        "GoToLocal": 3,
        "PickupLoc": 3,
        "PickupDist": 2,
        "OpenDoor": 3,
        "PutNextLocal": 5,
        "UnlockLocalDist": 6,
        "GoToRedBall": 0.5,
        "ActionObjDoor": 1,
        "UnlockLocal": 0.5,
        "OpenDoorLoc": 0.3,
        "PutNextLocalS5N3": 0.5,
    }
    corrected = {
        "GoToObj": 0.5,
        "GoToLocal": 2,
        "PickupLoc": 3,
        "PickupDist": 3,
        "OpenDoor": 4,
        "PutNextLocal": 4,
        "UnlockLocalDist": 8,
        "ActionObjDoor": 1,
        "UnlockLocal": 1,
        "OpenDoorLoc": 1,
    }
    suite = ("GoToObj", "GoToLocal", "PickupLoc", "PickupDist", "OpenDoor", "PutNextLocal", "UnlockLocalDist")
    values = {
        "levels": named(practice),
        "aggregated": named(corrected),
        "suite": tuple(f"BabyAI-{name}-v0" for name in suite),
    }
    return RecipeConfig.model_validate(values | changes)


def debug(**changes: Any) -> RecipeConfig:
    """Return a recipe that runs in about a minute and teaches next to nothing, for tests."""
    small = {"size": "debug", "episodes": 40, "corrected": 8, "steps": 8, "more_steps": 4, "heard": 20, "epochs": 1}
    return babyai(**{**small, "situations": 7, "futures": 2, "workers": 1, **changes})


def reproduce(
    config: RecipeConfig,
    make_world: Callable[[str], World],
    encoder: Callable[[], Encoder],
    folder: Path,
    name: str,
    say: Say = lambda _: None,
) -> Path:
    """Carry the recipe out in `folder` and return the checkpoint's folder, ``folder/name``.

    Raises CheckpointError when it is there already, StoreError, TrainingError and LLMError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began, spec = time.perf_counter(), make_world(config.suite[0]).spec
    (folder / "recipe.json").write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
    torch.manual_seed(config.seed)
    untrained = _untrained(spec, config)
    with ExperienceStore(folder / "experience.sqlite") as store:
        first = FIRST_TRAINING_SEED + 4 * BLOCK * config.seed
        seeds = range(first, first + config.episodes)
        _fill(store, "expert", seeds, practise(make_world, config.levels, seeds, Practice(), config.workers), say)
        demonstrated = Replay(spec, _shuffled(store, spec, config.seed))
        trained = _train(untrained, demonstrated, config.steps, 0.1, config.seed, folder / "first", say)
        seeds = range(first + BLOCK, first + BLOCK + config.corrected)
        practice = Practice(missions=0.4, jostled=0.3)
        corrected = aggregate(make_world, config.aggregated, seeds, trained.controller, practice)
        _fill(store, "agent", seeds, corrected, say)
        everything = Replay(spec, _shuffled(store, spec, config.seed))
        trained = _train(trained, everything, config.more_steps, 0.02, config.seed + 1, folder / "second", say)
        frames = everything.frames
    critic = _critic(config, spec, make_world, encoder(), trained, first + 2 * BLOCK, folder, say)
    model: Any = trained.model
    card = {
        "data": f"{config.episodes} practice episodes of the demonstrator, {config.corrected} of the agent ({frames} frames)",
        "training": f"{config.steps} + {config.more_steps} gradient steps of 2048 frames, seed {config.seed}",
        "parameters": sum(p.numel() for module in (model, trained.controller) for p in module.parameters()),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "seconds": round(time.perf_counter() - began),
        "command": f"gedanken train --seed {config.seed}",
        "licence": "Apache-2.0",
    }
    path = checkpoint.save(Trained(trained.model, trained.controller, name, None, card), folder / name)
    critic.save(path, {"pairs": f"{config.heard} plans carried out under a dozen goals each", "fit": critic.fit})
    say(f"checkpoint in {path}, after {card['seconds']} s")
    return path


def _untrained(spec: WorldSpec, config: RecipeConfig) -> Trained:
    if config.family == "spatial":
        from gedanken.worldmodel.spatial import SIZES

        sizes: dict[str, Any] = dict(SIZES)
    else:
        from gedanken.worldmodel.rssm import SIZES as RSSM_SIZES

        sizes = dict(RSSM_SIZES)
    if config.size not in sizes:
        raise checkpoint.CheckpointError(f"no size {config.size!r} of {config.family}; there are {', '.join(sizes)}")
    model, controller = checkpoint.build(spec, config.family, sizes[config.size].model_dump())
    return Trained(model, controller, config.family)


def _fill(store: ExperienceStore, source: str, seeds: range, episodes: Iterable[Episode], say: Say) -> None:
    """Store a stage's episodes in blocks of a thousand, unless its last block is there."""
    done = sum(n for (_, kept), n in store.counts().items() if kept == source)
    if done >= 0.95 * len(seeds):
        return
    block: list[Episode] = []
    for episode in episodes:
        block.append(episode)
        if len(block) == 1000:
            store.append_many(block)
            block, done = [], done + 1000
            say(f"{done} of {len(seeds)} {source} episodes")
    store.append_many(block)


def _shuffled(store: ExperienceStore, spec: WorldSpec, seed: int) -> list[Episode]:
    episodes = [episode for _, episode in store.episodes(spec_hash=spec.hash)]
    order = np.random.default_rng(seed).permutation(len(episodes))
    return [episodes[i] for i in order]


def _train(trained: Trained, replay: Replay, steps: int, final: float, seed: int, folder: Path, say: Say) -> Trained:
    folder.mkdir(exist_ok=True)
    config = TrainConfig(steps=steps, final=final, seed=seed)
    for row in train(trained, replay, config, folder):
        if row["step"] % 25 == 0:
            losses = ", ".join(f"{k} {v:.3f}" for k, v in row.items() if k not in ("step", "frames_per_second"))
            say(f"step {row['step']} of {steps}, {row['frames_per_second']:.0f} frames/s: {losses}")
    return trained


def _critic(
    config: RecipeConfig,
    spec: WorldSpec,
    make_world: Callable[[str], World],
    encoder: Encoder,
    trained: Trained,
    first_seed: int,
    folder: Path,
    say: Say,
) -> Critic:
    seeds = range(first_seed, first_seed + config.heard)
    heard = list(listen(make_world, [*config.suite, "BabyAI-ActionObjDoor-v0"], seeds))
    say(f"{len(heard)} plans carried out, {sum(len(h.goals) for h in heard)} goals heard")
    match = fit_match(spec, encoder, heard, config.epochs, config.seed, say)
    critic = Critic(match, encoder)
    seeds = range(first_seed + BLOCK, first_seed + BLOCK + config.situations)
    calibrate(critic, trained.controller, make_world, config.suite, seeds, config.futures, say)
    return critic


def fit_match(
    spec: WorldSpec, encoder: Encoder, heard: Sequence[Heard], epochs: int, seed: int, say: Say = lambda _: None
) -> GoalMatch:
    """Train the goal's head on what was heard."""
    torch.manual_seed(seed)
    match = GoalMatch(spec, GoalMatchConfig())
    for row in train_goal_match(match, encoder, heard, epochs=epochs, seed=seed):
        say(f"goals, epoch {row['epoch']:.0f}: loss {row['loss']:.4f}, right {row['accuracy']:.4f}")
    return match


def calibrate(
    critic: Critic,
    controller: Controller,
    make_world: Callable[[str], World],
    suite: Sequence[str],
    seeds: range,
    futures: int,
    say: Say = lambda _: None,
) -> None:
    """Rehearse and really carry out plan sets from training seeds, and fit the critic's calibration to what happened."""
    if seeds.start < FIRST_TRAINING_SEED:
        raise ValueError(f"training seeds start at {FIRST_TRAINING_SEED}, got {seeds.start}")
    sets = list(situations(make_world, suite, seeds))
    jobs = [Job(s.world, s.seed, plan) for s in sets for plan in s.plans]
    happened = torch.tensor([float(e.success) for e in execute_many(make_world, jobs, controller)])
    found: list[Evidence] = []
    for number, situation in enumerate(sets):
        belief = first_beliefs(controller.model, [situation.observation])
        rehearsal = rehearse(controller, belief, situation.plans, samples=futures, seed=situation.seed % 1000)
        found.append(critic.evidence(situation.goal, rehearsal))
        if (number + 1) % 50 == 0:
            say(f"{number + 1} of {len(sets)} plan sets rehearsed")
    features = torch.cat([evidence.features() for evidence in found])
    loss = critic.calibration.fit(features, happened)
    critic.fit = {"plans": len(happened), "share_reached": float(happened.mean()), "log_loss": loss}
    say(f"calibrated: {json.dumps(critic.fit)}")


__all__ = ["RecipeConfig", "babyai", "calibrate", "debug", "fit_match", "reproduce"]
