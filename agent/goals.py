"""What a goal may be, checked before any model reads it, and what the agent can do instead. Knows no model."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np

from gedanken.worlds.fields import VectorField
from gedanken.worlds.protocol import Observation, TimedWorld, World
from gedanken.worlds.spec import Parameter, Phrase, Plan, Slot, SpecError, Step, WorldSpec

LONGEST_GOAL = 300
"""Most characters of a goal: nothing of it is ever cut off."""


class GoalError(ValueError):
    """A goal that the agent does not take up; the message says what to do."""


def check_goal(text: str) -> str:
    """Return the goal without surrounding space. Raises GoalError for an empty, overlong or unprintable one."""
    if len(text) > LONGEST_GOAL:
        raise GoalError(f"the goal has {len(text):,} characters; say it in at most {LONGEST_GOAL:,}")
    goal = " ".join(text.split())
    if not goal:
        raise GoalError("the goal is empty; say what should be done, for example: go to the red ball")
    bad = sorted({f"U+{ord(c):04X}" for c in goal if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn")})
    if bad:
        raise GoalError(f"the goal holds characters that are no text ({', '.join(bad[:5])}); type it anew")
    return goal


def heard(world: World, goal: str) -> str:
    """Return a goal as the language model is told it: spans of time in actions, where the world knows what one lasts.

    Raises GoalError where the goal speaks of time and the world does not say how long an action takes.
    """
    if not isinstance(world, TimedWorld):
        return goal
    try:
        return world.in_actions(goal)
    except SpecError as error:
        raise GoalError(str(error)) from error


def abilities(spec: WorldSpec) -> list[str]:
    """Return what the agent can do, a line for each skill."""
    return [skill.signature() for skill in spec.skills]


def visible(spec: WorldSpec, known: Observation, phrase: Phrase) -> bool:
    """Return whether some known cell of a map ``[P, P, C]`` is what the phrase names (places are not looked at)."""
    channels = [channel.name for channel in spec.grid.channels]
    cells = ~np.isin(known[..., 0], spec.grid.background)
    for word, attribute in zip(phrase, spec.attributes, strict=True):
        if word is None or attribute.channel is None or word == attribute.any_value:
            continue
        index = channels.index(attribute.channel)
        cells &= known[..., index] == spec.grid.channels[index].categories.index(word)
    return bool(cells.any())


def missing(spec: WorldSpec, known: Observation, plan: Plan) -> list[str]:
    """Name the things in a plan that match nothing the agent knows of; of numbers, all that plans name are there."""
    if isinstance(spec.observation, VectorField):
        return []
    phrases = [phrase for step in plan.steps for phrase in step.arguments]
    names = [" ".join(word for word in phrase if word) for phrase in phrases if not visible(spec, known, phrase)]
    return list(dict.fromkeys(names))


def speaks_of(spec: WorldSpec, goal: str) -> bool:
    """Return whether a goal names a thing or a place as this world does, ``box`` also in boxes."""
    values = [value for attribute in spec.attributes for value in attribute.values]
    return any(re.search(rf"\b{re.escape(value)}", goal.lower()) for value in values)


def single_steps(spec: WorldSpec) -> list[Plan]:
    """Return all plans of one step that say no place; none where some argument's values can't be counted."""
    if any(isinstance(parameter, Slot) for skill in spec.skills for parameter in skill.parameters):
        return []
    return [
        Plan(steps=(Step(skill=skill.name, arguments=arguments),))
        for skill in spec.skills
        for arguments in itertools.product(
            *(list(_phrases(spec, p)) for p in skill.parameters if isinstance(p, Parameter))
        )
    ]


def _phrases(spec: WorldSpec, parameter: Parameter) -> Iterator[Phrase]:
    """Yield what an argument may name, by what can be seen of a thing."""
    allowed = dict(parameter.allowed)
    words = [
        (*allowed.get(attribute.name, ()), *([] if attribute.any_value else [None])) if attribute.channel else (None,)
        for attribute in spec.attributes
    ]
    yield from itertools.product(*words)


def listed(names: Sequence[str]) -> str:
    """Join names as English does: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
