"""From a description to the things in it, by the words that a world knows and their order; knows no model.

A language model of 135M parameters did worse, also when a grammar left it no other words than those said (see the log).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gedanken.agent.goals import GoalError, check_goal
from gedanken.worlds.spec import Attribute, Parameter, WorldSpec

_APPEARS = re.compile(r"\b(?:appear|come|turn up|there (?:is|are))", re.IGNORECASE)
_NOT = re.compile(r"\b(?:no|not|never|nothing|nobody)\b|n['’]t\b", re.IGNORECASE)


def ground(spec: WorldSpec, words: str) -> list[str]:
    """Return the things that words speak of, each once, as `Thing.parse` reads them.

    States and colours belong to the thing named after them, places ("behind you") to the one named before; how things
    lie to each other ("behind a door") is not understood, and other words are passed over. Raises GoalError for words
    that are none, and for those that name nothing.
    """
    words, groups = check_goal(words), _groups(spec)
    found = sorted(
        (match.start(), match[1].lower(), attribute)
        for attribute, group in groups
        for match in _said(words, [word for word in group if attribute is None or word != attribute.any_value])
    )
    things: list[str] = []
    before: dict[str, str] = {}  # what was said before a name, the latest of each kind
    for _, word, attribute in found:
        if attribute and not attribute.optional:
            things.append(" ".join([*(before[key] for key in _order(spec) if key in before), word]))
            before = {}
        elif attribute and attribute.channel is None:
            if things:
                things[-1] += f" {word}"
        else:
            before[attribute.name if attribute else ""] = word
    if not things:
        names = [word for _, group in groups for word in group]
        raise GoalError(f"{words!r} names nothing that this world knows; use its words: {', '.join(names)}")
    return list(dict.fromkeys(things))


def ground_event(spec: WorldSpec, words: str) -> tuple[str, str | None]:
    """Return what an event makes of a thing, and the thing as it was; None where it was not there before.

    "the locked door opens" is ``open door`` that was ``locked door``, "a red ball appears" just ``red ball``. Raises
    GoalError for words that name nothing, or several things, and for what is no change of state and no appearing.
    """
    things, (states, *others) = ground(spec, words), _groups(spec)
    if len(things) > 1:
        raise GoalError(f"this names {' and '.join(things)}; say what happens to one thing at a time")
    [thing] = things
    name = max(
        match.end()
        for attribute, group in others
        if attribute and not attribute.optional
        for match in _said(words, group)
    )
    becomes = [
        word for word in states[1] if re.search(rf"\b{_stem(word)}(?:e?[sd]?|ing)\b", words[name:], re.IGNORECASE)
    ]
    if _NOT.search(words) or len(becomes) > 1 or not (becomes or _APPEARS.search(words)):
        raise GoalError(
            f"{words[:80]!r} is no event of this world; say of one thing that it appears,"
            f" or that it is now {' or '.join(states[1])}"
        )
    if not becomes:
        return thing, None
    bare = thing.split()
    while bare[0] in states[1]:
        bare.pop(0)
    return " ".join([*becomes, *bare]), thing


def _groups(spec: WorldSpec) -> list[tuple[Attribute | None, Sequence[str]]]:
    """Return the words of things, those of states first, then each attribute's."""
    first = next(part for skill in spec.skills for part in skill.parameters if isinstance(part, Parameter))
    allowed, spoken = dict(first.allowed), {attribute.channel for attribute in spec.attributes}
    states = [word for channel in spec.grid.channels if channel.name not in spoken for word in channel.categories]
    return [(None, states), *((attribute, allowed.get(attribute.name, ())) for attribute in spec.attributes)]


def _stem(word: str) -> str:
    """Return a state's word without its ending: clos, lock, open."""
    return re.escape(re.sub("e?d$", "", word))


def _order(spec: WorldSpec) -> list[str]:
    """Return the order in which words stand before a name: states, then attributes as phrases have them."""
    return ["", *(attribute.name for attribute in spec.attributes)]


def _said(words: str, group: Sequence[str]) -> list[re.Match[str]]:
    """Find the words of a group, also in the plural."""
    pattern = "|".join(re.escape(word) for word in sorted(group, key=len, reverse=True))
    return list(re.finditer(rf"\b({pattern})(?:e?s)?\b", words, re.IGNORECASE)) if pattern else []
