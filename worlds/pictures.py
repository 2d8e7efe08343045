"""Pictures in observations: how they are kept, made smaller, and what is told beside them. Knows no model.

An observation is one flat array: the named numbers first, then the pixels of the last frames, oldest first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

PATH = r"(info|env)(\.[A-Za-z]\w*|\[\d+\])+"
"""Where a number is told: ``info.x``, ``info.arm.angle``, ``env.state[0]``."""


class Picture(BaseModel):
    """What a world shows as a picture: the last `frames`, of `size` by `size` pixels, colours red, green, blue.

    `read` names the variables that a model is told in training only; elsewhere it reads them off the picture.
    """

    model_config = ConfigDict(frozen=True)

    size: int = Field(ge=32, le=128, multiple_of=16)
    frames: int = Field(ge=1, le=4)
    read: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return the shape of the frames that are shown together."""
        return self.frames, self.size, self.size, 3

    @property
    def pixels(self) -> int:
        """Return how many numbers of an observation are pixels."""
        return math.prod(self.shape)

    def joined(self, numbers: NDArray[Any], frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return observations ``[…, variables + pixels]`` of numbers ``[…, variables]`` and frames ``[…, *shape]``."""
        flat = frames.reshape(*numbers.shape[:-1], self.pixels)
        return np.concatenate([numbers.astype(np.float32), flat.astype(np.float32)], -1)

    def split(self, observation: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return the numbers and the frames of observations."""
        numbers, flat = observation[..., : -self.pixels], observation[..., -self.pixels :]
        return numbers.astype(np.float32), flat.astype(np.uint8).reshape(*flat.shape[:-1], *self.shape)

    def stacked(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return those shown together, ``[T + 1, *shape]``, of frames one after the other, ``[T + frames, …]``."""
        return np.moveaxis(np.lib.stride_tricks.sliding_window_view(frames, self.frames, 0), -1, 1)


def resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return an image ``[height, width, 3]`` as ``[size, size, 3]``, each pixel the mean of the area that it covers."""
    high, wide = image.shape[:2]
    if high == wide == size:
        return image.copy()
    rows = _areas(high, size) @ image.astype(np.float32).reshape(high, -1)
    columns = np.moveaxis(rows.reshape(size, wide, 3), 1, 0).reshape(wide, -1)
    small = (_areas(wide, size) @ columns).reshape(size, size, 3).swapaxes(0, 1)
    return np.rint(small).astype(np.uint8)


@cache
def _areas(pixels: int, size: int) -> NDArray[np.float32]:
    """Return which share of each of `size` stretches each of `pixels` is, ``[size, pixels]``."""
    edges = np.arange(size + 1) * pixels / size
    at = np.arange(pixels)
    inside = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    return (inside.clip(0) * size / pixels).astype(np.float32)


def told(path: str, info: Mapping[str, Any], env: Any) -> Any:
    """Return what lies at a path (see `PATH`) of a step's `info` or of an environment, None where nothing does."""
    found: Any = info if path.startswith("info") else env
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        try:
            named = not index and not isinstance(found, Mapping)
            found = getattr(found, name) if named else found[int(index) if index else name]
        except (AttributeError, IndexError, KeyError, TypeError):
            return None
    return found
