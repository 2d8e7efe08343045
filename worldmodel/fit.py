"""Fit an ensemble to episodes: its scales are measured, then it is trained on from where it is."""

from __future__ import annotations

from collections.abc import Sequence

from gedanken.worldmodel.checkpoint import TrainedDynamics
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.ensemble import EnsembleModel
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.train import TrainConfig, train

CLIP = 1000.0
"""Largest norm of the gradient: a sharp likelihood's is near a hundred; cut at 1, the ends of episodes go unlearnt."""


def fit(model: EnsembleModel, episodes: Sequence[Episode], *, steps: int, seed: int) -> dict[str, float]:
    """Train in place and return the last losses by name. Raises TrainingError where a loss is no number."""
    replay = Replay(model.spec, episodes)
    columns = replay.columns
    inside = ~columns["is_first"][1:]
    seen, reward = columns["observation"], columns["reward"]
    model.measure(seen[:-1][inside], seen[1:][inside], reward[1:][inside])
    config = TrainConfig(
        steps=steps, batch=32, time=8, anywhere=True, learning_rate=5e-3, clip=CLIP, warmup=20, seed=seed
    )
    losses: dict[str, float] = {}
    for row in train(TrainedDynamics(model, "fit"), replay, config):  # type: ignore[arg-type]
        losses = row
    model.requires_grad_(False)
    return {name: value for name, value in losses.items() if name not in ("step", "frames_per_second")}
