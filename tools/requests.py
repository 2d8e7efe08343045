"""What Gedanken's servers are asked, in types. Knows no model, no thread and no protocol."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from gedanken.agent.goals import LONGEST_GOAL

MOST_PLANS, MOST_FUTURES, MOST_HORIZON, MOST_ACTIONS = 16, 256, 80, 100
LONGEST_PLAN = 1_000
PATIENCE, LONGEST_WAIT = 1.5, 30.0
"""Seconds that a call waits for its run to be over: where nothing is said, and at most."""


def _in_words(description: str, *examples: str) -> Any:
    return Field(min_length=1, max_length=LONGEST_GOAL, description=description, examples=list(examples))


GoalText = Annotated[
    str, _in_words("What should be done, in plain words.", "put the purple ball next to the yellow box")
]
ChangeText = Annotated[
    str,
    _in_words(
        "What is supposed of inputs that nobody controls: exact, or in plain words.",
        "outside = 2",
        "outside * 0.8",
        "it is 20 % colder outside",
    ),
]
PromptText = Annotated[
    str,
    _in_words(
        "What must be there, in plain words; the things in it are understood, not how they lie.",
        "a red ball and a locked blue door",
    ),
]
EventText = Annotated[
    str, _in_words("What happens to one thing: what becomes of it, or that it appears.", "the door opens")
]
PlanText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_PLAN,
        description="1 to 6 steps in the plan language of `worlds`, one a line.",
        examples=["pick_up(purple ball)\nput_next_to(purple ball, yellow box)"],
    ),
]

State = dict[str, FiniteFloat] | list[list[list[int]]]
"""Numbers by name, those left out being as they are; or a view as answers show them."""


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    work: ClassVar[str]
    acts: ClassVar[bool] = False
    """Whether the environment is not as it was when it is done."""


class PlanRequest(_Request):
    """Imagine how a goal could be reached; nothing is done."""

    work = "plan"
    goal: GoalText


class ActRequest(_Request):
    """Reach a goal in the environment."""

    work, acts = "act", True
    goal: GoalText


class RehearseRequest(_Request):
    """Rehearse the caller's own plans and judge them for a goal; nothing is done."""

    work = "rehearse"
    goal: GoalText
    plans: list[PlanText] = Field(min_length=1, max_length=MOST_PLANS)


class SimulateRequest(_Request):
    """Imagine plans, or one sequence of actions, from what is believed now or a state; nothing is done or judged."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"plans": ["go_to(red ball)", "pick_up(red ball)"], "samples": 16},
                {"actions": ["left", "forward", "forward"], "samples": 16},
                {"plans": ["keep(room, 19..21, for 4)"], "initial_state": {"room": 18}, "intervention": "outside = 2"},
            ]
        }
    )

    work = "simulate"
    plans: list[PlanText] = Field(default=[], max_length=MOST_PLANS, description="Plans, or none where actions are.")
    actions: list[str] = Field(
        default=[],
        max_length=MOST_ACTIONS,
        description="Actions of `worlds`, or none where plans are.",
    )
    initial_state: State | None = Field(
        default=None,
        description="What is seen at first, and all that is known then: numbers by name, or a view as answers show it;"
        " left out, what is believed now.",
    )
    intervention: ChangeText | None = Field(
        default=None, description="A change of inputs that nobody controls, as in `whatif`; with plans only."
    )
    samples: int = Field(default=16, ge=1, le=MOST_FUTURES, description="Futures imagined for each plan.")
    horizon: int = Field(default=40, ge=1, le=MOST_HORIZON, description="Most imagined actions for a plan's step.")
    seed: int = Field(default=0, ge=0, lt=1 << 31, description="The same seed and belief give the same futures.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.plans) == bool(self.actions):
            raise ValueError("give either plans or actions, and not both")
        if self.intervention is not None and not self.plans:
            raise ValueError("an intervention goes with plans, and not with actions")
        if self.samples * max(1, len(self.plans)) > MOST_FUTURES:
            raise ValueError(f"plans × samples are more than {MOST_FUTURES} futures; take fewer samples or plans")
        return self


class WhatIfRequest(_Request):
    """Rehearse a plan as things are and as supposed, in the same futures; nothing is done."""

    work = "whatif"
    plan: PlanText
    change: ChangeText


class GenerateRequest(_Request):
    """Begin a dream, a life inside the learned model, in which what the prompt names is there."""

    work = "generate"
    prompt: PromptText
    world: str | None = Field(
        default=None,
        max_length=100,
        description="A world of `worlds` of the same kind, whose first view begins it; the server's own by default.",
        examples=["BabyAI-UnlockLocalDist-v0"],
    )
    start_seed: int | None = Field(
        default=None, ge=0, lt=1 << 30, description="Seed of that world; the server's own by default."
    )
    seed: int = Field(default=0, ge=0, lt=1 << 31, description="Decides all that is imagined.")
    interactive: bool = Field(default=True, description="Whether the dream is kept, to be lived in.")


class LiveRequest(_Request):
    """Go on in a dream: either take actions, or let something happen."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"actions": ["left", "forward"]}, {"event": "the door opens"}]}
    )

    work = "live"
    actions: list[str] = Field(
        default=[], max_length=MOST_ACTIONS, description="Actions of the dream, or none where an event is."
    )
    event: EventText | None = Field(default=None, description="An event in words, or none where actions are.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.actions) == (self.event is not None):
            raise ValueError("give either actions or an event, and not both")
        return self


class LiveIn(LiveRequest):
    """Go on in the dream of an id."""

    dream_id: str


Request = PlanRequest | ActRequest | RehearseRequest | SimulateRequest | WhatIfRequest | GenerateRequest | LiveIn
