"""The loop's one stream of typed events; every renderer, trace and evaluation consumes it. Knows no model.

Each event is frozen, has a literal `kind`, and is one line of JSON.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from gedanken.agent.verdict import Verdict

Grid = list[list[list[int]]]
"""A view as nested lists ``[height][width][channel]``."""

View = Grid | list[float]
"""What is seen: a grid, or numbers ``[variables]``."""


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)


class GoalReceived(_Event):
    """A goal was accepted; `own` says that it is the environment's own."""

    kind: Literal["goal"] = "goal"
    goal: str
    world: str
    seed: int
    own: bool


class Perceived(_Event):
    """What the agent knows of its surroundings, in words, and what it sees now."""

    kind: Literal["perceived"] = "perceived"
    scene: str
    view: View


class Candidate(_Event):
    """A plan as the language model wrote it: text, log-probability in nats, the round that it came from."""

    kind: Literal["candidate"] = "candidate"
    plan: str
    log_probability: float | None
    round: int


class Proposed(_Event):
    """The language model wrote plans; `merged` were duplicates, `unreadable` broke the grammar.

    It read `prompt_tokens` and wrote `tokens`, for as many `dollars` where a price is known, and was told less of the
    scene where that was `shortened`, for want of room.

    With none of them where it `declined`: it believes most that no plan will do. Where it `holds` to plans that it was
    told of, these are too unlikely to be rehearsed.
    """

    kind: Literal["proposed"] = "proposed"
    round: int
    candidates: list[Candidate]
    declined: bool = False
    holds: bool = False
    merged: int
    unreadable: int
    shortened: bool = False
    prompt_tokens: int
    tokens: int
    dollars: float | None = None
    seconds: float
    model: str


class Forecast(_Event):
    """How often a step was achieved in imagination, and after how many actions of the plan on average."""

    step: str
    achieved: float
    actions: float | None


class Practising(_Event):
    """A step that nobody knows how to do yet is about to be practised in imagination, before plans are rehearsed."""

    kind: Literal["practising"] = "practising"
    round: int
    step: str


class Imagining(_Event):
    """A moment of the first plan's first future, while plans are being rehearsed."""

    kind: Literal["imagining"] = "imagining"
    round: int
    plan: str
    view: View


class Rehearsed(_Event):
    """Plans were imagined: `futures` for each, `actions` in all; `views` are of the first plan's first future.

    `forecasts` hold, for each plan, what was imagined of each of its steps.
    """

    kind: Literal["rehearsed"] = "rehearsed"
    round: int
    plans: list[str]
    futures: int
    actions: int
    seconds: float
    views: list[View]
    forecasts: list[list[Forecast]] = []

    @property
    def actions_per_second(self) -> float:
        """Imagined actions per second."""
        return self.actions / max(self.seconds, 1e-9)


class Judged(_Event):
    """The critic's verdicts on the plans of a round."""

    kind: Literal["judged"] = "judged"
    round: int
    verdicts: list[Verdict]
    seconds: float


class Revising(_Event):
    """The verdicts ask for another round."""

    kind: Literal["revising"] = "revising"
    round: int
    why: str


class Chosen(_Event):
    """The plan that is taken, out of how many, and the round that it came from."""

    kind: Literal["chosen"] = "chosen"
    plan: str
    verdict: Verdict
    round: int
    among: int


class ApprovalAsked(_Event):
    """A person is asked before anything is done."""

    kind: Literal["approval_asked"] = "approval_asked"
    plan: str
    success: float


class ApprovalAnswered(_Event):
    """What the person said."""

    kind: Literal["approval_answered"] = "approval_answered"
    approved: bool


class StepStarted(_Event):
    """A step of the plan is begun."""

    kind: Literal["step_started"] = "step_started"
    index: int
    of: int
    step: str


class Acted(_Event):
    """One real action: its name, what was seen afterwards, and the surprise in nats."""

    kind: Literal["acted"] = "acted"
    number: int
    action: str
    step: str
    view: View
    surprise: float
    reward: float


class StepEnded(_Event):
    """How a step ended, and after how many actions."""

    kind: Literal["step_ended"] = "step_ended"
    index: int
    step: str
    result: Literal["achieved", "timeout", "standstill", "surprise", "barred", "failed", "over"]
    actions: int


class Replanning(_Event):
    """Reality asks for another plan."""

    kind: Literal["replanning"] = "replanning"
    why: str
    number: int


class Resumed(_Event):
    """A run that had been cut off goes on; `unknown` is an action that had been intended and never confirmed."""

    kind: Literal["resumed"] = "resumed"
    goal: str
    actions: int
    unknown: str | None
    message: str


class Declined(_Event):
    """Nothing is executed: why, and what the agent can do."""

    kind: Literal["declined"] = "declined"
    why: str
    can: list[str]
    sees: str


Status = Literal["reached", "not_reached", "declined", "not_approved", "imagined", "interrupted"]


class Outcome(_Event):
    """How the goal ended, beside what was predicted; the last event but for what was stored and learnt."""

    kind: Literal["outcome"] = "outcome"
    goal: str
    world: str
    seed: int
    status: Status
    message: str
    plan: str | None = None
    verdict: Verdict | None = None
    predicted: float | None = None
    steps: int = 0
    reward: float = 0.0
    round: int | None = None
    rounds: int = 0
    replans: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    dollars: float | None = None
    seconds: float = 0.0
    episode: int | None = None
    checkpoint: str | None = None

    @property
    def success(self) -> bool:
        """Whether the goal was reached."""
        return self.status == "reached"


class Stored(_Event):
    """The episode is safe under this id."""

    kind: Literal["stored"] = "stored"
    episode: int
    steps: int


class Learned(_Event):
    """What a bounded number of gradient steps changed."""

    kind: Literal["learned"] = "learned"
    steps: int
    before: dict[str, float]
    after: dict[str, float]
    checkpoint: str | None
    seconds: float


class Failed(_Event):
    """An error ended the run; the message says what to do."""

    kind: Literal["error"] = "error"
    message: str


Event = Annotated[
    GoalReceived
    | Perceived
    | Proposed
    | Imagining
    | Practising
    | Rehearsed
    | Judged
    | Revising
    | Chosen
    | ApprovalAsked
    | ApprovalAnswered
    | StepStarted
    | Acted
    | StepEnded
    | Replanning
    | Resumed
    | Declined
    | Outcome
    | Stored
    | Learned
    | Failed,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def to_line(event: Event) -> str:
    """Return an event as one line of JSON."""
    return event.model_dump_json()


def from_line(line: str) -> Event:
    """Return the event of a line; raises pydantic's ValidationError."""
    return _ADAPTER.validate_json(line)
