"""One episode of one arm as it is written down, and what a run of the loop adds up to. Knows no arm and no suite."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from gedanken.agent.events import Chosen, Declined, Event, Judged, Proposed, Rehearsed, StepEnded, StepStarted


@dataclass(frozen=True)
class Sample:
    """One episode of one arm; the later fields are those of arms that think.

    A decision ends with a plan chosen, or a refusal. `seconds` went into thinking, `acting_seconds` into choosing and
    taking actions; of what was done for many episodes at once each has its share. What the language model had been
    asked before in the same run counts as if it had been asked again. `verdicts` are those of every plan judged: its
    round, the plan, predicted success, and the probability that it is what was meant. Where an episode raised, `error`
    says what, with its `trace`.
    """

    task: str
    seed: int
    arm: str
    success: bool
    steps: int
    goal: str
    plan: str | None = None
    first_plan: str | None = None
    status: str | None = None
    predicted: float | None = None
    round: int | None = None
    rounds: int = 0
    replans: int = 0
    decisions: int = 0
    candidates: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0
    acting_seconds: float = 0.0
    actions: tuple[Any, ...] = ()
    verdicts: tuple[dict[str, Any], ...] = ()
    epoch: int = 1
    error: str | None = None
    trace: str | None = None


class Account:
    """Adds up what a run of the loop says of itself."""

    def __init__(self) -> None:
        self.proposed: list[Proposed] = []
        self.verdicts: list[dict[str, Any]] = []
        self.decisions, self.seconds, self.acting_seconds, self.began = 0, 0.0, 0.0, 0.0

    def __call__(self, event: Event) -> None:
        """Hear an event."""
        if isinstance(event, Proposed):
            self.proposed.append(event)
        if isinstance(event, Proposed | Rehearsed | Judged):
            self.seconds += event.seconds
        if isinstance(event, StepStarted):
            self.began = time.perf_counter()
        if isinstance(event, StepEnded):
            self.acting_seconds += time.perf_counter() - self.began
        if isinstance(event, Judged):
            self.verdicts += [
                {"round": event.round, "plan": v.plan.line(), "success": v.success, "satisfies": v.satisfies}
                for v in event.verdicts
            ]
        self.decisions += isinstance(event, Chosen | Declined)

    def sample(self, task: str, seed: int, arm: str) -> Sample:
        """Return what was said; how the episode ended is not in it."""
        first = self.proposed[0].candidates if self.proposed else []
        return Sample(
            task,
            seed,
            arm,
            success=False,
            steps=0,
            goal="",
            first_plan=first[0].plan.replace("\n", " → ") if first else None,
            decisions=self.decisions,
            candidates=sum(len(event.candidates) for event in self.proposed),
            tokens=sum(event.tokens for event in self.proposed),
            prompt_tokens=sum(event.prompt_tokens for event in self.proposed),
            seconds=self.seconds,
            acting_seconds=self.acting_seconds,
            verdicts=tuple(self.verdicts),
        )
