"""The eye: a convolutional network that sees a picture as a few numbers, and draws from them what it saw.

A variational autoencoder (Kingma and Welling, 2014) whose decoder's deviations are what its errors are (Rybkin et al.,
"Simple and effective VAE training with calibrated decoders", 2021). It sees one frame at a time, and how its numbers
changed from frame to frame tells motion. What is small in a picture may matter, so it learns beside to read off what is
told in training, the reward and the end of an episode among it, and to see so that what comes next can be foretold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor, nn

from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.train import TrainingError
from gedanken.worlds.pictures import Picture

BATCH = 32
"""Moments of a gradient step."""

ROWS = 256
"""Pictures that are looked at together."""

_FINEST, _SURE = 1e-6, 1e-3  # mean squared errors of pixels, 0…1, and of what is told; smaller ones count no more
_DRAWN = 4.0  # how much the picture counts beside each number that is told
_RATE = 3e-3
_UNSURE = -3.0  # logarithm of the numbers' variance before anything was learned


class EyeConfig(BaseModel):
    """Sizes of the eye.

    Attributes:
        latents: numbers that a picture is seen as.
        channels: of the convolutions, each of which halves height and width.
        hidden: features from which what is told is read off.
    """

    latents: int = Field(default=24, ge=1)
    channels: tuple[int, int, int, int] = (16, 32, 32, 64)
    hidden: int = Field(default=64, ge=1)


class Eye(nn.Module):
    """See the module; `told` numbers are read off, and after them the reward on arriving and whether it ended there."""

    def __init__(self, picture: Picture, actions: int, config: EyeConfig) -> None:
        super().__init__()
        self.picture, self.config = picture, config
        told, sizes, latents = len(picture.read) + 2, [*config.channels], config.latents
        side = picture.size // 2 ** len(sizes)
        down: list[nn.Module] = []
        for inputs, outputs in zip([3 + 2, *sizes[:-1]], sizes, strict=True):
            down += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.SiLU()]
        last = nn.Linear(sizes[-1] * side**2, 2 * latents)
        nn.init.constant_(last.bias[latents:], _UNSURE)
        self.down = nn.Sequential(*down, nn.Flatten(), last)
        up: list[nn.Module] = [nn.Linear(latents, sizes[-1] * side**2), nn.Unflatten(1, (sizes[-1], side, side))]
        for inputs, outputs in zip(sizes[::-1], [*sizes[-2::-1], 3], strict=True):
            up += [nn.SiLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)]
        self.up = nn.Sequential(*up)
        self.reader = _two_layers(latents, config.hidden, told)
        self.step = _two_layers(latents * picture.frames + actions, config.hidden, latents)
        across = torch.linspace(-1, 1, picture.size)
        self.register_buffer("where", torch.stack(torch.meshgrid(across, across, indexing="ij")), persistent=False)
        self.register_buffer("usual", torch.zeros(3, picture.size, picture.size))
        self.register_buffer("mean", torch.zeros(told))
        self.register_buffer("scale", torch.ones(told))

    where: Tensor  # [2, size, size] row and column of each pixel: convolutions alone don't know (Liu et al., 2018)
    usual: Tensor  # the mean picture
    mean: Tensor
    scale: Tensor

    @torch.no_grad()
    def see(self, frames: Tensor) -> Tensor:
        """Return the numbers that frames [B, size, size, 3], 0…255, are seen as, [B, latents]."""
        return torch.cat([self._look(self._shown(rows))[0] for rows in torch.split(frames, ROWS)])

    def read(self, latents: Tensor) -> Tensor:
        """Return what is read off, [B, R], in its units."""
        told: Tensor = self.reader(latents) * self.scale + self.mean
        return told[..., :-2]

    @torch.no_grad()
    def draw(self, latents: Tensor) -> Tensor:
        """Return the frame that numbers are drawn as, [B, size, size, 3] uint8."""
        drawn: Tensor = (self.up(latents) + self.usual).clamp(0, 1) * 255
        return drawn.round().to(torch.uint8).permute(0, 2, 3, 1)

    def _shown(self, frames: Tensor) -> Tensor:
        """Return frames without the mean picture, [B, 3, size, size]."""
        return frames.float().div(255).permute(0, 3, 1, 2) - self.usual

    def _look(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and logarithms of variances of the numbers, [B, latents] each."""
        mean, spread = self.down(torch.cat([shown, self.where.expand(len(shown), -1, -1, -1)], 1)).chunk(2, 1)
        return mean, spread.clamp(-8, 4)

    # ---- learning --------------------------------------------------------------------------------------------------

    def loss(self, frames: Tensor, done: Tensor, told: Tensor, known: Tensor) -> Tensor:
        """Return nats, each kind of error in its own scale, of frames in a row: [B, F + 1, size, size, 3].

        An action [B, A] was `done` before the last. `told` [B, 2, R + 2] is what is told of the last two moments, where
        it is `known`.
        """
        batch, count = frames.shape[:2]
        shown = self._shown(frames.flatten(0, 1))
        mean, spread = self._look(shown)
        rate = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum(1).mean()
        latents = (mean + (spread / 2).exp() * torch.randn_like(mean)).view(batch, count, -1)
        now = latents[:, -2]
        drawn = (self.up(now) - shown.view(batch, count, *shown.shape[1:])[:, -2]).square().mean()
        foretold = now + self.step(torch.cat([with_motion(latents[:, :-1]), done], 1))
        seen = mean.view(batch, count, -1)[:, -1]
        strayed = (foretold - seen).square().mean(0) / seen.var(0, unbiased=False).clamp(min=1e-6)
        read = self._missed(now, told[:, 0], known[:, 0]) + self._missed(foretold, told[:, 1], known[:, 1])
        pictured = _DRAWN * (drawn + _FINEST).log() + 2 * rate / shown[0].numel()
        total: Tensor = pictured + read + (strayed + _SURE).log().mean()
        return total

    def _missed(self, latents: Tensor, told: Tensor, known: Tensor) -> Tensor:
        missed = (self.reader(latents) - (told - self.mean) / self.scale).square()
        said: Tensor = ((missed * known).sum(0) / known.sum(0).clamp(min=1) + _SURE).log().sum()
        return said


