"""Gymnasium's spaces as named variables and actions, and values as flat arrays; what is not supported is named.

With an adapter they are a world's spec.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import ValidationError

from gedanken.worlds.adapter import Adapter, OwnSkill, Sight, said
from gedanken.worlds.fields import Axis, Variable, VectorField
from gedanken.worlds.objectives import OBJECTIVES
from gedanken.worlds.pictures import Picture
from gedanken.worlds.protocol import WorldError
from gedanken.worlds.sayings import MOST_SAYINGS, short
from gedanken.worlds.spec import Skill, SpecError, WorldSpec

MOST_VARIABLES = 256
"""Most numbers that a world may show."""

MOST_CATEGORIES = 1024
"""Most categories of all its variables together: networks see each as a number of its own."""

LARGEST = 4096
"""Most pixels of a picture in height or width."""

MOST_ACTIONS = 256
"""Most discrete actions; of several that are taken at once, most combinations."""

Actions = tuple[str, ...] | tuple[Axis, ...]


def spec_of(
    id: str,
    adapter: Adapter,
    variables: tuple[Variable, ...],
    actions: Actions,
    *,
    picture: bool = False,
    texts: tuple[str, ...] = (),
) -> WorldSpec:
    """Return the world of those variables and actions, and perhaps words and a picture, named by an adapter.

    What is said, in the parts `texts`, comes after the variables, then what is read off the picture, then the inputs.

    Raises SpecError for an adapter that does not fit.
    """
    variables = (*variables, *(Variable(name=name) for name in texts))
    for what, given, want in (
        ("names", adapter.names, len(variables)),
        ("units", adapter.units, len(variables)),
        ("actions", adapter.actions, len(actions)),
    ):
        if given and len(given) != want:
            raise SpecError(f"{id}: the adapter gives {len(given)} {what}, the environment has {want}")
    names = adapter.names or tuple(variable.name for variable in variables)
    units = adapter.units or ("",) * len(variables)
    named = [
        variable.model_copy(update={"name": name, "unit": unit})
        for variable, name, unit in zip(variables, names, units, strict=True)
    ]
    speaking = tuple(variable.name for variable in named[len(named) - len(texts) :])
    if unheard := [name for name in speaking if name not in adapter.says]:
        raise SpecError(
            f"{id}: {unheard[0]} is a Text space; name under [says] of the adapter what it may say, or add the world"
            " with `gedanken worlds add`, which listens"
        )
    if mute := sorted(adapter.says.keys() - set(speaking)):
        raise SpecError(f"{id}: the adapter's [says] has {mute[0]}, which is no Text space; leave it out")
    for place, name in enumerate(speaking, len(named) - len(texts)):
        named[place] = named[place].model_copy(update={"categories": len(adapter.says[name]) + 1})
    if (adapter.picture or adapter.read) and not picture:
        part = "picture" if adapter.picture else "read"
        raise SpecError(f"{id}: the adapter has [{part}], and the environment shows no picture; leave it out")
    named += [Variable(name=name, unit=r.unit, low=r.low, high=r.high) for name, r in adapter.read.items()]
    named += [
        Variable(name=name, unit=e.unit, low=e.low, high=e.high, exogenous=True)
        for name, e in adapter.exogenous.items()
    ]
    if adapter.actions:
        actions = (
            adapter.actions
            if isinstance(actions[0], str)
            else tuple(
                axis.model_copy(update={"name": name})
                for axis, name in zip(actions, adapter.actions, strict=True)
                if isinstance(axis, Axis)
            )
        )
    try:
        sight, expressions = adapter.picture or Sight(), tuple(adapter.expressions.items())
        sayings = tuple((name, adapter.says[name]) for name in speaking)
        seen = Picture(size=sight.size, frames=sight.frames, read=tuple(adapter.read)) if picture else None
        field = VectorField(
            name="state", variables=tuple(named), expressions=expressions, picture=seen, sayings=sayings
        )
    except ValidationError as error:
        raise SpecError(f"{id}: {said(error)}") from error
    exogenous = tuple(adapter.exogenous)
    spec = WorldSpec(name=id, observation=field, actions=actions, attributes=(), skills=OBJECTIVES, exogenous=exogenous)
    if unknown := [name for name in adapter.told if name not in field.names[:-1]]:
        raise SpecError(f"{id}: told names {', '.join(unknown)}, which is shown by nobody")
    spec = spec.model_copy(update={"skills": (*OBJECTIVES, *(_own(spec, *named) for named in adapter.skills.items()))})
    for example in adapter.examples:
        spec.parse_plan(example.plan)
    return spec


def _own(spec: WorldSpec, name: str, own: OwnSkill) -> Skill:
    if name in (skill.name for skill in OBJECTIVES):
        raise SpecError(f"{spec.name}: {name} is an objective already; give the skill another name")
    try:
        means = str(spec.parse_step(own.means))
    except SpecError as error:
        raise SpecError(f"{spec.name}: skill {name}: {error}") from error
    return Skill(name=name, doc=own.doc or f"the same as {means}", means=means)


def variables_of(space: spaces.Space[Any], name: str = "obs") -> tuple[Variable, ...]:
    """Name every number of an observation space: `obs[2]`, `arm.speed`, `obs[1].x`; but for pixels and words.

    Raises SpecError that names the part which is not supported.
    """
    shown = [(part, inner) for part, inner in _parts(space, name) if _is_number(inner)]
    found = tuple(variable for part, inner in shown for variable in _variables(inner, part))
    texts = texts_of(space, name)
    count = len(found) + len(texts)
    if not (count or picture_of(space, name)) or count > MOST_VARIABLES:
        raise SpecError(f"the observation holds {count:,} numbers; 1 to {MOST_VARIABLES} are supported")
    categories = sum(variable.categories or 0 for variable in found) + len(texts) * (MOST_SAYINGS + 1)
    if categories > MOST_CATEGORIES:
        raise SpecError(f"the observation holds {categories:,} categories; at most {MOST_CATEGORIES:,} are supported")
    return found


def _variables(space: spaces.Space[Any], name: str) -> Iterator[Variable]:
    match space:
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
        case _:
            raise SpecError(f"{name} is a {type(space).__name__} space, which is not supported: {str(space):.80}")


def picture_of(space: spaces.Space[Any], name: str = "obs") -> str | None:
    """Return the name of the picture in an observation space, None where there is none.

    Raises SpecError for two pictures, and for one that is not height × width × 3.
    """
    found = [(part, inner.shape or ()) for part, inner in _parts(space, name) if _is_picture(inner)]
    if len(found) > 1:
        raise SpecError(
            f"{' and '.join(part for part, _ in found)} are pictures; one is supported, so join them into one"
        )
    for part, shape in found:
        if len(shape) != 3 or shape[2] != 3:
            raise SpecError(
                f"{part} is a picture of shape {shape}; height × width × 3 is supported, so let a wrapper put its"
                " colours last, and make three of them"
            )
        if not all(1 <= side <= LARGEST for side in shape):
            raise SpecError(f"{part} is a picture of shape {shape}; its sides may have up to {LARGEST:,} pixels")
        return part
    return None


def _is_picture(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) >= 3 and space.dtype == np.uint8


def _is_number(space: spaces.Space[Any]) -> bool:
    return not _is_picture(space) and not isinstance(space, spaces.Text)


def _parts(space: spaces.Space[Any], name: str) -> Iterator[tuple[str, spaces.Space[Any]]]:
    """Name what an observation space is made of: `obs`, `obs[1]`, `radio.message`."""

    def within(space: spaces.Space[Any], name: str) -> Iterator[tuple[str, spaces.Space[Any]]]:
        match space:
            case spaces.Dict():
                for key, part in space.spaces.items():
                    yield from within(part, f"{name}.{key}" if name else str(key))
            case spaces.Tuple():
                for position, part in enumerate(space.spaces):
                    yield from within(part, f"{name}[{position}]")
            case _:
                yield name, space

    return within(space, "" if isinstance(space, spaces.Dict) else name)


def _values(space: spaces.Space[Any], value: Any, name: str) -> Iterator[tuple[str, spaces.Space[Any], Any]]:
    """Take an observation apart as `_parts` does its space. Raises WorldError for other keys or another length."""
    match space:
        case spaces.Dict():
            if not isinstance(value, Mapping) or value.keys() != space.spaces.keys():
                keys = ", ".join(space.spaces)
                raise WorldError(f"{name}: the space has the keys {keys}; the value is {str(value):.80}")
            for key, part in space.spaces.items():
                yield from _values(part, value[key], f"{name}.{key}")
        case spaces.Tuple():
            if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
                raise WorldError(f"{name}: the space has {len(space.spaces)} parts; the value is {str(value):.80}")
            for position, (part, inner) in enumerate(zip(space.spaces, value, strict=True)):
                yield from _values(part, inner, f"{name}[{position}]")
        case _:
            yield name, space, value


def image_in(space: spaces.Space[Any], value: Any, name: str = "obs") -> NDArray[np.uint8] | None:
    """Return the picture in an observation that `flat` took, None where its space has none.

    Raises WorldError for one whose shape or type is not the space's.
    """
    for part, inner, shown in _values(space, value, name):
        if _is_picture(inner):
            image = shown if isinstance(shown, np.ndarray) else np.asarray(None)
            if image.shape != inner.shape or image.dtype != np.uint8:
                got = f"of shape {image.shape} and type {image.dtype}" if image.shape else str(shown)[:80]
                want = f"of shape {inner.shape} and type uint8"
                raise WorldError(f"{part}: the space's picture is {want}, the value's is {got}")
            return image
    return None


def texts_of(space: spaces.Space[Any], name: str = "obs") -> tuple[str, ...]:
    """Name the parts of an observation space that are words: `obs`, `obs[1]`, `radio.message`."""
    return tuple(part for part, inner in _parts(space, name) if isinstance(inner, spaces.Text))


def said_in(space: spaces.Space[Any], value: Any, name: str = "obs") -> list[str]:
    """Return what is said, `short`, in the order of `texts_of`, in an observation that `flat` took.

    Raises WorldError for what is no text of its space's length; of which letters it is made is not held against it.
    """
    found = []
    for part, inner, text in _values(space, value, name):
        if isinstance(inner, spaces.Text):
            if not isinstance(text, str):
                raise WorldError(f"{part}: the space is words, the value is {short(repr(text)):.80}")
            if len(text) > inner.max_length:
                most = f"the space has at most {inner.max_length}"
                raise WorldError(f"{part}: {len(text)} characters were said, and {most}")
            found.append(short(text))
    return found


def _indexed(name: str, index: tuple[int, ...]) -> str:
    return name + "".join(f"[{i}]" for i in index)


def _bound(value: Any) -> float | None:
    """Return a bound as a number, None where it bounds nothing (infinite, or as large as its type allows)."""
    return float(value) if abs(float(value)) < 1e30 else None


def flat(space: spaces.Space[Any], value: Any, name: str = "obs") -> list[float]:
    """Return the numbers of an observation in the order of `variables_of`; categories count from 0.

    Raises WorldError for a value whose shape, keys or categories are not those of the space.
    """
    parts = _values(space, value, name)
    return [number for part, inner, shown in parts if _is_number(inner) for number in _numbers(inner, shown, part)]


def _numbers(space: spaces.Space[Any], value: Any, name: str) -> list[float]:
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
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


def actions_of(space: spaces.Space[Any]) -> Actions:
    """Name the discrete actions of a space, every combination of those taken at once, or the controls of a bounded Box.

    Raises SpecError for any other space.
    """
    if isinstance(space, spaces.Box):
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()) or not space.low.size:
            raise SpecError(f"the actions are {space}, and without finite bounds they can't be searched; rescale them")
        return tuple(
            Axis(name=_indexed("action", index), low=float(space.low[index]), high=float(space.high[index]))
            for index in np.ndindex(space.shape)
        )
    sizes = _choices(space)
    if sizes is None:
        raise SpecError(
            f"the actions are a {type(space).__name__} space; Discrete, MultiDiscrete, MultiBinary and bounded Box are "
            "supported"
        )
    if not 1 <= (count := math.prod(sizes)) <= MOST_ACTIONS:
        raise SpecError(f"the actions are {space}, {count:,} in all; 1 to {MOST_ACTIONS} are supported")
    return tuple(f"action {'-'.join(map(str, choice))}" for choice in np.ndindex(*sizes))


def _choices(space: spaces.Space[Any]) -> tuple[int, ...] | None:
    """Return how many values each part of a discrete action has, None for what is no discrete action."""
    match space:
        case spaces.Discrete():
            return (int(space.n),)
        case spaces.MultiDiscrete():
            return tuple(int(size) for size in space.nvec.ravel())
        case spaces.MultiBinary():
            return (2,) * math.prod(space.shape)
    return None


def native(space: spaces.Space[Any], action: Any) -> Any:
    """Return what the environment takes for a discrete action's number, or for controls ``[A]`` kept in bounds."""
    if isinstance(space, spaces.Box):
        return np.clip(np.asarray(action, np.float64).reshape(space.shape), space.low, space.high).astype(space.dtype)
    if isinstance(space, spaces.Discrete):
        return int(action) + int(space.start)
    parts = np.array(np.unravel_index(int(action), _choices(space) or ()), np.int64).reshape(space.shape or ())
    return (parts + getattr(space, "start", 0)).astype(space.dtype)


def coded(space: spaces.Space[Any], taken: Any) -> int | NDArray[np.float32]:
    """Return the number of a discrete action that was taken, or its controls ``[A]``: the inverse of `native`.

    Controls beyond a bound by no more than rounding are at the bound. Raises WorldError for what is no such action.
    """
    parts = np.array(_numbers(space, taken, "the action"))
    if not isinstance(space, spaces.Box):
        return int(np.ravel_multi_index(tuple(parts.astype(int)), _choices(space) or ()))
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    near = 1e-6 * (high - low)
    if not np.all((parts >= low - near) & (parts <= high + near)):  # nor is NaN within bounds
        raise WorldError(f"the action is {str(taken):.80}, beyond its bounds in {str(space):.80}")
    controls: NDArray[np.float32] = np.clip(parts, low, high).astype(np.float32)
    return controls
