"""The recipe of a shipped checkpoint: practise, train, be corrected, train on, learn what goals mean, calibrate.

Every stage leaves its result in the folder and is skipped when that is there, so an interrupted run goes on.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from gedanken.agent.calibrate import calibrate
from gedanken.agent.critic import Critic
from gedanken.agent.goal_match import GoalMatch, GoalMatchConfig, train_goal_match
from gedanken.agent.goal_practice import Heard, listen
from gedanken.agent.llm.protocol import Encoder, LanguageModel
from gedanken.agent.recipes import Correction, RecipeConfig
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.adapt import copied, startling
from gedanken.worldmodel.aggregate import aggregate
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.episode import EXPERT, Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.train import TrainConfig, train
from gedanken.worlds.protocol import PracticeWorld
from gedanken.worlds.spec import WorldSpec

Say = Callable[[str], None]
BLOCK = 10_000_000
"""Training seeds that each stage has to itself."""

STAGES = "stages.jsonl"
"""Seconds that each stage took."""

SURPRISED, STARTLED = 300, 1.1
"""Episodes by which it is known how much surprise is usual, and how many times the most of it is not."""


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
        seeds, practice = range(first, first + config.episodes), config.practice()
        with _timed(folder, "practise"):
            shown = partial(practise, make_world, config.levels, practice=practice, workers=config.workers)
            fill(store, EXPERT, seeds, shown, say)
        with _timed(folder, "train"):
            replay = _replay(store, spec, config)
            trained = _train(untrained, replay, config, config.steps, 1e-3, 0, folder, say)
        means = {correction.mean_with for correction in config.corrections}
        after: dict[int, Trained] = {}
        for number, correction in enumerate(config.corrections, 1):
            seeds = range(first + number * BLOCK // 4, first + number * BLOCK // 4 + correction.episodes)
            practice = correction.practice()
            with _timed(folder, f"practise, corrected, {number}"):
                corrected = partial(_corrected, make_world, correction, trained, practice, number, config.workers)
                fill(store, f"agent {number}", seeds, corrected, say)
            with _timed(folder, f"train on, {number}"):
                replay = _replay(store, spec, config, f"agent {number}" if correction.alone else None)
                trained = _train(trained, replay, config, correction.steps, correction.rate, number, folder, say)
            if correction.mean_with is not None:
                to_mean(trained, after[correction.mean_with])
            if number in means:
                after[number] = copied(trained)
        usual = [episode for _, episode in itertools.islice(store.episodes(), SURPRISED)]
        limit = startling(trained, usual, STARTLED)
        frames = sum(len(episode) + 1 for _, episode in store.episodes())
        agents = sum(n for (_, source), n in store.counts().items() if source != EXPERT)
    with _timed(folder, "critic"):
        critic = _critic(config, spec, make_world, encoder(), trained, first + 2 * BLOCK, folder, say)
    model: Any = trained.model
    mean = "".join(
        f"; correction {number} ends with the mean of its weights and those after correction {correction.mean_with}"
        for number, correction in enumerate(config.corrections, 1)
        if correction.mean_with
    )
    lines = (folder / STAGES).read_text(encoding="utf-8").splitlines()
    steps = [config.steps, *(correction.steps for correction in config.corrections)]
    card = {
        "data": f"{config.episodes} episodes of the demonstrator, {agents} of the agent, corrected ({frames} frames)",
        **(
            {"begins_from": f"the weights of {config.begins_from}, whose data count, too"} if config.begins_from else {}
        ),
        "training": f"{' + '.join(map(str, steps))} gradient steps of {math.prod(config.rows)} frames,"
        f" seed {config.seed}{mean}",
        "parameters": sum(p.numel() for module in (model, trained.controller) for p in module.parameters()),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "seconds": round(sum(json.loads(line)["seconds"] for line in lines)),
        "command": config.command(),
        "levels": [name for name, _ in config.levels],
        "horizon": config.horizon,
        "patience": config.acting_patience,
        "surprise": round(limit, 1),
        "licence": "Apache-2.0",
    }
    path = checkpoint.save(Trained(trained.model, trained.controller, name, None, card), folder / name)
    pairs = f"of {config.heard} plans those carried out, under a dozen goals each"
    critic.save(path, {"pairs": pairs, "fit": critic.fit})
    say(f"checkpoint in {path}, after {card['seconds']} s")
    return path


def to_mean(trained: Trained, other: Trained) -> None:
    """Make the weights of a checkpoint the mean of its own and another one's; whole numbers stay as they are."""
    for name, part in trained.parts.items():
        theirs = other.parts[name].state_dict()
        mine = part.state_dict()
        part.load_state_dict({k: (v + theirs[k]) / 2 if v.is_floating_point() else v for k, v in mine.items()})


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
    untrained = Trained(model, controller, config.family)
    if config.begins_from:
        checkpoint.begin_from(config.begins_from, untrained)
    return untrained


