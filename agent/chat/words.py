"""What is said of a goal in few words: how sure the agent is, how it ended, what it taught. Knows no screen."""

from __future__ import annotations

from pathlib import Path

from gedanken.agent.events import Learned, Outcome
from gedanken.agent.verdict import Verdict

UNSURE = 0.1
"""Nats of disagreement an action from which the world model is called unsure."""

LIKELY, POSSIBLE = 0.75, 0.4
"""Predicted success from which a plan is expected to work, or may work."""


def expectation(verdict: Verdict) -> str:
    """Say how likely a plan is to succeed, how sure that is, and why it might not."""
    said = f"{_sureness(verdict)}: {_percent(verdict.success)} ({100 * verdict.low:.0f}–{100 * verdict.high:.0f} %)"
    said += f", in about {counted(round(verdict.steps), 'action')}." if verdict.steps is not None else "."
    if verdict.satisfies is None:
        said += " Whether it is what you mean, I can't judge here."
    elif verdict.satisfies < LIKELY:
        said += f" That it is what you mean, I give {_percent(verdict.satisfies)}."
    if verdict.carried_out < LIKELY:
        said += f" {verdict.reasons[:1].upper()}{verdict.reasons[1:].rstrip('.')}."
    if verdict.disagreement > UNSURE:
        said += f" My world model is unsure here ({verdict.disagreement:.2f} nats an action): the numbers are rough."
    return said


def answer(outcome: Outcome) -> str:
    """Say in one line what was done, what had been expected, and what happened."""
    plan = " → ".join(outcome.plan.split("\n")) if outcome.plan else "no plan"
    expected = "" if outcome.predicted is None else f"; {_percent(outcome.predicted)} had been expected"
    actions = counted(outcome.steps, "action")
    anew = f", planned anew {_times(outcome.replans)}" if outcome.replans else ""
    match outcome.status:
        case "reached":
            return f"Reached: {plan}, every step achieved in {actions}{anew}{expected}."
        case "not_reached":
            return f"Not reached: {outcome.message}; {actions}, last with {plan}{anew}{expected}."
        case "declined":
            return f"I did nothing: {outcome.message.rstrip('.')}."
        case "not_approved":
            return "Nothing was done: you did not approve."
        case "imagined":
            return "Only imagined, nothing was done."
        case "interrupted":
            return f"Interrupted after {actions}; they are kept." if outcome.steps else "Interrupted; nothing was done."


def learnt(event: Learned) -> str:
    """Say what gradient steps changed, and whether that was for the better."""
    if not event.steps:
        return "Nothing was learnt: no episode of this world is stored yet."
    before, after = sum(event.before.values()), sum(event.after.values())
    better = "" if after < before else ", which is no better"
    where = f", into checkpoint {Path(event.checkpoint).name}" if event.checkpoint else ""
    return f"Learnt: {event.steps} gradient steps, loss {before:.3f} → {after:.3f}{better}{where}."


def counted(number: int, thing: str) -> str:
    """Say a number of things."""
    return f"{number} {thing}{'s' * (number != 1)}"


def _sureness(verdict: Verdict) -> str:
    """Say how sure a prediction is; quite sure only where the interval and the world model are, too."""
    if verdict.low >= LIKELY and verdict.disagreement <= UNSURE:
        return "I am quite sure of it"
    if verdict.success >= LIKELY:
        return "I expect it to work"
    return "It may work" if verdict.success >= POSSIBLE else "I doubt it"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
