"""Learning anew from what really happened: the world model first, then the controller in its imagination.

For a world that does not behave as it did where a checkpoint learned. First what the model is sure of is doubted: where
it judges itself what happened, as the `spatial` family does, it would go on to see what it believes. Then it takes
gradient steps on real episodes, the policy none. Then futures are imagined from their beliefs: the controller is taught
to do there what it always meant to (`intentions`), and rewarded for steps that it achieves. Without imagination the
policy can only be cloned from what it did itself when that succeeded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from gedanken.worldmodel.aggregate import aggregate
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import Practice
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.imagination import ImaginationConfig, imagined
from gedanken.worldmodel.intentions import Teacher, teacher
from gedanken.worldmodel.protocol import Batch
from gedanken.worldmodel.train import Learner, TrainConfig, train
from gedanken.worlds.protocol import DemonstratedWorld


@runtime_checkable
class Forgetting(Protocol):
    """A world model whose targets rest on what it believes already."""

    def forget(self, share: float) -> None:
        """Lose a share of the certainty about what actions do."""
        ...


class AdaptConfig(BaseModel):
    """How much to learn.

    Attributes:
        steps: gradient steps on real episodes, with `rate`.
        doubt: what is left of the model's certainty about what actions do, before them (after Ash and Adams, "On
            Warm-Starting Neural Network Training", 2020).
        dreams: gradient steps on imagined futures after them, with `dream_rate`; 0 for none.
        batch, time: rows of a batch and frames of a row.
        imagination: how futures are imagined.
        seed: seed of everything random.
    """

    steps: int = Field(default=100, ge=1)
    rate: float = Field(default=2e-3, gt=0)
    doubt: float = Field(default=0.05, gt=0, le=1)
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


SURPRISE = 120.0
"""Nats of surprise in one action that are never called startling."""

LATEST = 50
"""Episodes, the latest ones, that say how much surprise is usual where a model learned anew."""

SIZES = {
    "debug": AdaptConfig(steps=2, dreams=1, batch=2, time=8, imagination=ImaginationConfig(futures=4, horizon=2)),
    "small": AdaptConfig(),
    "base": AdaptConfig(steps=400, dreams=200),
}
"""How much to learn, by name."""


@dataclass(frozen=True)
class Modeller:
    """Everything but the policy on real episodes; a `Learner`."""

    trained: Trained

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Return the networks by name; the policy's get no gradient."""
        return self.trained.parts

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of `Trained`, but the policy's."""
        return {name: loss for name, loss in self.trained.losses(batch).items() if name != "policy"}


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
        for module in self.trained.parts.values():
            module.eval()  # what is usual is learned from what is real
        with torch.no_grad():
            _, belief = self.trained.model.loss(batch)
        return imagined(self.trained.controller, batch, belief, self.config, self.teacher)


def copied(trained: Trained) -> Trained:
    """Return a copy whose weights are its own."""
    model = copy.deepcopy(trained.model)
    controller = copy.deepcopy(trained.controller)
    controller.attach(model)
    return Trained(model, controller, trained.name, trained.path, dict(trained.card))


def own_episodes(
    make_world: Callable[[str], DemonstratedWorld], world: str, seeds: Sequence[int], controller: Controller
) -> Iterator[Episode]:
    """Yield an episode for each training seed: the controller pursues the level's mission, and nobody advises it."""
    practice = Practice(missions=1.0, jostled=0.0, advised=False)
    return aggregate(make_world, [(world, 1.0)], seeds, controller, practice)


def adapt(
    trained: Trained,
    episodes: Sequence[Episode],
    config: AdaptConfig,
    on_step: Callable[[dict[str, float]], object] = lambda row: None,
) -> Trained:
    """Return a copy that has learned; `on_step` hears the losses of every gradient step.

    Raises ValueError without episodes, and TrainingError.
    """
    pupil, replay = copied(trained), Replay(trained.model.spec, [episode for episode in episodes if len(episode)])
    if isinstance(pupil.model, Forgetting):
        pupil.model.forget(1 - config.doubt)
    real = Modeller(pupil) if config.dreams else pupil
    stages: list[tuple[Learner, TrainConfig]] = [(real, config.training(config.steps, config.rate))]
    if config.dreams:
        dreamer = Dreamer(pupil, teacher(copied(trained).controller.eval(), pupil.model), config.imagination)
        stages.append((dreamer, config.training(config.dreams, config.dream_rate)))
    for learner, training in stages:
        for row in train(learner, replay, training):
            on_step(row)
    return pupil


def startling(trained: Trained, episodes: Sequence[Episode], times: float = 2.0) -> float:
    """Return the nats of surprise from which an action is like none in episodes: so many times the most there was.

    Twice where episodes are few: what was learned from them is surprised by much that is as it should be.
    """
    model, most = trained.model, 0.0
    with torch.no_grad():
        for episode in episodes:
            views, actions = torch.from_numpy(episode.observations), torch.from_numpy(episode.actions).long()
            belief = model.observe(model.initial(1), actions[:1], views[:1], torch.tensor([True]))
            for action, view in zip(actions[:, None], views[1:, None], strict=True):
                most = max(most, float(model.surprise(belief, action, view)))
                belief = model.observe(belief, action, view, torch.tensor([False]))
    return max(SURPRISE, times * most)


__all__ = ["LATEST", "SIZES", "AdaptConfig", "adapt", "copied", "own_episodes", "startling"]