def fill(
    store: ExperienceStore,
    source: str,
    seeds: range,
    play: Callable[[Sequence[int]], Iterable[Episode]],
    say: Say = lambda _: None,
    together: int = 1000,
) -> None:
    """Store a stage's episodes, so many `together`; played are the seeds of which none is there."""
    there = store.seeds_from(source)
    left, done = [seed for seed in seeds if seed not in there], len(there)
    block: list[Episode] = []
    for episode in play(left) if left else ():
        block.append(episode)
        if len(block) == together:
            store.append_many(block)
            block, done = [], done + together
            say(f"{done} of {len(seeds)} {source} episodes")
    store.append_many(block)


def _corrected(
    make_world: Callable[[str], PracticeWorld],
    correction: Correction,
    trained: Trained,
    practice: Practice,
    number: int,
    workers: int,
    seeds: Sequence[int],
) -> Iterable[Episode]:
    for episode in aggregate(make_world, correction.levels, seeds, trained.controller, practice, workers=workers):
        yield replace(episode, source=f"agent {number}")


def _replay(store: ExperienceStore, spec: WorldSpec, config: RecipeConfig, source: str | None = None) -> Replay:
    kept = (episode for _, episode in store.episodes(spec_hash=spec.hash) if source in (None, episode.source))
    episodes = [episode for episode in kept if episode.seed >= FIRST_TRAINING_SEED]  # no person's are among them
    order = np.random.default_rng(config.seed).permutation(len(episodes))
    return Replay(spec, (episodes[i] for i in order))


def _train(
    trained: Trained,
    replay: Replay,
    config: RecipeConfig,
    steps: int,
    rate: float,
    number: int,
    folder: Path,
    say: Say,
) -> Trained:
    where, (batch, time) = folder / str(number), config.rows
    where.mkdir(exist_ok=True)
    how = TrainConfig(steps=steps, learning_rate=rate, seed=config.seed + number, batch=batch, time=time, rounded=True)
    for row in train(trained, replay, how, where):
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
    writer = encoder if isinstance(encoder, LanguageModel) else None
    calibrate(critic, trained.controller, make_world, config, calibration_seeds(config), writer, say)
    return critic


def calibration_seeds(config: RecipeConfig) -> range:
    """Return the training seeds of the situations that the critic is calibrated on."""
    first = FIRST_TRAINING_SEED + (4 * config.seed + 3) * BLOCK
    return range(first, first + config.situations)


def fit_match(
    spec: WorldSpec, encoder: Encoder, heard: Sequence[Heard], epochs: int, seed: int, say: Say = lambda _: None
) -> GoalMatch:
    """Train the goal's head on what was heard."""
    torch.manual_seed(seed)
    match = GoalMatch(spec, GoalMatchConfig())
    for row in train_goal_match(match, encoder, heard, epochs=epochs, seed=seed):
        say(f"goals, epoch {row['epoch']:.0f}: loss {row['loss']:.4f}, right {row['accuracy']:.4f}")
    return match


__all__ = ["calibration_seeds", "fill", "fit_match", "reproduce"]
