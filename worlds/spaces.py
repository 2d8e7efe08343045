"""Gymnasium's spaces as named variables and actions, and values as flat arrays; what is not supported is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gedanken.worlds.protocol import WorldError
from gedanken.worlds.spec import Axis, SpecError, Variable

MOST_VARIABLES = 256
"""Most numbers that a world may show."""


def variables_of(space: spaces.Space[Any], name: str = "obs") -> tuple[Variable, ...]:
    """Name every number of an observation space: `obs[2]`, `arm.speed`, `obs[1].x`.

    Raises SpecError that names the part which is not supported.
    """
    found = tuple(_variables(space, "" if isinstance(space, spaces.Dict) else name))
    if not 1 <= len(found) <= MOST_VARIABLES:
        raise SpecError(f"the observation holds {len(found):,} numbers; 1 to {MOST_VARIABLES} are supported")
    return found


def _variables(space: spaces.Space[Any], name: str) -> Iterator[Variable]:
    match space:
        case spaces.Box() if len(space.shape) >= 3:
            raise SpecError(f"{name} is an image, {space}; images are not supported yet, only numbers")
        case spaces.Box():
            for index in np.ndindex(space.shape):
                low, high = (_bound(bounds[index]) for bounds in (space.low, space.high))
                yield Variable(name=_indexed(name, index), low=low, high=high)
        case spaces.Discrete():
            yield Variable(name=name, categories=int(space.n))
        case spaces.MultiDiscrete():
            for index in np.ndindex(space.nvec.shape):
                yield Variable(name=_indexed(name, index), categories=int(space.nvec[index]))
        case spaces.MultiBinary():
            for index in np.ndindex(space.shape):
                yield Variable(name=_indexed(name, index), categories=2)
        case spaces.Dict():
            for key, part in space.spaces.items():
                yield from _variables(part, f"{name}.{key}" if name else str(key))
        case spaces.Tuple():
            for position, part in enumerate(space.spaces):
                yield from _variables(part, f"{name}[{position}]")
        case _:
            raise SpecError(f"{name} is a {type(space).__name__} space, which is not supported: {str(space):.80}")


def _indexed(name: str, index: tuple[int, ...]) -> str:
    return name + "".join(f"[{i}]" for i in index)


def _bound(value: Any) -> float | None:
    """Return a bound as a number, None where it bounds nothing (infinite, or as large as its type allows)."""
    return float(value) if abs(float(value)) < 1e30 else None


def flat(space: spaces.Space[Any], value: Any, name: str = "obs") -> list[float]:
    """Return the numbers of an observation in the order of `variables_of`; categories count from 0.

    Raises WorldError for a value whose shape, keys or categories are not those of the space.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or value.keys() != space.spaces.keys():
            raise WorldError(f"{name}: the space has the keys {', '.join(space.spaces)}; the value is {str(value):.80}")
        return [number for key, part in space.spaces.items() for number in flat(part, value[key], f"{name}.{key}")]
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            raise WorldError(f"{name}: the space has {len(space.spaces)} parts; the value is {str(value):.80}")
        parts = enumerate(zip(space.spaces, value, strict=True))
        return [number for i, (part, inner) in parts for number in flat(part, inner, f"{name}[{i}]")]
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise WorldError(f"{name}: {str(value):.80} is no number") from error
    if numbers.shape != space.shape:
        raise WorldError(f"{name}: the space's shape is {space.shape}, the value's is {numbers.shape}")
    if isinstance(space, spaces.Box):
        return [float(number) for number in numbers.ravel()]
    start = np.broadcast_to(np.asarray(getattr(space, "start", 0)), numbers.shape)
    sizes = np.broadcast_to(np.asarray(getattr(space, "n", 2) if space.shape == () else _sizes(space)), numbers.shape)
    codes = numbers - start
    if not np.all((codes >= 0) & (codes < sizes) & (codes == np.floor(codes))):
        raise WorldError(f"{name}: {str(value):.80} is not in {space}")
    return [float(code) for code in codes.ravel()]


def _sizes(space: spaces.Space[Any]) -> NDArray[Any]:
    return np.asarray(space.nvec if isinstance(space, spaces.MultiDiscrete) else 2)


def actions_of(space: spaces.Space[Any]) -> tuple[str, ...] | tuple[Axis, ...]:
    """Name the actions of a Discrete space, or the controls of a bounded Box. Raises SpecError for any other."""
    if isinstance(space, spaces.Discrete):
        return tuple(f"action {number}" for number in range(int(space.n)))
    if isinstance(space, spaces.Box):
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()) or not space.low.size:
            raise SpecError(f"the actions are {space}, and without finite bounds they can't be searched; rescale them")
        return tuple(
            Axis(name=_indexed("action", index), low=float(space.low[index]), high=float(space.high[index]))
            for index in np.ndindex(space.shape)
        )
    raise SpecError(f"the actions are a {type(space).__name__} space; Discrete and bounded Box are supported")


def native(space: spaces.Space[Any], action: Any) -> Any:
    """Return what the environment takes for a discrete action's number, or for controls ``[A]`` kept in bounds."""
    if isinstance(space, spaces.Discrete):
        return int(action) + int(space.start)
    assert isinstance(space, spaces.Box)
    return np.clip(np.asarray(action, np.float64).reshape(space.shape), space.low, space.high).astype(space.dtype)
