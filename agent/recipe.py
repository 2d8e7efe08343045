"""The recipe of a shipped checkpoint: practise, train, be corrected, train on, learn what goals mean, calibrate.

Every stage leaves its result in the folder and is skipped when that is there, so an interrupted run goes on.
"""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from safetensors.torch import load_file, save_file

from gedanken.agent.config import LoopConfig
from gedanken.agent.critic import Critic, Evidence
from gedanken.agent.goal_match import GoalMatch, GoalMatchConfig, train_goal_match
from gedanken.agent.goal_practice import Heard, listen
from gedanken.agent.llm.protocol import Encoder, LanguageModel, prompt_of
from gedanken.agent.propose import Request, propose, propose_request
from gedanken.agent.situations import WRITTEN, Job, Situation, execute_many, first_beliefs, situations
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.aggregate import aggregate
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.episode import EXPERT, Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.rehearse import rehearse
from gedanken.worldmodel.train import TrainConfig, train
from gedanken.worlds.protocol import PracticeWorld
from gedanken.worlds.spec import Plan, WorldSpec

Say = Callable[[str], None]
BLOCK = 10_000_000
"""Training seeds that each stage has to itself."""

STAGES = "stages.jsonl"
"""Seconds that each stage took."""


class Correction(BaseModel):
    """A round in which the agent acts, the demonstrator says what it would have done, and both train it on.

    Attributes:
        levels: (world id, weight) of the episodes.
        episodes: how many; `missions`, `jostled` and `hindered` are the shares of `Practice`.
        steps, rate: gradient steps that follow, and their peak learning rate.
    """

    levels: tuple[tuple[str, float], ...]
    episodes: int
    missions: float
    jostled: float
    hindered: float
    steps: int
    rate: float


class RecipeConfig(BaseModel):
    """What goes into a checkpoint.

    Attributes:
        levels: (world id, weight) of the demonstrator's practice episodes.
        suite: levels that the critic is calibrated on.
        episodes: how many of those, `hindered` the share of them that begins with something in the way.
        steps: gradient steps on them.
        corrections: rounds of correction that follow.
        heard: plans carried out to learn what goals mean; `epochs` over them.
        situations: plan sets carried out to calibrate the critic; `futures` rehearsed for each plan.
    """

    family: Literal["spatial", "rssm"] = "spatial"
    size: str = "small"
    seed: int = Field(default=0, ge=0, lt=20)
    workers: int = Field(default=2, ge=1)
    levels: tuple[tuple[str, float], ...]
    suite: tuple[str, ...]
    episodes: int = 40_000
    hindered: float = 0.1
    steps: int = 800
    corrections: tuple[Correction, ...]
    heard: int = 6_000
    epochs: int = 4
    situations: int = 210
    futures: int = 16


def babyai(**changes: Any) -> RecipeConfig:
    """Return the recipe of the shipped `babyai` checkpoint."""

    def named(weights: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
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
        "corrections": (
            Correction(
                levels=named(corrected), episodes=5_000, missions=0.4, jostled=0.3, hindered=0.25, steps=600, rate=1e-3
            ),
            Correction(
                levels=named(corrected), episodes=5_000, missions=0.6, jostled=0.15, hindered=0.35, steps=500, rate=1e-3
            ),
        ),
        "suite": tuple(f"BabyAI-{name}-v0" for name in suite),
    }
    return RecipeConfig.model_validate(values | changes)


def debug(**changes: Any) -> RecipeConfig:
    """Return a recipe that runs in about a minute and teaches next to nothing, for tests."""
    small = {"size": "debug", "episodes": 40, "steps": 8, "heard": 20, "epochs": 1, "situations": 7, "futures": 2}
    rounds = tuple(r.model_copy(update={"episodes": 8, "steps": 4}) for r in babyai().corrections)
    return babyai(**{**small, "corrections": rounds, "workers": 1, **changes})


def reproduce(
    config: RecipeConfig,
    make_world: Callable[[str], PracticeWorld],
    encoder: Callable[[], Encoder],
    folder: Path,
    name: str,
    say: Say = lambda _: None,
) -> Path:
    """Carry the recipe out in `folder` and return the checkpoint's folder, ``folder/name``.

    Raises CheckpointError when it is there already, StoreError, TrainingError and LLMError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = make_world(config.suite[0]).spec
    (folder / "recipe.json").write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
    torch.manual_seed(config.seed)
    untrained = _untrained(spec, config)
    with ExperienceStore(folder / "experience.sqlite") as store:
        first = FIRST_TRAINING_SEED + 4 * BLOCK * config.seed
        seeds, practice = range(first, first + config.episodes), Practice(hindered=config.hindered)
        with _timed(folder, "practise"):
            _fill(store, EXPERT, seeds, practise(make_world, config.levels, seeds, practice, config.workers), say)
        with _timed(folder, "train"):
            replay = _replay(store, spec, config)
            trained = _train(untrained, replay, config.steps, 1e-3, config.seed, folder / "0", say)
        for number, correction in enumerate(config.corrections, 1):
            seeds = range(first + number * BLOCK // 4, first + number * BLOCK // 4 + correction.episodes)
            practice = Practice(missions=correction.missions, jostled=correction.jostled, hindered=correction.hindered)
            with _timed(folder, f"practise, corrected, {number}"):
                episodes = _corrected(make_world, correction, seeds, trained, practice, number)
                _fill(store, f"agent {number}", seeds, episodes, say)
            with _timed(folder, f"train on, {number}"):
                replay, where = _replay(store, spec, config), folder / str(number)
                trained = _train(trained, replay, correction.steps, correction.rate, config.seed + number, where, say)
        frames = sum(len(episode) + 1 for _, episode in store.episodes())
        agents = sum(n for (_, source), n in store.counts().items() if source != EXPERT)
    with _timed(folder, "critic"):
        critic = _critic(config, spec, make_world, encoder(), trained, first + 2 * BLOCK, folder, say)
    model: Any = trained.model
    lines = (folder / STAGES).read_text(encoding="utf-8").splitlines()
    steps = [config.steps, *(correction.steps for correction in config.corrections)]
    card = {
        "data": f"{config.episodes} episodes of the demonstrator, {agents} of the agent, corrected ({frames} frames)",
        "training": f"{' + '.join(map(str, steps))} gradient steps of 2048 frames, seed {config.seed}",
        "parameters": sum(p.numel() for module in (model, trained.controller) for p in module.parameters()),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "seconds": round(sum(json.loads(line)["seconds"] for line in lines)),
        "command": f"gedanken train --seed {config.seed}",
        "licence": "Apache-2.0",
    }
    path = checkpoint.save(Trained(trained.model, trained.controller, name, None, card), folder / name)
    critic.save(path, {"pairs": f"{config.heard} plans carried out under a dozen goals each", "fit": critic.fit})
    say(f"checkpoint in {path}, after {card['seconds']} s")
    return path


@contextlib.contextmanager
def _timed(folder: Path, stage: str) -> Iterator[None]:
    """Note a stage's seconds, so that a run that was interrupted still knows how long everything took."""
    began = time.perf_counter()
    try:
        yield
    finally:
        with (folder / STAGES).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"stage": stage, "seconds": time.perf_counter() - began}) + "\n")


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


