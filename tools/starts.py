"""States that callers give to begin in: read into observations, or refused in words. Knows no model."""

from __future__ import annotations

import numpy as np

from gedanken.tools.requests import State
from gedanken.worlds.fields import GridField
from gedanken.worlds.protocol import Observation
from gedanken.worlds.spec import SpecError, WorldSpec


def first(spec: WorldSpec, state: State, now: Observation) -> Observation:
    """Return the observation that a state says, in a world that shows `now`. Raises SpecError for what can't be."""
    if isinstance(spec.observation, GridField):
        return _view(spec, state)
    if spec.vector.picture:
        raise SpecError(f"{spec.name} shows a picture, which numbers don't say; leave the initial state out")
    if not isinstance(state, dict):
        raise SpecError(f"the initial state of {spec.name} is numbers by name: {', '.join(_names(spec))}")
    if unknown := sorted(state.keys() - set(_names(spec))):
        raise SpecError(f"{spec.name} shows no {unknown[0][:40]!r}; it shows {', '.join(_names(spec))}")
    seen = now.astype(np.float32)
    for place, variable in enumerate(spec.vector.variables):
        value = state.get(variable.name, float(now[place]))
        if variable.categories is not None and value not in range(variable.categories):
            raise SpecError(f"{variable.name} is one of 0 to {variable.categories - 1}, and not {value:g}")
        if abs(value) > float(np.finfo(np.float32).max):
            raise SpecError(f"{variable.name} is {value:g}, which is too large")
        seen[place] = value
    return seen


def _view(spec: WorldSpec, state: State) -> Observation:
    field = spec.grid
    shape = (field.height, field.width, len(field.channels))
    rows = [] if isinstance(state, dict) else state
    if len(rows) != shape[0] or any(len(row) != shape[1] or any(len(cell) != shape[2] for cell in row) for row in rows):
        raise SpecError(f"the initial state of {spec.name} is a view: {' × '.join(map(str, shape))} codes")
    for cells in rows:
        for cell in cells:
            for channel, code in zip(field.channels, cell, strict=True):
                if not 0 <= code < len(channel.categories):
                    raise SpecError(f"{channel.name} has codes from 0 to {len(channel.categories) - 1}, and not {code}")
    return np.array(rows, np.uint8)


def _names(spec: WorldSpec) -> list[str]:
    return [variable.name for variable in spec.vector.variables]
