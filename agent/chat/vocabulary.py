"""The words of a world and the things that are known to be there. Knows the spec and a map, no model."""

from __future__ import annotations

import difflib
import re

import numpy as np

from gedanken.worlds.fields import VectorField
from gedanken.worlds.protocol import Observation
from gedanken.worlds.spec import WorldSpec


def things(spec: WorldSpec, known: Observation) -> list[str]:
    """Name the things on a map ``[P, P, C]``, each once, in the words of plans; or the variables, where those are."""
    if isinstance(spec.observation, VectorField):
        return list(spec.observation.names)
    channels = [channel.name for channel in spec.grid.channels]
    parts = [channels.index(attribute.channel) for attribute in spec.attributes if attribute.channel in channels]
    cells = np.unique(known[~np.isin(known[..., 0], spec.grid.background)], axis=0)
    names = [" ".join(spec.grid.channels[part].categories[cell[part]] for part in parts) for cell in cells]
    return list(dict.fromkeys(names))


def values(spec: WorldSpec) -> list[str]:
    """Return the words of plans' arguments: colours, kinds, places."""
    return [value for attribute in spec.attributes for value in attribute.values]


def calls(spec: WorldSpec) -> list[str]:
    """Return how steps begin, ``open(``."""
    return [f"{skill.name}(" if skill.parameters else f"{skill.name}()" for skill in spec.skills]


def near(spec: WorldSpec, text: str) -> list[str]:
    """Return for the unknown words of a plan's text those that are like them."""
    skills = [skill.name for skill in spec.skills]
    known = [*skills, *(word for value in values(spec) for word in value.split())]
    unknown = [word for word in re.findall(r"\w+", text) if word not in known]
    return [match for word in unknown for match in difflib.get_close_matches(word, known, n=1)]
