"""Adapters: a short TOML file that gives an environment's numbers names and units, and says what else is known."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gedanken.worlds.durations import seconds
from gedanken.worlds.pictures import PATH
from gedanken.worlds.sayings import MOST_SAYINGS, short
from gedanken.worlds.spec import SpecError


class Exogenous(BaseModel):
    """An input of the world that no plan controls: an attribute of the unwrapped environment, and its usual range."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attribute: str = Field(pattern=r"^[A-Za-z]\w*$")
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    unit: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> Exogenous:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        return self


class Sight(BaseModel):
    """How a picture is kept: `frames` of them together, where what moves matters, of `size` by `size` pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=64, ge=32, le=128, multiple_of=16)
    frames: int = Field(default=2, ge=1, le=4)


class Read(BaseModel):
    """A number that is told beside a picture, ``from = "info.x"`` or ``"env.state[0]"``, and read off it by a model."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str = Field(alias="from", pattern=f"^{PATH}$", max_length=200)
    unit: str = ""
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)


class OwnSkill(BaseModel):
    """A name for a step, ``keep(angle, -0.1..0.1, for 100)``, and a line for language models not trained to plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    means: str
    doc: str = ""


class Example(BaseModel):
    """A goal in words and a plan that meets it, one step a line, for the language model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    goal: str
    plan: str


class Adapter(BaseModel):
    """What a person knows of an environment; all but `environment` may be left out.

    Attributes:
        environment: a Gymnasium id, ``CartPole-v1`` or ``my_package:MyEnv-v0``.
        arguments: keyword arguments with which it is made.
        names: names of the observed numbers, in their order; `units` likewise.
        actions: names of the actions or controls, in their order.
        picture: how the picture is kept that the environment shows, if it shows one.
        read: numbers that are told beside the picture in training, by name; the model reads them off it.
        says: what a part that is words may say, by name; what else it says is one thing.
        expressions: numbers that are worked out from others, by name.
        exogenous: inputs of the world that no plan controls, by name.
        skills: names for steps that plans may use, beside the objectives.
        told: names of numbers and expressions that scenes tell of, where all would be too many; plans may use all.
        examples: goals and plans for language models that were not trained to plan.
        lasts: how long an action takes, ``30 min``; then goals may speak of time.
        learning: how it is best learned, where not as usual: `steps`, `ways` and what `TryConfig` has.
        limit: seconds that making, resetting or one action may take.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: str = Field(min_length=1, max_length=200)
    arguments: dict[str, Any] = {}
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    picture: Sight | None = None
    read: dict[str, Read] = {}
    says: dict[str, Annotated[tuple[str, ...], Field(max_length=MOST_SAYINGS)]] = {}
    expressions: dict[str, str] = {}
    exogenous: dict[str, Exogenous] = {}
    skills: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], OwnSkill] = {}
    told: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    lasts: str | None = None
    learning: dict[str, Any] = {}
    limit: float = Field(default=30.0, gt=0, allow_inf_nan=False)

    @field_validator("says")
    @classmethod
    def _are_kept_short(cls, says: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {name: tuple(dict.fromkeys(map(short, sayings))) for name, sayings in says.items()}

    @field_validator("lasts")
    @classmethod
    def _is_a_span(cls, text: str | None) -> str | None:
        if text is not None:
            seconds(text)
        return text


def read_adapter(path: Path) -> Adapter:
    """Read an adapter. Raises SpecError that names the file and the first thing that is wrong with it."""
    try:
        return Adapter.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"adapter {path} is no TOML: {error}") from error
    except ValidationError as error:
        raise SpecError(f"adapter {path}: {said(error, Adapter.model_fields)}") from error


def said(error: ValidationError, keys: Iterable[str] = ()) -> str:
    """Say the first thing that is wrong, where, and what to do; `keys` are those that there may be at the top."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(where, keys, n=1)
        return f"there is no key {where!r}; " + (f"did you mean {close[0]!r}?" if close else "check its spelling")
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