def with_motion(latents: Tensor) -> Tensor:
    """Return the numbers of the last of F frames, and how they changed since each before: [B, F, L] to [B, F · L]."""
    last = latents[:, -1]
    return torch.cat([last, *(last - latents[:, -1 - back] for back in range(1, latents.shape[1]))], 1)


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def learn_to_see(
    eye: Eye, episodes: Sequence[Episode], columns: Sequence[int], actions: Sequence[Tensor], *, steps: int, seed: int
) -> float:
    """Train an eye in place on transitions of episodes, all alike; return the last loss.

    `columns` say where in the observations lies what is told, `actions` [T, A] what was done, as networks read it.
    Raises TrainingError where the loss is no number.
    """
    films, told = [film_of(episode) for episode in episodes], [_told(episode, columns) for episode in episodes]
    varies = _measure(eye, films, told)
    where = np.array([(e, t) for e, episode in enumerate(episodes) for t in range(len(episode))])
    rng = np.random.default_rng((seed, 7))
    torch.manual_seed(seed)
    eye.requires_grad_(True)
    optimizer, shown = torch.optim.AdamW(eye.parameters(), lr=_RATE), eye.picture.frames + 1
    last = 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 20, 4 * (1 - step / steps))
        picked = where[rng.integers(len(where), size=BATCH)]
        frames = torch.from_numpy(np.stack([films[e][t : t + shown] for e, t in picked]))
        values = torch.from_numpy(np.stack([told[e][t : t + 2] for e, t in picked]))
        done = torch.stack([actions[e][t] for e, t in picked])
        loss = eye.loss(frames, done, values.nan_to_num(), values.isfinite() & varies)
        if not torch.isfinite(loss):
            raise TrainingError(f"the eye's loss at step {step} is {loss.item()}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(eye.parameters(), 10.0)
        optimizer.step()
        last = loss.item()
    eye.requires_grad_(False)
    return last


def film_of(episode: Episode) -> NDArray[np.uint8]:
    """Return an episode's frames. Raises ValueError where it has none."""
    if episode.frames is None:
        raise ValueError(f"the episode of seed {episode.seed} has no frames, and its world shows a picture")
    return episode.frames


def _told(episode: Episode, columns: Sequence[int]) -> NDArray[np.float32]:
    """Return what is told at all moments, [T + 1, R + 2]; no reward and no end came with the first one: NaN."""
    arrived = np.concatenate([[np.nan], episode.rewards])
    ended = np.zeros(len(episode) + 1)
    ended[0], ended[-1] = np.nan, episode.terminated
    return np.column_stack([episode.observations[:, list(columns)], arrived, ended]).astype(np.float32)


@torch.no_grad()
def _measure(eye: Eye, films: Sequence[NDArray[np.uint8]], told: Sequence[NDArray[np.float32]]) -> Tensor:
    """Take the mean picture, and means and deviations of what is told; tell which of it varies at all."""
    total = sum(film.sum(0, dtype=np.float64) for film in films)
    eye.usual.copy_(torch.from_numpy(total / sum(map(len, films)) / 255).permute(2, 0, 1))
    values = np.concatenate(told).astype(np.float64)
    mean, deviation = np.nanmean(values, 0), np.nanstd(values, 0)
    varies = deviation > 1e-6
    eye.mean.copy_(torch.from_numpy(mean))
    eye.scale.copy_(torch.from_numpy(np.where(varies, deviation, 1.0)))
    return torch.from_numpy(varies)


__all__ = ["Eye", "EyeConfig", "film_of", "learn_to_see", "with_motion"]