def _corrected(
    make_world: Callable[[str], PracticeWorld],
    correction: Correction,
    seeds: range,
    trained: Trained,
    practice: Practice,
    number: int,
) -> Iterable[Episode]:
    for episode in aggregate(make_world, correction.levels, seeds, trained.controller, practice):
        yield replace(episode, source=f"agent {number}")


def _replay(store: ExperienceStore, spec: WorldSpec, config: RecipeConfig) -> Replay:
    kept = (episode for _, episode in store.episodes(spec_hash=spec.hash))
    episodes = [episode for episode in kept if episode.seed >= FIRST_TRAINING_SEED]  # no person's are among them
    order = np.random.default_rng(config.seed).permutation(len(episodes))
    return Replay(spec, (episodes[i] for i in order))


def _train(trained: Trained, replay: Replay, steps: int, rate: float, seed: int, folder: Path, say: Say) -> Trained:
    folder.mkdir(exist_ok=True)
    config = TrainConfig(steps=steps, learning_rate=rate, seed=seed)
    for row in train(trained, replay, config, folder):
        if row["step"] % 25 == 0:
            losses = ", ".join(f"{k} {v:.3f}" for k, v in row.items() if k not in ("step", "frames_per_second"))
            say(f"step {row['step']} of {steps}, {row['frames_per_second']:.0f} frames/s: {losses}")
    return trained


def _critic(
    config: RecipeConfig,
    spec: WorldSpec,
    make_world: Callable[[str], PracticeWorld],
    encoder: Encoder,
    trained: Trained,
    first_seed: int,
    folder: Path,
    say: Say,
) -> Critic:
    kept, match = folder / "match.safetensors", GoalMatch(spec, GoalMatchConfig())
    if kept.exists():
        match.load_state_dict(load_file(kept))
    else:
        seeds = range(first_seed, first_seed + config.heard)
        heard = list(listen(make_world, [*config.suite, "BabyAI-ActionObjDoor-v0"], seeds))
        say(f"{len(heard)} plans carried out, {sum(len(h.goals) for h in heard)} goals heard")
        match = fit_match(spec, encoder, heard, config.epochs, config.seed, say)
        save_file(match.state_dict(), kept.with_suffix(".tmp"))
        kept.with_suffix(".tmp").replace(kept)
    critic = Critic(match, encoder)
    seeds = range(first_seed + BLOCK, first_seed + BLOCK + config.situations)
    writer = encoder if isinstance(encoder, LanguageModel) else None
    calibrate(critic, trained.controller, make_world, config.suite, seeds, config.futures, writer, say)
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
    make_world: Callable[[str], PracticeWorld],
    suite: Sequence[str],
    seeds: range,
    futures: int,
    writer: LanguageModel | None = None,
    say: Say = lambda _: None,
) -> None:
    """Rehearse and carry out plan sets from training seeds; fit the critic's calibration to what happened.

    The plans of a `writer` are among them: they go wrong in other ways than made ones.
    """
    if seeds.start < FIRST_TRAINING_SEED:
        raise ValueError(f"training seeds start at {FIRST_TRAINING_SEED}, got {seeds.start}")
    sets = list(situations(make_world, suite, seeds))
    if writer is not None:
        known: dict[Request, list[Plan]] = {}
        sets = [_with_written(situation, make_world(situation.world), writer, known) for situation in sets]
        say(f"{sum(kind == WRITTEN for s in sets for kind in s.kinds)} plans of {writer.name} among them")
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


def _with_written(
    situation: Situation, world: PracticeWorld, writer: LanguageModel, known: dict[Request, list[Plan]]
) -> Situation:
    """Add the plans that a language model proposes at first sight; `known` keeps them for the same question."""
    scene, config = world.describe(situation.observation, world.spec.grid.agent), LoopConfig.preset()
    request = propose_request(world, scene, situation.goal, config, trained_on=prompt_of(writer))
    if request not in known:
        candidates = propose(world, writer, scene, situation.goal, config).candidates
        known[request] = [world.spec.parse_plan(candidate.plan) for candidate in candidates]
    return situation.with_plans(known[request], WRITTEN)


__all__ = ["RecipeConfig", "babyai", "calibrate", "debug", "fit_match", "reproduce"]
