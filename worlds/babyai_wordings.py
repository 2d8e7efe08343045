"""Ways to say a goal, in two lists that share no wording: one to train a planner on, one to measure it. Knows no world.

`training` adds to the wordings of `babyai_goals`; `test` must share no template, verb or synonym with either, and a
test holds that. What the sets say alike are the spec's own words ("blue", "ball") and ordinary small words.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import numpy as np

from gedanken.worlds.babyai_goals import BESIDE, PLACE_WORDS, PREFIX, SUFFIX, VERBS, Clause
from gedanken.worlds.spec import Phrase, Step

Split = Literal["training", "test"]

CHANCES = {"synonym": 0.35, "thing": 0.2, "polite": 0.3, "aside": 0.15, "negative": 0.15, "typo": 0.15}
"""How often a wording has a trait; synonyms and unusual ways to name a thing are drawn word by word."""

OBSCURE, INVENTED = 0.65, 0.15
"""Shares of colours' synonyms that do not hold the colour's name or are no word at all, and of the latter alone.

For practice in a scene: what a word may mean is then told by what is in sight.
"""

_SYLLABLES = ("va", "ri", "mo", "lu", "ke", "sha", "ti", "ora", "zen", "pel", "du", "qui", "bra", "ny", "fos", "cel")

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@dataclass(frozen=True)
class Wordings:
    """One list; patterns name steps' things `{0}`, `{1}`, doings `{a}`, `{b}` and what is then so `{A}`, `{B}`.

    In `polite`, `aside` and `negative` patterns `{g}` is the goal and `{x}` a thing that it does not speak of.
    """

    verbs: Mapping[str, Sequence[str]]
    done: Mapping[str, Sequence[str]]
    then: Sequence[str]
    both: Sequence[str]  # for halves in any order
    pair: Sequence[str]  # for two steps of one half
    thing: Sequence[str]
    colours: Mapping[str, Sequence[str]]
    kinds: Mapping[str, Sequence[str]]
    places: Mapping[str, Sequence[str]]
    polite: Sequence[str]
    aside: Sequence[str]
    negative: Sequence[str]
    foreign: Mapping[str, Sequence[str]]  # words of goals that cannot be met


@functools.cache
def _data() -> dict[str, Any]:
    text = resources.files("gedanken.worlds").joinpath("babyai_wordings.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


@functools.cache
def wordings(split: Split) -> Wordings:
    """Return one of the two lists; the one for training holds what `babyai_goals` says, too."""
    data = dict(_data()[split])
    data["both"] = data.pop("and")
    if split == "training":
        verbs = {s: [*data["verbs"][s], *dict.fromkeys(f"{v} {{0}}" for v in VERBS[s])] for s in VERBS}
        verbs["put_next_to"] = data["verbs"]["put_next_to"] + [
            f"{verb} {{0}} {beside} {{1}}" for verb in dict.fromkeys(VERBS["put_next_to"]) for beside in set(BESIDE)
        ]
        verbs["drop"] = [*data["verbs"]["drop"], *VERBS["drop"]]
        usual = [
            "{a}, then {b}",
            "{a}, after that {b}",
            "{a} and then {b}",
            "{a} before you {b}",
            "first {a}, then {b}",
        ]
        data["verbs"] = {skill: sorted(patterns) for skill, patterns in verbs.items()}
        data["then"] = [*usual, "{b} after you {a}", "{b} once you {a}", *data["then"]]
        data["both"] = ["{a} and {b}", *data["both"]]
        data["places"] = {place: [*PLACE_WORDS[place], *more] for place, more in data["places"].items()}
        data["polite"] = [f"{p}{{g}}" for p in PREFIX if p] + [f"{{g}}{s}" for s in SUFFIX if s] + data["polite"]
    return Wordings(**data)


@dataclass(frozen=True)
class Said:
    """A goal in words, and which traits of `CHANCES` it has, `order` among them where it has several steps."""

    text: str
    traits: tuple[str, ...]


class Speaker:
    """Says goals in the wordings of one list; the same generator gives the same words.

    An `obscure` one calls colours more often by words that do not say which colour it is.
    """

    def __init__(self, split: Split, rng: np.random.Generator, *, obscure: bool = False) -> None:
        self.split, self.words, self.rng, self.obscure = split, wordings(split), rng, obscure
        self._traits: set[str] = set()
        self._invented: dict[str, str] = {}

    def say(self, halves: Sequence[Clause], order: str, others: Sequence[Phrase] = ()) -> Said:
        """Say steps that hang together by `order` ("then", "after", "and"); `others` may be named in passing."""
        self._traits = {"order"} if sum(len(half.steps) for half in halves) > 1 else set()
        first, *rest = halves[::-1] if order == "after" else halves
        pattern = self._draw(self.words.both if order == "and" else self.words.then) if rest else "{a}"
        names = {"a": (first, "verbs"), "A": (first, "done")}
        names |= {"b": (rest[0], "verbs"), "B": (rest[0], "done")} if rest else {}
        text = pattern.format(**{k: self._half(*v) for k, v in names.items() if f"{{{k}}}" in pattern})
        commands = pattern.startswith(("{a}", "{b}"))  # so that "please" can stand before it
        for trait in ("polite", "negative", "aside"):
            patterns = [
                pattern
                for pattern in getattr(self.words, trait)
                if (others or "{x}" not in pattern) and (commands or trait != "polite" or pattern.startswith("{g}"))
            ]
            if patterns and self._has(trait):
                other = others[int(self.rng.integers(len(others)))] if others else None
                text = self._draw(patterns).format(g=text, x=self._thing(other) if other else "")
        if self._has("typo"):
            text = mistyped(text, self.split, self.rng)
        return Said(text, tuple(sorted(self._traits)))

    def foreign(self) -> str:
        """Say a goal that no plan of this world meets: other deeds, other things, what cannot be done, or no goal."""
        words = {name: self._draw(values) for name, values in self.words.foreign.items()}
        skill = self._draw(["go_to", "pick_up", "open", "put_next_to"])
        colour, kind = self._colour(), self._draw(["ball", "box", "key"])
        known, door = self._thing((colour, kind, None)), self._thing((colour, "door", None))
        strange = f"the {words['colour']} {self._draw(['ball', 'box', 'key', 'door'])}"
        pattern = self._draw(self.words.verbs[skill])
        forms = (
            f"{words['deed']} {words['thing']}",
            words["noise"],
            pattern.format(f"the {words['where']}", known),
            pattern.format(strange, known),
            f"{words['deed']} {known}",
            self._draw(self.words.verbs["pick_up"]).format(door),
            self._draw(self.words.verbs["open"]).format(known),
        )
        text = self._draw(forms)
        return self._draw(self.words.polite).format(g=text) if self._has("polite") else text

    # ---- parts -----------------------------------------------------------------------------------------------------

    def _half(self, half: Clause, form: str) -> str:
        parts = [self._step(step, form) for step in half.steps]
        if len(parts) == 1:
            return parts[0]
        pattern = self._draw(self.words.pair) if form == "verbs" else "{a} and {b}"
        return pattern.format(a=parts[0], b=parts[1])

    def _step(self, step: Step, form: str) -> str:
        patterns: Mapping[str, Sequence[str]] = getattr(self.words, form)
        return self._draw(patterns[step.skill]).format(*(self._thing(phrase) for phrase in step.arguments))

    def _thing(self, phrase: Phrase) -> str:
        colour, kind, place = phrase
        assert kind is not None
        if colour and self._has("synonym"):
            colour = self._shade(colour)
        if self._has("synonym"):
            kind = self._draw(self.words.kinds[kind])
        name = self._draw(self.words.thing).format(c=colour, k=kind) if colour and self._has("thing") else ""
        name = name or self._plain(colour, kind).removeprefix("the ")
        return " ".join(["the", name, *([self._draw(self.words.places[place])] if place else [])])

    def _shade(self, colour: str) -> str:
        values = self.words.colours[colour]
        if self.obscure and (chance := self.rng.random()) < OBSCURE:
            if chance < INVENTED:
                word = "".join(self._draw(_SYLLABLES) for _ in range(int(self.rng.integers(2, 4))))
                return self._invented.setdefault(colour, word)
            values = [value for value in values if colour not in value and value != "gray"]
        return self._draw(values)

    def _plain(self, colour: str | None, kind: str) -> str:
        return " ".join(["the", *([colour] if colour else []), kind])

    def _colour(self) -> str:
        return self._draw(sorted(self.words.colours))

    def _has(self, trait: str) -> bool:
        there = bool(self.rng.random() < CHANCES[trait])
        self._traits |= {trait} if there else set()
        return there

    def _draw(self, values: Sequence[str]) -> str:
        return values[int(self.rng.integers(len(values)))]


def mistyped(text: str, split: Split, rng: np.random.Generator) -> str:
    """Spoil one long word: training leaves a letter out or swaps two, the test doubles one or hits a neighbour."""
    words = text.split(" ")
    long = [at for at, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not long:
        return text
    at = long[int(rng.integers(len(long)))]
    word, i, way = words[at], int(rng.integers(1, len(words[at]) - 1)), rng.random() < 0.5
    if split == "training":
        words[at] = word[:i] + word[i + 1 :] if way else word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    else:
        words[at] = word[:i] + (word[i] * 2 if way else _beside(word[i])) + word[i + 1 :]
    return " ".join(words)


def _beside(letter: str) -> str:
    """Return the letter to the right of one on a keyboard, or to its left at the end of a row."""
    row = next((row for row in _KEYBOARD if letter.lower() in row), letter)
    at = row.find(letter.lower())
    return row[at + 1] if at + 1 < len(row) else row[at - 1]
