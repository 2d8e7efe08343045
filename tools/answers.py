"""What Gedanken's servers answer, in types. Knows no model, no thread and no protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from gedanken.agent.dreaming import Moment
from gedanken.agent.events import (
    Acted,
    Chosen,
    Declined,
    Event,
    GoalReceived,
    Judged,
    Learned,
    Outcome,
    Perceived,
    Proposed,
    Rehearsed,
    Replanning,
    Revising,
    Status,
    StepEnded,
    StepStarted,
    Stored,
    View,
)
from gedanken.agent.verdict import Verdict
from gedanken.agent.whatif import Compared


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Judgement(_Answer):
    """The critic's word on one plan; `success` is the calibrated probability that it meets the goal."""

    plan: str
    success: float
    low: float
    high: float
    satisfies: float | None = Field(
        description="Probability that achieving all steps is what the goal says; null where nobody can tell."
    )
    carried_out: float = Field(description="Share of the imagined futures in which every step was achieved.")
    actions: float | None = Field(description="Expected number of actions in those futures.")
    reasons: str

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """Return a verdict in plain values."""
        return cls(
            plan=str(verdict.plan),
            success=verdict.success,
            low=verdict.low,
            high=verdict.high,
            satisfies=verdict.satisfies,
            carried_out=verdict.carried_out,
            actions=verdict.steps,
            reasons=verdict.reasons,
        )


class StepDone(_Answer):
    """How a step of the plan ended in the environment."""

    step: str
    result: str
    actions: int


class Answer(_Answer):
    """How a goal ended, or could be reached: the result of `plan` and `act`."""

    kind: Literal["answer"] = "answer"
    status: Status
    success: bool = Field(description="Whether the goal was reached.")
    message: str
    goal: str
    plan: str | None = Field(description="The plan that was chosen.")
    predicted: float | None = Field(description="Its predicted success.")
    judged: list[Judgement] = Field(description="Every plan that was rehearsed.")
    sees: str | None = Field(description="What was known of the surroundings at the beginning.")
    steps: list[StepDone]
    actions: list[str] = Field(description="What was really done.")
    can: list[str] = Field(description="Where the goal was declined: what can be done here.")
    episode: int | None = Field(description="Number under which the episode was stored.")
    seconds: float

    @classmethod
    def of(cls, events: Sequence[Event]) -> Self | None:
        """Gather a run's events; None where it has no outcome yet."""
        outcome = next((event for event in reversed(events) if isinstance(event, Outcome)), None)
        if outcome is None:
            return None
        return cls(
            status=outcome.status,
            success=outcome.success,
            message=outcome.message,
            goal=outcome.goal,
            plan=outcome.plan,
            predicted=outcome.predicted,
            judged=[Judgement.of(v) for event in events if isinstance(event, Judged) for v in event.verdicts],
            sees=next((event.scene for event in events if isinstance(event, Perceived)), None),
            steps=[
                StepDone(step=event.step, result=event.result, actions=event.actions)
                for event in events
                if isinstance(event, StepEnded)
            ],
            actions=[event.action for event in events if isinstance(event, Acted)],
            can=next((event.can for event in events if isinstance(event, Declined)), []),
            episode=next((event.episode for event in events if isinstance(event, Stored)), None),
            seconds=outcome.seconds,
        )


class Judgements(_Answer):
    """The critic's word on the caller's plans, in their order: the result of `rehearse`."""

    kind: Literal["judgements"] = "judgements"
    goal: str
    judged: list[Judgement]
    futures: int


class StepReached(_Answer):
    """In what share of the futures a step was achieved, and after how many actions on average."""

    step: str
    share: float
    actions: float | None


class Spread(_Answer):
    """A distribution of numbers in brief."""

    mean: float
    least: float
    most: float


class Ending(_Answer):
    """What is seen at the end of some futures, in words, and the share of the futures that end so."""

    sees: str
    share: float


class PlanFutures(_Answer):
    """What the world model expects of a plan; `views` are frames of its first future."""

    plan: str
    success: float = Field(description="Share of the futures in which every step was achieved.")
    steps: list[StepReached]
    actions: Spread | None = Field(description="Actions of the futures that succeed; none where no future does.")
    disagreement: float = Field(description="How unsure the model is, in nats an action.")
    ends: list[Ending]
    views: list[View]


