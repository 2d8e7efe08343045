"""From a description to the things in it, by the words that a world knows and their order; knows no model.

A language model of 135M parameters did worse, also when a grammar left it no other words than those said (see the log).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gedanken.agent.goals import GoalError, check_goal
from gedanken.worlds.spec import Attribute, Parameter, WorldSpec


def ground(spec: WorldSpec, words: str) -> list[str]:
    """Return the things that words speak of, each once, as `Thing.parse` reads them.

    States and colours belong to the thing named after them, places ("behind you") to the one named before; how things
    lie to each other ("behind a door") is not understood, and other words are passed over. Raises GoalError for words
    that are none, and for those that name nothing.
    """
    words = check_goal(words)
    first = next(part for skill in spec.skills for part in skill.parameters if isinstance(part, Parameter))
    allowed, spoken = dict(first.allowed), {attribute.channel for attribute in spec.attributes}
    states = [word for channel in spec.grid.channels if channel.name not in spoken for word in channel.categories]
    groups: list[tuple[Attribute | None, Sequence[str]]] = [(None, states)]
    groups += [(attribute, allowed.get(attribute.name, ())) for attribute in spec.attributes]
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


def _order(spec: WorldSpec) -> list[str]:
    """Return the order in which words stand before a name: states, then attributes as phrases have them."""
    return ["", *(attribute.name for attribute in spec.attributes)]


def _said(words: str, group: Sequence[str]) -> list[re.Match[str]]:
    """Find the words of a group, also in the plural."""
    pattern = "|".join(re.escape(word) for word in sorted(group, key=len, reverse=True))
    return list(re.finditer(rf"\b({pattern})(?:e?s)?\b", words, re.IGNORECASE)) if pattern else []
