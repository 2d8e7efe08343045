"""Spans of time in a goal, said as numbers of actions: "for two hours" where an action lasts half an hour is 4 actions.

A span is a number, or a word for one, and a unit of time, after a word that says that it lasts or bounds something.
"""

from __future__ import annotations

import re

from gedanken.worlds.slots import LONGEST_WHILE

SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("week", "weeks"), 604800.0),
}
"""Units of time, by the words for them."""

_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
WORDS = {
    **{word: float(number) for number, word in enumerate(_NUMBERS, 1)},
    **{"a": 1.0, "an": 1.0, "half a": 0.5, "half an": 0.5, "a quarter of an": 0.25, "fifteen": 15.0, "twenty": 20.0},
    **{word: 13.0 + i for i, word in enumerate(["thirteen", "fourteen"])},
    **{"sixteen": 16.0, "seventeen": 17.0, "eighteen": 18.0, "nineteen": 19.0},
    **{"thirty": 30.0, "forty": 40.0, "forty-five": 45.0, "fifty": 50.0, "sixty": 60.0, "ninety": 90.0},
}

_FIGURE, _WORD = r"\d+(?:\.\d+)?", "|".join(sorted(WORDS, key=len, reverse=True))
_UNIT = "|".join(sorted(SECONDS, key=len, reverse=True))
_LASTS = "for|within|in|during|over|next|least|most|than|about|after|another|full|whole|under"
_AMOUNT = rf"(?:{_FIGURE}(?=\D)|(?:{_WORD})(?= ))"
_PART = rf"\b{_AMOUNT}(?: and a half)?\s*(?:{_UNIT})(?: and a half)?"
_ONE = re.compile(
    rf"\b(?P<amount>{_AMOUNT})(?P<half> and a half)?\s*(?P<unit>{_UNIT})\b(?P<more> and a half)?", re.IGNORECASE
)
_SPAN = re.compile(rf"\b(?P<before>{_LASTS})\s+(?P<span>{_PART}(?:,? (?:and )?{_PART})*)\b(?!\s*/)", re.IGNORECASE)
_ALONE = re.compile(rf"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>{_UNIT})")


def seconds(text: str) -> float:
    """Read ``30 min`` or ``0.02 s`` in seconds. Raises ValueError that says how to write it."""
    found = _ALONE.fullmatch(text.strip())
    value = float(found["amount"]) * SECONDS[found["unit"]] if found else 0.0
    if not value > 0:
        raise ValueError(f"{text!r} is no span of time; write, for example, '30 min', '0.02 s' or '1 h'")
    return value


def spans(goal: str) -> list[str]:
    """Return the spans of time that a goal speaks of, as they are written."""
    return [found["span"] for found in _SPAN.finditer(goal)]


def in_actions(goal: str, lasts: float) -> str:
    """Return a goal with its spans of time in actions of `lasts` seconds, rounded to whole ones.

    Raises ValueError for a span of less than half an action, and of more than a plan can say.
    """

    def said(found: re.Match[str]) -> str:
        actions = round(sum(map(_lasting, _ONE.finditer(found["span"]))) / lasts)
        if not 1 <= actions <= LONGEST_WHILE:
            most = f"longer than {LONGEST_WHILE} actions" if actions else "less than one"
            raise ValueError(f"an action lasts {lasts:g} s, so {found['span']} is {most}")
        return f"{found['before']} {actions} action{'s' * (actions != 1)}"

    return _SPAN.sub(said, goal)


def _lasting(part: re.Match[str]) -> float:
    number = WORDS.get(part["amount"].lower()) or float(part["amount"])
    halves = 0.5 * bool(part["half"]) + 0.5 * bool(part["more"])
    return (number + halves) * SECONDS[part["unit"].lower()]
