"""Made-up worlds of numbers, described as real ones are: names, units and what they show now. Nothing acts in them.

Two vocabularies that share no word of a name: one to train a planner on, one to measure it. Knows no goals.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import numpy as np

from gedanken.worlds.fields import Variable, VectorField
from gedanken.worlds.gym_world import describe
from gedanken.worlds.objectives import OBJECTIVES
from gedanken.worlds.spec import WorldSpec

Split = Literal["training", "test"]

MEANINGLESS, BARE, NUMBERED, DOTTED = 0.15, 0.2, 0.1, 0.12
"""Shares of schemas whose names mean nothing or have dots, and of names that name no thing or the second pump."""

MIXED = 0.4
"""Share of schemas for practice whose names are from all domains: what they say is then to be read, not guessed."""

SYNONYM, EXACT, ALONE = 0.25, 0.3, 0.2
"""How often a variable is called by another word, as it is spelled, or by one part of its name where that is enough."""


@functools.cache
def vocabulary(split: Split) -> Mapping[str, Any]:
    """Return the words of one list: `domains` of things and quantities, `letters`, and patterns by what they say."""
    return dict(_data()[split])


def units() -> Mapping[str, Sequence[str]]:
    """Return how each unit is said; both lists say them so."""
    return dict(_data()["units"])


@functools.cache
def _data() -> dict[str, Any]:
    text = resources.files("gedanken.worlds").joinpath("schemas.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


@dataclass(frozen=True)
class Named:
    """A variable with what its name is made of; a name that means nothing has no quantity, a bare one no thing."""

    variable: Variable
    value: float
    low: float
    high: float
    thing: str = ""
    quantity: str = ""
    others: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    @property
    def name(self) -> str:
        """Return the name that plans use."""
        return self.variable.name


@dataclass(frozen=True)
class Schema:
    """A made-up world at one moment."""

    split: Split
    spec: WorldSpec
    variables: tuple[Named, ...]

    @property
    def scene(self) -> str:
        """Return what a real world with these numbers would say."""
        return describe(self.spec.vector, np.array([named.value for named in self.variables], np.float32))

    def call(self, named: Named, rng: np.random.Generator) -> tuple[str, str | None]:
        """Return words for a variable that fit no other one, and what is unusual about them."""
        if not named.quantity:
            return named.name, "meaningless name"
        if rng.random() < EXACT:
            return named.name, None
        thing, quantity, trait = named.thing, named.quantity, None
        synonyms = [(t, quantity) for t in named.others[0]] + [(thing, q) for q in named.others[1]]
        if synonyms and rng.random() < SYNONYM:
            (thing, quantity), trait = synonyms[int(rng.integers(len(synonyms)))], "synonym"
        alone = sum(other.quantity == named.quantity for other in self.variables) == 1
        if not thing or (alone and rng.random() < ALONE and quantity not in named.others[1]):
            trait = trait if not thing else "part of a name"
            return draw(rng, vocabulary(self.split)["alone"]).format(q=named.quantity if thing else quantity), trait
        return draw(rng, vocabulary(self.split)["names"]).format(t=thing, q=quantity), trait


def draw(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    """Return one of several."""
    return values[int(rng.integers(len(values)))]


def made_up(split: Split, rng: np.random.Generator, *, mix: bool = False) -> Schema:
    """Draw a world of 2 to 8 variables; with `mix` some are named after things and quantities of all domains."""
    words = vocabulary(split)
    mixes = mix and rng.random() < MIXED
    domain = "all domains" if mixes else draw(rng, sorted(words["domains"]))
    size = int(rng.choice([2, 3, 4, 5, 6, 7, 8], p=[0.1, 0.2, 0.25, 0.2, 0.12, 0.08, 0.05]))
    if rng.random() < MEANINGLESS:
        found = _meaningless(words["letters"], size, rng)
    else:
        found = _named(_mixture(split, rng) if mixes else words["domains"][domain], size, rng)
    field = VectorField(name="state", variables=tuple(named.variable for named in found))
    spec = WorldSpec(name=f"made up: {domain}", observation=field, actions=("wait",), attributes=(), skills=OBJECTIVES)
    return Schema(split, spec, tuple(found))


def _mixture(split: Split, rng: np.random.Generator) -> Mapping[str, Any]:
    """Draw things and quantities of any domain, half of the time such as begin alike; they have no other names."""
    found: dict[str, Any] = {}
    for key in ("things", "quantities"):
        named = {n: about for domain in vocabulary(split)["domains"].values() for n, about in domain[key].items()}
        names = [sorted(named)[i] for i in rng.permutation(len(named))]
        if rng.random() < 0.5:
            names = sorted(names, key=lambda name: name[:2] != names[0][:2])
        found[key] = {n: [] if key == "things" else {**named[n], "aliases": []} for n in names[:8]}
    return found


def _meaningless(letters: Sequence[str], size: int, rng: np.random.Generator) -> list[Named]:
    pattern = draw(rng, ["{l}_{i}", "{l}{i}", "{l}[{i}]"])
    letter, first = draw(rng, letters), int(rng.integers(0, 2))
    high = float(draw(rng, [1, 5, 20, 100, 1000]))
    low = -high if rng.random() < 0.5 else 0.0
    names = [pattern.format(l=letter, i=first + i) for i in range(size)]
    return [Named(Variable(name=name), _value(low, high, rng), low, high) for name in names]


def _named(words: Mapping[str, Any], size: int, rng: np.random.Generator) -> list[Named]:
    """Name variables after a few things and a few quantities, so that names share words."""
    dot = "." if rng.random() < DOTTED else "_"
    things = [str(t) for t in rng.permutation(sorted(words["things"]))[: 1 + size // 2]]
    quantities = [str(q) for q in rng.permutation(sorted(words["quantities"]))[: 2 + size // 2]]
    pairs = [(thing, quantity) for thing in things for quantity in quantities]
    chosen = [pairs[i] for i in rng.permutation(len(pairs))[:size]]
    found = []
    for thing, quantity in chosen:
        about, synonyms, number = words["quantities"][quantity], tuple(words["things"][thing]), int(rng.integers(1, 4))
        if rng.random() < BARE and sum(other == quantity for _, other in chosen) == 1:
            thing, synonyms = "", ()
        elif rng.random() < NUMBERED:
            thing, synonyms = f"{thing} {number}", tuple(f"{synonym} {number}" for synonym in synonyms)
        name = f"{thing.replace(' ', '_')}{dot}{quantity}" if thing else quantity
        low, high = float(about["low"]), float(about["high"])
        variable = Variable(name=name, unit=about["unit"], low=low, high=high)
        aliases = (synonyms, tuple(about["aliases"]))
        found.append(Named(variable, _value(low, high, rng), low, high, thing, quantity, aliases))
    return found


def _value(low: float, high: float, rng: np.random.Generator) -> float:
    return float(np.float32(f"{rng.uniform(low, high):.4g}"))
