"""What could complete a line: commands and what they offer; in goals, the things that are there. Knows no terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gedanken.agent.chat_commands import COMMANDS, plan_words
from gedanken.worlds.protocol import Observation
from gedanken.worlds.spec import WorldSpec

if TYPE_CHECKING:
    from gedanken.agent.chat import Chat

Suggestion = tuple[str, str]
"""A text, and the end of the line that it takes the place of."""


def suggestions(line: str, chat: Chat) -> list[Suggestion]:
    """Return what could stand at the end of a line."""
    spec = chat.agent.world.spec
    there = things(spec, chat.session.known()[0])
    name, space, rest = line.removeprefix("/").partition(" ")
    if not line.startswith("/"):
        return list(_matching(line, [*there, *_values(spec)]))
    if not space:
        return [(f"/{known}", line) for known in COMMANDS if known.startswith(name)]
    if name not in COMMANDS:
        return []
    offers = list(COMMANDS[name].offers(chat))
    if offers == plan_words(spec):
        return list(_matching(rest, [*there, *offers]))
    if not offers:
        return list(_matching(rest, [*there, *_values(spec)]))
    return [(offer, rest) for offer in offers if rest.lower() in offer.lower()]


def things(spec: WorldSpec, known: Observation) -> list[str]:
    """Name the things on a map ``[P, P, C]``, each once, in the words of plans."""
    channels = [channel.name for channel in spec.observation.channels]
    parts = [channels.index(attribute.channel) for attribute in spec.attributes if attribute.channel in channels]
    cells = np.unique(known[~np.isin(known[..., 0], spec.observation.background)], axis=0)
    return [" ".join(spec.observation.channels[part].categories[cell[part]] for part in parts) for cell in cells]


def _values(spec: WorldSpec) -> list[str]:
    return [value for attribute in spec.attributes for value in attribute.values]


def _matching(text: str, offers: Sequence[str]) -> Iterator[Suggestion]:
    """Yield the offers that begin as the text ends, each once; two words of the end count before one."""
    ends = [match.start() for match in re.finditer(r"(?<![\w])\w", text)][-2:]
    given: set[str] = set()
    for start in ends:
        end = text[start:].lower()
        for offer in offers:
            if offer.startswith(end) and offer != end and offer not in given:
                given.add(offer)
                yield offer, text[start:]
    if not text or text[-1] in " (,;":
        yield from ((offer, "") for offer in dict.fromkeys(offers) if offer not in given)
