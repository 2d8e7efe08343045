"""Every number that steers the loop, in one typed place; the commands' options and their help are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gedanken.agent.llm.protocol import without_password

Preset = Literal["default", "debug"]


class LoopConfig(BaseModel):
    """How the agent thinks, acts and learns; all of it is stored with what comes of it.

    Raises pydantic's ValidationError for a value out of range, and ServerError for a password in `llm`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    llm: str = Field(
        default="embedded:planner",
        description="Language model: embedded:ADAPTER, embedded as it was published, openai:URL[#model], a MODEL"
        " (OWNER/NAME on the hub, a folder, a GGUF file), vllm[:MODEL], or scripted:FILE.json; MODEL#ADAPTER adds one.",
    )
    checkpoint: str | None = Field(
        default=None,
        description="World model: a name that `gedanken models` lists, or a folder. Left out: the one that ships for"
        " the world, or an added world's latest.",
    )
    seed: int = Field(
        default=0, ge=0, lt=1 << 31, description="Seed of everything the agent draws; the world has its own."
    )
    candidates: int = Field(default=5, ge=1, le=64, description="Plans that the language model writes at a time.")
    temperature: float = Field(
        default=0.8, ge=0, le=2, description="Temperature of the language model; 0 is deterministic."
    )
    grammar: bool = Field(
        default=True, description="Hold the language model to plans that can be read; without, others are dropped."
    )
    max_tokens: int = Field(default=96, ge=8, le=1024, description="Most tokens of one plan.")
    price_read: float | None = Field(
        default=None, ge=0, description="Dollars for a million tokens that the language model reads."
    )
    price_written: float | None = Field(
        default=None, ge=0, description="Dollars for a million tokens that the language model writes."
    )
    samples: int = Field(default=16, ge=1, le=512, description="Futures imagined for each plan.")
    horizon: int = Field(
        default=40, ge=1, le=500, description="Most imagined actions for each step of a plan; a checkpoint has its own."
    )
    rounds: int = Field(default=2, ge=0, le=8, description="Most rounds of revision before a plan is chosen.")
    accept: float = Field(default=0.75, ge=0, le=1, description="Predicted success from which a plan is not revised.")
    decline: float = Field(default=0.05, ge=0, le=1, description="Predicted success below which nothing is done.")
    meaning: float = Field(
        default=0.2, ge=0, le=1, description="Least probability that the plan is what the goal says."
    )
    tie: float = Field(
        default=0.02, ge=0, le=1, description="Plans this close in predicted success: the shorter one wins."
    )
    patience: int = Field(
        default=48,
        ge=1,
        le=1000,
        description="Most real actions for one step before planning anew; a checkpoint has its own.",
    )
    standstill: int = Field(
        default=8,
        ge=2,
        le=1000,
        description="Actions in a row that change nothing, really or imagined: then a step failed.",
    )
    surprise: float = Field(
        default=120.0,
        gt=0,
        description="Nats of surprise in one action from which the plan is dropped; a checkpoint may have its own.",
    )
    replans: int = Field(default=3, ge=0, le=20, description="How often the agent may plan anew while it acts.")
    greedy: bool = Field(default=False, description="Always take the likeliest action instead of drawing one.")
    learn_steps: int = Field(
        default=20, ge=0, le=10_000, description="Gradient steps after an episode; 0 learns nothing."
    )

    _no_password = field_validator("llm")(without_password)

    @staticmethod
    def own(card: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that a checkpoint's card has of its own."""
        return {name: card[name] for name in ("horizon", "patience", "surprise") if name in card}

    @classmethod
    def preset(cls, name: Preset = "default", **changes: object) -> LoopConfig:
        """Return a named set of values with changes; `debug` runs in seconds."""
        small: dict[str, object] = {"candidates": 3, "samples": 4, "horizon": 20, "rounds": 1, "learn_steps": 2}
        return cls.model_validate((small if name == "debug" else {}) | changes)

    def dollars(self, read: int, written: int) -> float | None:
        """Return what so many tokens cost, None where no price is set."""
        if self.price_read is None and self.price_written is None:
            return None
        return (read * (self.price_read or 0.0) + written * (self.price_written or 0.0)) / 1e6

    def practised(self, card: Mapping[str, Any]) -> LoopConfig:
        """Return these values, and those that a checkpoint's card has of its own where nobody chose."""
        own = self.own(card).items()
        return self.model_copy(update={name: value for name, value in own if name not in self.model_fields_set})
