"""What a world says in words of its own: kept short, told apart as categories, and named in plans. Knows no model.

What is said is somebody else's text. It is data: a plan names it by a word made of its letters and digits alone.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Sequence

LONGEST = 120
"""Most characters of a saying that are kept."""

MOST_SAYINGS = 64
"""Most sayings that are told apart; what else is said is one category, the first."""

ELSE = "something_else"
"""The word for the first category, whatever is said that has none of its own."""

_WORD = 40  # most characters of a word


def short(text: str) -> str:
    """Return what was said as one line of at most `LONGEST` characters, none of which controls anything or is a `"`."""
    plain = "".join(character if character.isprintable() else " " for character in text[: 10 * LONGEST])
    line = " ".join(plain.replace('"', "'").split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def words(sayings: Sequence[str], taken: Collection[str]) -> tuple[str, ...]:
    """Return a word for every category of these sayings, `ELSE` first; none is one of those `taken`.

    ``The door is locked.`` is ``the_door_is_locked``.
    """
    found = [ELSE]
    for saying in sayings:
        stem = re.sub(r"[^a-z0-9]+", "_", saying.lower()).strip("_")[:_WORD].strip("_")
        word = stem = f"says_{stem}".strip("_") if not stem or stem[0].isdigit() or keyword.iskeyword(stem) else stem
        number = 2
        while word in found or word in taken:
            word, number = f"{stem}_{number}", number + 1
        found.append(word)
    return tuple(found)


def code_of(saying: str, sayings: Sequence[str]) -> int:
    """Return the category of what was said, 0 where it has none of its own."""
    return sayings.index(saying) + 1 if saying in sayings else 0
