"""What could complete a line: commands and what they offer; in goals, the things that are there. Knows no terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gedanken.agent.chat.commands import COMMANDS, goal_words

if TYPE_CHECKING:
    from gedanken.agent.chat.conversation import Chat

Suggestion = tuple[str, str]
"""A text, and the end of the line that it takes the place of."""


def suggestions(line: str, chat: Chat) -> list[Suggestion]:
    """Return what could stand at the end of a line."""
    if not line.startswith("/"):
        return list(_matching(line, goal_words(chat)))
    name, space, rest = line[1:].partition(" ")
    if not space:
        return [(f"/{known}", line) for known in COMMANDS if known.startswith(name)]
    command = COMMANDS.get(name)
    if command is None:
        return []
    whole = [(offer, rest) for offer in command.offers(chat) if rest.lower() in offer.lower()]
    return [*whole, *_matching(rest, command.words(chat))]


def _matching(text: str, offers: Sequence[str]) -> Iterator[Suggestion]:
    """Yield the offers that begin as the text ends, each once; two words of the end count before one."""
    ends = [match.start() for match in re.finditer(r"(?<!\w)\w", text)][-2:]
    given: set[str] = set()
    for start in ends:
        end = text[start:].lower()
        for offer in offers:
            if offer.startswith(end) and offer != end and offer not in given:
                given.add(offer)
                yield offer, text[start:]
    if not text or text[-1] in " (,;":
        yield from ((offer, "") for offer in dict.fromkeys(offers) if offer not in given)
