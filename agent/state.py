"""The graph's state: plain data only, so that a checkpoint is readable and a killed run can go on. Knows no graph."""

from __future__ import annotations

from typing import Any, TypedDict

from gedanken.agent.deliberate import Option
from gedanken.agent.events import Candidate
from gedanken.agent.propose import Attempt
from gedanken.agent.verdict import Verdict


class State(TypedDict, total=False):
    """One goal under way; models, tensors and the environment live in the `Mind`, real actions in the journal."""

    goal: str
    execute: bool  # False: imagine only
    given: str | None  # a person's own plan, taken instead of what a language model would write
    began: float  # seconds since the epoch
    scene: str
    round: int  # rounds of proposals so far, replanning included
    revisions: int  # rounds of revision since the last (re)planning
    replans: int
    prompt_tokens: int
    tokens: int
    first: list[dict[str, Any]]  # candidates of the first round, which say what the goal is taken to mean
    candidates: list[dict[str, Any]]  # to rehearse next
    judged: list[dict[str, Any]]  # options since the last (re)planning
    attempts: list[dict[str, Any]]  # what reality refuted; `final`: carried out whole, and the goal was not met
    foretold: list[dict[str, Any]]  # of the plans carried out, and whether they then were; see `acting.came_of`
    chosen: dict[str, Any] | None
    among: int  # plans the chosen one was chosen from
    outcome: dict[str, Any]


def fresh(goal: str, *, execute: bool, began: float, given: str | None = None) -> State:
    """Return the state in which a goal begins."""
    return State(
        goal=goal,
        execute=execute,
        given=given,
        began=began,
        scene="",
        round=0,
        revisions=0,
        replans=0,
        prompt_tokens=0,
        tokens=0,
        first=[],
        candidates=[],
        judged=[],
        attempts=[],
        foretold=[],
        chosen=None,
        among=0,
        outcome={},
    )


def candidates_of(state: State) -> list[Candidate]:
    """Return the candidates to rehearse next."""
    return [Candidate.model_validate(item) for item in state["candidates"]]


def first_of(state: State) -> list[Candidate]:
    """Return the candidates of the first round."""
    return [Candidate.model_validate(item) for item in state.get("first", [])]


def options_of(state: State) -> list[Option]:
    """Return the plans judged since the last (re)planning."""
    return [_option(item) for item in state["judged"]]


def chosen_of(state: State) -> Option | None:
    """Return the plan chosen, if one was."""
    chosen = state.get("chosen")
    return _option(chosen) if chosen else None


def attempts_in(state: State) -> list[Attempt]:
    """Return the plans that reality refuted."""
    return [Attempt(item["plan"], item["reasons"]) for item in state["attempts"]]


def dump_option(option: Option) -> dict[str, Any]:
    """Return an option as plain data."""
    return {
        "verdict": option.verdict.model_dump(mode="json"),
        "round": option.round,
        "log_probability": option.log_probability,
        "begin": option.begin,
    }


def _option(item: dict[str, Any]) -> Option:
    return Option(Verdict.model_validate(item["verdict"]), item["round"], item["log_probability"], item.get("begin", 0))
