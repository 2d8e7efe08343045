"""What a world shows and takes, in types: grids of categories, named numbers, controls. Knows no plan and no skill."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from gedanken.worlds.expressions import Expression, ExpressionError, is_name, parse
from gedanken.worlds.pictures import Picture
from gedanken.worlds.sayings import words

REWARD = "reward"
"""What plans call the reward of the last transition."""


class Frozen(BaseModel):
    """A type of the spec: compared by value, and never changed."""

    model_config = ConfigDict(frozen=True)


class Channel(Frozen):
    """One categorical channel of a grid: its name and its categories in the order of their codes."""

    name: str
    categories: tuple[str, ...]


class GridField(Frozen):
    """An egocentric grid of categories ``[height, width, channels]`` seen by an agent that faces row 0.

    `agent` is the (row, column) where the agent stands. `hidden` is the code of the first channel that means "not in
    sight". `background` are the codes of the first channel that are no objects (empty floor, walls). What words such as
    "behind you" speak of ends at what shows one of the codes `bounds`; `empty` is the code of a cell, or hand, with
    nothing in it.
    """

    name: str
    height: int
    width: int
    channels: tuple[Channel, ...]
    agent: tuple[int, int]
    hidden: int
    background: tuple[int, ...]
    bounds: tuple[int, ...] = ()
    empty: int | None = None


class Variable(Frozen):
    """One named number that a world shows; `low` and `high` bound it, None where nothing does.

    One with `categories` holds an integer 0…categories - 1 whose order means nothing. An `exogenous` one is an input of
    the world that no plan controls and that keeps its value for an episode.
    """

    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    categories: int | None = None
    exogenous: bool = False


class VectorField(Frozen):
    """Named numbers ``[variables]``, and numbers that are worked out from them, each from those before it.

    With a `picture`, observations are ``[variables + pixels]``. `sayings` are what variables that hold words may say,
    by name; their category 0 is anything else. Raises ValueError for names that are no names or occur twice, for
    sayings that are not a variable's categories, and for expressions that can't be read.
    """

    name: str
    variables: tuple[Variable, ...]
    expressions: tuple[tuple[str, str], ...] = ()
    picture: Picture | None = None
    sayings: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @model_validator(mode="after")
    def _names_fit(self) -> VectorField:
        names = self.names
        bad = [name for name in names[:-1] if not is_name(name)]
        bad += sorted({name for name in names if names.count(name) > 1})
        if bad:
            raise ValueError(f"{', '.join(map(repr, bad))}: give every variable a name of its own, such as x or arm.v")
        categories = {v.name: v.categories for v in self.variables}
        for name, said in self.sayings:
            if categories.get(name) != len(said) + 1 or len(set(said)) < len(said):
                raise ValueError(f"{name} says {len(said)} different things, and these are not its categories")
        _ = self._parsed
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names that plans may use: variables, expressions, and the last `reward`."""
        return (*(v.name for v in self.variables), *(name for name, _ in self.expressions), REWARD)

    @cached_property
    def words(self) -> dict[str, tuple[str, ...]]:
        """Return, by variable, the words by which plans name what it may say, in the order of its categories."""
        return {name: words(said, self.names) for name, said in self.sayings}

    def spelled(self, name: str, value: Any) -> str:
        """Return a variable's value as people read it: four digits, or the word for what it says."""
        said = self.words.get(name, ())
        return said[int(value)] if said and float(value) in range(len(said)) else f"{float(value):.4g}"

    @cached_property
    def _parsed(self) -> tuple[tuple[str, Expression], ...]:
        known, parsed = [v.name for v in self.variables], []
        for name, text in self.expressions:
            expression = parse(text, known)
            if expression.condition:
                raise ExpressionError(f"{name} = {text}: a named expression is a number, not a condition")
            parsed.append((name, expression))
            known.append(name)
        return tuple(parsed)

    def values(self, observation: Any, reward: Any, xp: Any = np) -> dict[str, Any]:
        """Name what ``[…, variables]`` and a reward ``[…]`` hold; `xp` is their module, numpy or torch."""
        named = {variable.name: observation[..., i] for i, variable in enumerate(self.variables)}
        for name, expression in self._parsed:
            named[name] = expression(named, xp)
        return named | {REWARD: reward}


class Axis(Frozen):
    """One continuous control with its bounds."""

    name: str
    low: float
    high: float
