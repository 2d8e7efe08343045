"""What is foretold of numbers beside what really happened, many actions ahead without looking. Knows no suite.

Open loop means: from what was seen at a moment, imagine the episode's real actions. Beside the learned model stand a
linear one, fitted to the same episodes, and a world in which nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gedanken.worldmodel.ensemble import EnsembleModel
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.protocol import Belief, VectorDynamics
from gedanken.worlds.spec import WorldSpec

HORIZONS = (1, 2, 4, 8, 16, 32, 64)
STRIDE = 8
"""Frames from one beginning to the next."""

FUTURES = 20
INSIDE = (0.05, 0.95)
"""Quantiles of the futures between which nine tenths of what happens should lie."""

Numbers = NDArray[np.float64]


class Foreteller(Protocol):
    """Says what comes of actions, from what is seen."""

    def __call__(self, seen: Tensor, actions: Tensor) -> Iterator[Tensor]:
        """Yield futures ``[F, n, V]`` after each of the ``actions [n, H]`` or ``[n, H, A]``, from ``seen [n, V]``."""
        ...


class Imagined:
    """Futures of a learned model, each with a member of its own."""

    def __init__(self, model: VectorDynamics, seed: int = 0) -> None:
        self.model, self.seed = model, seed

    @torch.no_grad()
    def __call__(self, seen: Tensor, actions: Tensor) -> Iterator[Tensor]:
        """See `Foreteller`."""
        belief = believed(self.model, seen.repeat_interleave(FUTURES, 0))
        state = self.model.suppose(belief, torch.zeros(len(seen) * FUTURES, 0, 0))  # members in turn, for every row
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for ahead in range(actions.shape[1]):
                state = self.model.imagine(state, actions[:, ahead].repeat_interleave(FUTURES, 0))
                yield self.model.readout(state).observation.view(len(seen), FUTURES, -1).transpose(0, 1)


class Linear:
    """One linear map from numbers and action to the next numbers, by least squares on episodes."""

    def __init__(self, spec: WorldSpec, episodes: Sequence[Episode]) -> None:
        self.spec = spec
        before = np.concatenate([e.observations[:-1] for e in episodes]).astype(np.float64)
        after = np.concatenate([e.observations[1:] for e in episodes]).astype(np.float64)
        inputs = self._inputs(torch.from_numpy(before), torch.from_numpy(np.concatenate([e.actions for e in episodes])))
        self.weights = torch.from_numpy(np.linalg.lstsq(inputs.numpy(), after, rcond=None)[0])

    def __call__(self, seen: Tensor, actions: Tensor) -> Iterator[Tensor]:
        """See `Foreteller`."""
        now = seen.double()
        for ahead in range(actions.shape[1]):
            now = (self._inputs(now, actions[:, ahead]) @ self.weights).clamp(-1e6, 1e6)
            yield now.float()[None]

    def _inputs(self, seen: Tensor, action: Tensor) -> Tensor:
        count = len(self.spec.actions)
        done = action.double() if self.spec.controls else torch.nn.functional.one_hot(action.long(), count).double()
        return torch.cat([seen.double(), done, torch.ones(len(seen), 1).double()], 1)


def frozen(seen: Tensor, actions: Tensor) -> Iterator[Tensor]:
    """See `Foreteller`: nothing ever changes."""
    for _ in range(actions.shape[1]):
        yield seen[None]


def believed(model: VectorDynamics, seen: Tensor) -> Belief:
    """Believe what is seen, ``[n, V]``."""
    nothing, first = torch.zeros(len(seen)), torch.ones(len(seen), dtype=torch.bool)
    return model.observe(model.initial(len(seen)), nothing, seen, first)


def open_loop(foretell: Foreteller, episode: Episode, scale: Tensor) -> dict[str, dict[str, Any]]:
    """Return, by horizon, sums over beginnings: how many, absolute errors by variable, and how many lay inside.

    Errors are of the futures' mean, in the variables' units; `error` is the mean over variables in standard deviations
    ``scale [V]``. Of one future alone nothing lies inside.
    """
    length, seen = len(episode), torch.from_numpy(episode.observations).float()
    begins = torch.arange(0, length, STRIDE)
    found: dict[str, dict[str, Any]] = {}
    ahead = torch.arange(max(HORIZONS))
    actions = torch.from_numpy(episode.actions)[(begins[:, None] + ahead).clamp(max=length - 1)]
    for now, futures in enumerate(foretell(seen[begins], actions), 1):
        left = begins + now <= length
        if now not in HORIZONS or not bool(left.any()):
            continue
        real, told = seen[begins[left] + now], futures[:, left]
        off = (told.mean(0) - real).abs()
        low, high = torch.quantile(told, torch.tensor(INSIDE), dim=0)
        inside = (real >= low - 1e-6) & (real <= high + 1e-6) if len(told) > 1 else torch.zeros_like(real)
        found[str(now)] = {
            "n": int(left.sum()),
            "error": float((off / scale).mean(1).sum()),
            "variables": off.sum(0).tolist(),
            "inside": float(inside.float().mean(1).sum()),
        }
    return found


def strip(foretell: Foreteller, episode: Episode) -> list[list[list[float]]]:
    """Return what was foretold from an episode's first moment on beside what happened, to draw it: [T, V, 4].

    The four are what happened, the futures' mean, and the quantiles `INSIDE`, to four digits, after every action that
    comes before the farthest horizon.
    """
    actions, real = torch.from_numpy(episode.actions)[None, : max(HORIZONS)], torch.from_numpy(episode.observations)
    found = []
    for now, futures in enumerate(foretell(real[:1].float(), actions), 1):
        told = futures[:, 0]
        low, high = torch.quantile(told, torch.tensor(INSIDE), dim=0)
        numbers = torch.stack([real[now].float(), told.mean(0), low, high], 1).tolist()
        found.append([[float(f"{number:.4g}") for number in row] for row in numbers])
    return found


@torch.no_grad()
def one_ahead(model: EnsembleModel, episode: Episode, seed: int = 0) -> dict[str, Any]:
    """Return sums over transitions of surprise and of the reward's error, and the chances of an end beside what ended.

    Surprise is in nats, with each number's standard deviation as its unit.
    """
    seen, actions = torch.from_numpy(episode.observations).float(), torch.from_numpy(episode.actions)
    belief: Any = believed(model, seen[:-1])  # type: ignore[arg-type]
    nats = model.surprise(belief, actions, seen[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = model.suppose(belief.repeat(FUTURES), torch.zeros(len(actions) * FUTURES, 0, 0))
        told = model.readout(model.imagine(state, actions.repeat_interleave(FUTURES, 0)))
    reward, going = (part.view(-1, FUTURES).mean(1) for part in (told.reward, told.continues))
    over = torch.zeros(len(actions), dtype=torch.bool)
    over[-1] = episode.terminated
    return {
        "frames": len(actions),
        "nats": float(nats.sum()),
        "reward": float((reward - torch.from_numpy(episode.rewards)).abs().sum()),
        "ending": [
            [round(1 - chance, 4), happened] for chance, happened in zip(going.tolist(), over.tolist(), strict=True)
        ],
    }