class ActionFutures(_Answer):
    """What the world model expects of a sequence of actions, one number an action; `views` are of the first future."""

    actions: list[str]
    reward: list[float]
    continues: list[float] = Field(description="Probability that the episode goes on.")
    disagreement: list[float] = Field(description="How unsure the model is, in nats.")
    ends: list[Ending]
    views: list[View]


class Simulation(_Answer):
    """Distributions over imagined futures: the result of `simulate`."""

    kind: Literal["simulation"] = "simulation"
    futures: int
    taken: str | None = Field(default=None, description="The intervention, as it was understood.")
    plans: list[PlanFutures] = []
    actions: ActionFutures | None = None


class WhatIf(_Answer):
    """A plan's prospects as things are and as supposed: the result of `whatif`."""

    kind: Literal["whatif"] = "whatif"
    taken: str = Field(description="The change, as it was understood.")
    compared: Compared


class Dream(_Answer):
    """A life inside the learned model: the result of `generate`, and of what is done in it."""

    kind: Literal["dream"] = "dream"
    dream_id: str | None = Field(description="What to go on with; null where it is not kept.")
    world: str
    there: list[str] = Field(description="What the prompt's words were understood to name.")
    actions: list[str] = Field(description="The actions that can be taken.")
    taken: int = Field(description="Actions taken so far.")
    moments: list[Moment] = Field(description="What came of the request, moment by moment; the last one is now.")
    over: bool = Field(description="Whether it has ended, and nothing more can be done in it.")

    @property
    def now(self) -> Moment:
        """Return the present moment."""
        return self.moments[-1]


Result = Annotated[Answer | Judgements | Simulation | WhatIf | Dream, Field(discriminator="kind")]
State = Literal["queued", "running", "done", "failed", "stopped"]


class Report(_Answer):
    """How a run stands; `result` is there when it is done, `error` says what to do when it failed or was stopped."""

    run_id: str
    work: str
    goal: str | None
    state: State
    ahead: int = Field(description="Runs that come first.")
    news: str = Field(description="What happened last.")
    events: int = Field(description="How much has happened so far.")
    seconds: float = Field(description="Time since it began; while it is queued, since it was asked for.")
    result: Result | None
    error: str | None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in ("queued", "running")


class Place(_Answer):
    """The environment that a server acts in, and the words of its plan language."""

    id: str
    seed: int
    sees: str
    skills: list[str] = Field(description="The steps that a plan may hold.")
    words: dict[str, list[str]] = Field(description="The words of their arguments.")
    actions: list[str]
    grammar: str = Field(description="The plan language, as a Lark grammar.")


class Worlds(_Answer):
    """The server's own environment, and the worlds with which a server can be started."""

    here: Place
    worlds: list[str]


def tell(event: Event) -> str:
    """Say in one line what happened."""
    match event:
        case GoalReceived():
            return f"goal: {event.goal}"
        case Perceived():
            return event.scene
        case Proposed():
            wrote = "that no plan will do" if event.declined else f"{len(event.candidates)} plans"
            return f"wrote {wrote} in {event.seconds:.1f} s"
        case Rehearsed():
            return f"imagined {event.futures} futures of each of {len(event.plans)} plans in {event.seconds:.1f} s"
        case Judged():
            best = max(event.verdicts, key=lambda verdict: verdict.success)
            return f"judged {len(event.verdicts)} plans; the best: {best.plan.line()}, {best.success:.0%}"
        case Revising() | Declined():
            return event.why
        case Chosen():
            return f"chose {event.verdict.plan.line()}, {event.verdict.success:.0%}"
        case StepStarted():
            return f"step {event.index + 1} of {event.of}: {event.step}"
        case Acted():
            return f"action {event.number}: {event.action}"
        case StepEnded():
            return f"{event.step}: {event.result} after {event.actions} actions"
        case Replanning():
            return f"planning anew: {event.why}"
        case Outcome():
            return f"{event.status.replace('_', ' ')}: {event.message}"
        case Stored():
            return f"stored as episode {event.episode}"
        case Learned():
            return f"learned in {event.steps} gradient steps"
        case _:
            return event.kind.replace("_", " ")
