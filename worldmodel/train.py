"""Training: a world model and its controller on replayed episodes, resumable, losses as JSON lines. Knows no world."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.data import Replay


class TrainingError(RuntimeError):
    """Training can't go on; the last good state is kept."""


class TrainConfig(BaseModel):
    """How to train.

    Attributes:
        steps: gradient steps in all; the learning rate falls over them as a half cosine.
        batch, time: rows of a batch and frames of a row.
        learning_rate: peak of AdamW's rate, reached after `warmup` steps.
        final: share of the peak that is left at the end.
        clip: largest norm of the gradient.
        seed: seed of everything random.
        save_every: gradient steps between two states written to disk.
    """

    steps: int = 1000
    batch: int = 32
    time: int = 64
    learning_rate: float = 1e-3
    warmup: int = 50
    final: float = 0.03
    clip: float = 1.0
    seed: int = 0
    save_every: int = 200


def losses_of(trained: Trained, batch: Any) -> dict[str, Tensor]:
    """Return all losses of a batch by name."""
    losses, belief = trained.model.loss(batch)
    return {**losses, **trained.controller.loss(batch, belief)}


def train(
    trained: Trained, replay: Replay, config: TrainConfig, folder: Path | None = None
) -> Iterator[dict[str, float]]:
    """Train in place; yield step, frames/s and losses after every step.

    With a folder, its state.pt is taken up again where there is one, and metrics.jsonl grows. Raises TrainingError when
    a loss is no number: the state written last stays as it is.
    """
    model: Any = trained.model
    parameters = [p for module in (model, trained.controller) for p in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    model.train()
    trained.controller.train()
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate)
    torch.manual_seed(config.seed)
    rng, step = np.random.default_rng(config.seed), 0
    state_path = folder / "state.pt" if folder else None
    if state_path and state_path.exists():
        step = _restore(state_path, trained, optimizer, rng)
    while step < config.steps:
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(step, config)
        losses = losses_of(trained, replay.sample(rng, config.batch, config.time))
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            values = {name: value.item() for name, value in losses.items()}
            raise TrainingError(f"step {step}: losses {values}; the last state is kept")
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        optimizer.step()
        step += 1
        seconds = time.perf_counter() - began
        row = {"step": step, "frames_per_second": config.batch * config.time / seconds}
        row |= {name: value.item() for name, value in losses.items()}
        if folder:
            with (folder / "metrics.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")
            if step % config.save_every == 0 or step == config.steps:
                _keep(folder / "state.pt", trained, optimizer, rng, step)
        yield row
    model.eval()
    trained.controller.eval()


def _schedule(step: int, config: TrainConfig) -> float:
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _keep(path: Path, trained: Trained, optimizer: torch.optim.Optimizer, rng: np.random.Generator, step: int) -> None:
    model: Any = trained.model
    state = {
        "model": model.state_dict(),
        "controller": trained.controller.state_dict(),
        "optimizer": optimizer.state_dict(),
        "torch": torch.get_rng_state(),
        "numpy": json.dumps(rng.bit_generator.state),
        "step": step,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def _restore(path: Path, trained: Trained, optimizer: torch.optim.Optimizer, rng: np.random.Generator) -> int:
    state = torch.load(path, weights_only=True)
    model: Any = trained.model
    model.load_state_dict(state["model"])
    trained.controller.load_state_dict(state["controller"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch"])
    rng.bit_generator.state = json.loads(state["numpy"])
    return int(state["step"])
