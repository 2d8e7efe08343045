"""Slips of the pen are mended before a small model reads a goal: "open the gren dooor". Knows no plan.

Only English words that no dictionary has are touched, and only where one letter makes them one; what the world itself
says comes first. Large models read over slips, and know other languages, so that they get the words as they were.
"""

from __future__ import annotations

import functools
import re

from spellchecker import SpellChecker

LONG = 5
"""Letters of a word from which it may be any other one; shorter ones only the world's own."""

FOREIGN = 0.5
"""Share of unknown words, like none of the world's, above which a text is taken to be in another language."""

_WORD = re.compile(r"(?<![\w'.\-])[^\W\d_]{3,}(?![\w'\-])")


def mended(text: str, own: str) -> str:
    """Return a text with slips mended; the words of `own`, in which the world speaks, are right and meant first."""
    world = frozenset(word.lower() for word in re.findall(r"[^\W\d_]+", own))
    said = [match.group().lower() for match in _WORD.finditer(text)]
    strange = {word for word in said if word not in world and not _dictionary().known([word])}
    slips = {word: min(near) for word in strange if (near := _dictionary().edit_distance_1(word) & world)}
    others = strange - slips.keys()
    if len(others) > max(1.0, FOREIGN * len(said)):
        return text
    slips |= {word: usual for word in others if len(word) >= LONG and (usual := _most_usual(word))}
    return _WORD.sub(lambda match: slips.get(match.group().lower(), match.group()), text) if slips else text


def _most_usual(word: str) -> str | None:
    """Return the most usual of the words that are one letter away, None where there is none."""
    near = _dictionary().known(_dictionary().edit_distance_1(word))
    return max(sorted(near), key=_dictionary().word_usage_frequency, default=None)


@functools.cache
def _dictionary() -> SpellChecker:
    return SpellChecker(language="en", distance=1)
