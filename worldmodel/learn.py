"""Learning from what the agent did: a bounded number of gradient steps on stored episodes, into a new checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.adapt import copied
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.train import TrainConfig, train

MOST_EPISODES = 500
"""Episodes that are read back, the latest ones."""


@dataclass(frozen=True)
class LearnReport:
    """What a bout of learning did: mean losses of its first and last quarter, by name."""

    steps: int
    losses_before: dict[str, float]
    losses_after: dict[str, float]
    checkpoint: Path | None
    seconds: float


def learn(trained: Trained, store: ExperienceStore, *, steps: int, seed: int, rate: float = 1e-4) -> LearnReport:
    """Continue training a copy of `trained` and write it as a new checkpoint, with the files beside the old one.

    With nothing stored, nothing is learnt. Raises TrainingError and CheckpointError.
    """
    began = time.perf_counter()
    episodes = [episode for _, episode in store.recent(MOST_EPISODES, spec_hash=trained.model.spec.hash)]
    if not any(len(episode) for episode in episodes) or not steps:
        return LearnReport(0, {}, {}, None, time.perf_counter() - began)
    pupil, rows = taught(trained, episodes, steps=steps, seed=seed, rate=rate)
    quarter = max(1, len(rows) // 4)
    learnt = f"{steps} gradient steps on {len(episodes)} episodes of the agent's, from {trained.name}"
    card = {**trained.card, "learnt": learnt, "seen": seen_seeds(trained.card, episodes)}
    path = checkpoint.save_next(replace(pupil, card=card), checkpoint.stem_of(trained.name), beside=trained.path)
    return LearnReport(
        steps, mean_losses(rows[:quarter]), mean_losses(rows[-quarter:]), path, time.perf_counter() - began
    )


def taught(
    trained: Trained, episodes: Sequence[Episode], *, steps: int, seed: int, rate: float = 1e-4
) -> tuple[Trained, list[dict[str, float]]]:
    """Return a copy of `trained` that went on training on episodes, and its losses by step.

    Small batches and a small rate: a few episodes must not wash away what many have taught. Raises TrainingError.
    """
    pupil = copied(trained)
    replay = Replay(pupil.model.spec, [episode for episode in episodes if len(episode)])
    config = TrainConfig(steps=steps, batch=8, time=32, learning_rate=rate, warmup=1, final=1.0, seed=seed)
    return pupil, list(train(pupil, replay, config))


def mean_losses(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of every loss, by name."""
    names = [name for name in rows[0] if name not in ("step", "frames_per_second")]
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def seen_seeds(card: Mapping[str, Any], episodes: Iterable[Episode]) -> dict[str, list[int]]:
    """Return by world the seeds below the training seeds that were learnt from so far: evaluations leave them out."""
    seen = {world: set(seeds) for world, seeds in card.get("seen", {}).items()}
    for episode in episodes:
        if episode.seed < FIRST_TRAINING_SEED:
            seen.setdefault(episode.world, set()).add(episode.seed)
    return {world: sorted(seeds) for world, seeds in sorted(seen.items())}
