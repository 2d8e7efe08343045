"""Training: world model and controller on replayed episodes, resumable, losses as JSON lines. Knows no world."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.precision import rounding
from gedanken.worldmodel.protocol import Batch


class TrainingError(RuntimeError):
    """Training can't go on; the last good state is kept."""


class Learner(Protocol):
    """What is trained: networks by name, and their losses."""

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Return the networks by name."""
        ...

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return all losses of a batch by name."""
        ...


class TrainConfig(BaseModel):
    """How to train.

    Attributes:
        steps: gradient steps in all; the learning rate falls over them as a half cosine.
        batch, time: rows of a batch and frames of a row.
        anywhere: rows begin at any frame, not only where an episode begins.
        learning_rate: peak of AdamW's rate, reached after `warmup` steps.
        final: share of the peak that is left at the end.
        clip: largest norm of the gradient.
        seed: seed of everything random.
        save_every: gradient steps between two states written to disk.
        rounded: products in bfloat16 where the machine computes in it natively; a training goes on elsewhere, but its
            losses are the same to the last digit on machines of one kind only.
    """

    steps: int = 1000
    batch: int = 32
    time: int = 64
    anywhere: bool = False
    learning_rate: float = 1e-3
    warmup: int = 50
    final: float = 0.03
    clip: float = 1.0
    seed: int = 0
    save_every: int = 200
    rounded: bool = False


def train(
    trained: Learner, replay: Replay, config: TrainConfig, folder: Path | None = None
) -> Iterator[dict[str, float]]:
    """Train in place; yield step, frames/s and losses after every step.

    With a folder, its state.pt is taken up again where there is one, and metrics.jsonl grows. Raises TrainingError when
    a loss is no number: the state written last stays as it is.
    """
    parts = trained.parts
    parameters = [p for module in parts.values() for p in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    for module in parts.values():
        module.train()
    optimizer = torch.optim.AdamW(_paced(parts), lr=config.learning_rate)
    torch.manual_seed(config.seed)
    rng, step = np.random.default_rng(config.seed), 0
    state_path = folder / "state.pt" if folder else None
    if state_path and state_path.exists():
        step = _restore(state_path, parts, optimizer, rng)
    while step < config.steps:
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * group["pace"] * _schedule(step, config)
        batch = replay.sample(rng, config.batch, config.time, anywhere=config.anywhere)
        with rounding(parameters[0].device.type, config.rounded):
            losses = trained.losses(batch)
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
                _keep(folder / "state.pt", parts, optimizer, rng, step)
        yield row
    for module in parts.values():
        module.eval()


def _paced(parts: dict[str, nn.Module]) -> list[dict[str, Any]]:
    """Return the parameters in groups: a module's `pace` multiplies its learning rate, 1 where it has none."""
    paces = {p: 1.0 for module in parts.values() for p in module.parameters()}
    for module in parts.values():
        for inner in module.modules():
            pace = getattr(inner, "pace", None)
            paces.update({p: pace for p in inner.parameters() if isinstance(pace, float)})
    return [{"params": [p for p in paces if paces[p] == pace], "pace": pace} for pace in sorted(set(paces.values()))]


def _schedule(step: int, config: TrainConfig) -> float:
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _keep(
    path: Path, parts: dict[str, nn.Module], optimizer: torch.optim.Optimizer, rng: np.random.Generator, step: int
) -> None:
    state = {name: module.state_dict() for name, module in parts.items()} | {
        "optimizer": optimizer.state_dict(),
        "torch": torch.get_rng_state(),
        "numpy": json.dumps(rng.bit_generator.state),
        "step": step,
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def _restore(
    path: Path, parts: dict[str, nn.Module], optimizer: torch.optim.Optimizer, rng: np.random.Generator
) -> int:
    state = torch.load(path, weights_only=True)
    for name, module in parts.items():
        module.load_state_dict(state[name])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch"])
    rng.bit_generator.state = json.loads(state["numpy"])
    return int(state["step"])
