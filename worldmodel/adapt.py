"""Learning anew from what really happened: the world model first, then the controller in its imagination.

For a world that does not behave as it did where a checkpoint learned. First everything takes gradient steps on real
episodes, the controller on what it did when that succeeded. Then futures are imagined from their beliefs: the
controller is taught to do there what it always meant to (`intentions`), and rewarded for steps that it achieves.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.imagination import ImaginationConfig, imagined
from gedanken.worldmodel.intentions import Teacher, teacher
from gedanken.worldmodel.protocol import Batch
from gedanken.worldmodel.train import TrainConfig, train


class AdaptConfig(BaseModel):
    """How much to learn.

    Attributes:
        steps: gradient steps on real episodes, with `rate`.
        dreams: gradient steps on imagined futures after them, with `dream_rate`; 0 for none.
        batch, time: rows of a batch and frames of a row.
        imagination: how futures are imagined.
        seed: seed of everything random.
    """

    steps: int = Field(default=120, ge=1)
    rate: float = Field(default=2e-3, gt=0)
    dreams: int = Field(default=60, ge=0)
    dream_rate: float = Field(default=1e-3, gt=0)
    batch: int = 16
    time: int = 32
    imagination: ImaginationConfig = ImaginationConfig()
    seed: int = 0

    def training(self, steps: int, rate: float) -> TrainConfig:
        """Return how one of the two stages is trained."""
        return TrainConfig(
            steps=steps,
            batch=self.batch,
            time=self.time,
            learning_rate=rate,
            seed=self.seed,
            warmup=5,
            final=0.1,
            anywhere=True,
        )


@dataclass(frozen=True)
class Dreamer:
    """The controller in imagination, its world model left as it is; a `Learner`."""

    trained: Trained
    teacher: Teacher | None
    config: ImaginationConfig

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Return the networks by name; those of the world model that only predict get no gradient."""
        return self.trained.parts

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses on futures imagined from a batch."""
        with torch.no_grad():
            _, belief = self.trained.model.loss(batch)
        return imagined(self.trained.controller, batch, belief, self.config, self.teacher)


def copied(trained: Trained) -> Trained:
    """Return a copy whose weights are its own."""
    model = copy.deepcopy(trained.model)
    controller = copy.deepcopy(trained.controller)
    controller.attach(model)
    return Trained(model, controller, trained.name, trained.path, dict(trained.card))


def adapt(
    trained: Trained, episodes: Sequence[Episode], config: AdaptConfig
) -> Iterator[tuple[dict[str, float], Trained]]:
    """Yield the losses of every gradient step and the copy that learns; the last one yielded is the result.

    Raises ValueError without episodes, and TrainingError.
    """
    pupil, replay = copied(trained), Replay(trained.model.spec, [episode for episode in episodes if len(episode)])
    for row in train(pupil, replay, config.training(config.steps, config.rate)):
        yield row, pupil
    if config.dreams:
        before = copied(trained).controller.eval()
        dreamer = Dreamer(pupil, teacher(before, pupil.model), config.imagination)
        for row in train(dreamer, replay, config.training(config.dreams, config.dream_rate)):
            yield row, pupil


__all__ = ["AdaptConfig", "adapt", "copied"]
