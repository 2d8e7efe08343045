"""Fit an ensemble to episodes: its scales are measured, then it is trained on; or teach it a little more, carefully."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch

from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.adapt import SURPRISE
from gedanken.worldmodel.checkpoint import TrainedDynamics
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.ensemble import EnsembleConfig, EnsembleModel
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.learn import MOST_EPISODES, LearnReport, mean_losses, seen_seeds
from gedanken.worldmodel.pictured import SIZES as PICTURES
from gedanken.worldmodel.pictured import PicturesModel
from gedanken.worldmodel.protocol import VectorDynamics
from gedanken.worldmodel.train import TrainConfig, train
from gedanken.worlds.spec import WorldSpec

CLIP = 1000.0
"""Largest norm of the gradient: a sharp likelihood's is near a hundred; cut at 1, the ends of episodes go unlearnt."""

ROWS = 4096
"""Transitions that are looked at together."""


Fitted = EnsembleModel | PicturesModel
"""What can be fitted to episodes."""


def untrained(spec: WorldSpec, size: str, ensemble: EnsembleConfig) -> Fitted:
    """Make the model of a world of numbers, or of a picture: then with an eye of that size, debug, small or base."""
    if spec.picture:
        return PicturesModel(spec, PICTURES[size].model_copy(update={"ensemble": ensemble}))
    return EnsembleModel(spec, ensemble)


def fit(model: Fitted, episodes: Sequence[Episode], *, steps: int, seed: int) -> dict[str, float]:
    """Train in place and return the last losses by name. Raises TrainingError where a loss is no number.

    Where there is a picture, the eye is trained first, as many steps, and the ensemble on what it then sees.
    """
    if isinstance(model, PicturesModel):
        blurred = model.learn_to_see(episodes, steps=steps, seed=seed)
        return fit(model.inner, model.encoded(episodes), steps=steps, seed=seed) | {"picture": blurred}
    replay = Replay(model.spec, episodes)
    columns = replay.columns
    inside = ~columns["is_first"][1:]
    seen = columns["observation"]
    model.measure(seen[:-1][inside], *(columns[name][1:][inside] for name in ("observation", "reward", "continues")))
    went_on = columns["continues"] > 0
    seen_then, came_with, first = (columns[name][went_on] for name in ("observation", "reward", "is_first"))
    model.remember(seen_then.float(), came_with.float(), first, torch.Generator().manual_seed(seed))
    config = TrainConfig(
        steps=steps, batch=32, time=8, anywhere=True, learning_rate=5e-3, clip=CLIP, warmup=20, seed=seed
    )
    losses: dict[str, float] = {}
    for row in train(TrainedDynamics(cast(VectorDynamics, model), "fit"), replay, config):
        losses = row
    model.requires_grad_(False)
    return {name: value for name, value in losses.items() if name not in ("step", "frames_per_second")}


def startling(model: Fitted, episodes: Sequence[Episode]) -> float:
    """Return the nats of surprise from which a transition is like none so far: twice the most of those learned from."""
    if isinstance(model, PicturesModel):
        return startling(model.inner, model.encoded(episodes))
    replay, most = Replay(model.spec, episodes), 0.0
    inside = ~replay.columns["is_first"][1:]
    seen, action = replay.columns["observation"], replay.columns["action"]
    before, after, done = seen[:-1][inside], seen[1:][inside], action[1:][inside]
    for start in range(0, len(before), ROWS):
        rows = slice(start, start + ROWS)
        belief = replace(model.initial(len(before[rows])), values=before[rows].float())
        most = max(most, float(model.surprise(belief, done[rows], after[rows]).max()))
    return max(SURPRISE, 2 * most)


def learn_more(
    trained: TrainedDynamics, store: ExperienceStore, *, steps: int, seed: int, rate: float = 1e-4
) -> LearnReport:
    """Continue training a copy on what is stored, its scales and its eye as they are, and write it as a new checkpoint.

    As `learn.learn` does with a controller: a small rate, and nothing where nothing is stored. Raises as that does.
    """
    began, spec = time.perf_counter(), trained.model.spec
    episodes = [episode for _, episode in store.recent(MOST_EPISODES, spec_hash=spec.hash) if len(episode)]
    if not episodes or not steps:
        return LearnReport(0, {}, {}, None, time.perf_counter() - began)
    pupil = replace(trained, model=copy.deepcopy(trained.model))
    config = TrainConfig(
        steps=steps, batch=32, time=8, anywhere=True, learning_rate=rate, clip=CLIP, warmup=1, final=1.0, seed=seed
    )
    taught, seen = pupil, episodes
    if isinstance(pupil.model, PicturesModel):
        taught, seen = replace(pupil, model=cast(VectorDynamics, pupil.model.inner)), pupil.model.encoded(episodes)
    rows = list(train(taught, Replay(taught.model.spec, seen), config))
    quarter = max(1, len(rows) // 4)
    learnt = f"{steps} gradient steps on {len(episodes)} stored episodes, from {trained.name}"
    card = {**trained.card, "learnt": learnt, "seen": seen_seeds(trained.card, episodes)}
    path = checkpoint.save_next(replace(pupil, card=card), checkpoint.stem_of(trained.name))
    return LearnReport(
        steps, mean_losses(rows[:quarter]), mean_losses(rows[-quarter:]), path, time.perf_counter() - began
    )
