"""The loop's nodes as plain functions ``(state, mind) -> changes``; each can be called without a graph.

Where a node decides what comes next, the name of the next node comes back beside the changes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from gedanken.agent import act as acting
from gedanken.agent import deliberate, goals, remember
from gedanken.agent import propose as proposing
from gedanken.agent.deliberate import Listener, Option
from gedanken.agent.events import (
    ApprovalAnswered,
    ApprovalAsked,
    Candidate,
    Chosen,
    Declined,
    Judged,
    Outcome,
    Perceived,
    Proposed,
    Replanning,
    Revising,
    Status,
)
from gedanken.agent.mind import Mind, view_of
from gedanken.agent.propose import Attempt
from gedanken.agent.readings import readings_of
from gedanken.agent.state import (
    State,
    attempts_in,
    candidates_of,
    chosen_of,
    dump_option,
    first_of,
    fresh,
    options_of,
)
from gedanken.worlds.spec import Plan

PERSON = "you"
"""Who wrote a plan that was given."""


def perceive(state: State, mind: Mind) -> State:
    """Put what is known of the surroundings into words."""
    mind.heed()
    scene = mind.session.scene()
    mind.emit(Perceived(scene=scene, view=view_of(mind.session.view)))
    return State(scene=scene)


def propose(state: State, mind: Mind) -> State:
    """Ask the language model for plans; what reality refuted, and verdicts where there are any, are told.

    A person's own plan is taken as it is, and the language model is not asked.
    """
    mind.heed()
    if (given := state.get("given")) and not state["round"]:
        candidate = Candidate(plan=given, log_probability=None, round=0)
        mind.emit(
            Proposed(
                round=0,
                candidates=[candidate],
                merged=0,
                unreadable=0,
                prompt_tokens=0,
                tokens=0,
                seconds=0.0,
                model=PERSON,
            )
        )
        return State(candidates=[candidate.model_dump()], round=1)
    judged = options_of(state)
    attempts = attempts_in(state) + deliberate.attempts_of(judged)
    refuted = _refuted(state)
    known = [str(option.plan) for option in judged] + refuted
    proposed = proposing.propose(
        mind.world,
        mind.llm,
        state["scene"],
        goals.heard(mind.world, state["goal"]),
        mind.config,
        round=state["round"],
        attempts=attempts,
        known=known,
        may_decline=mind.session.free and not attempts,
    )
    if judged and deliberate.nothing_new(proposed, mind.llm):
        proposed = proposed.model_copy(update={"holds": True})
    mind.emit(proposed)
    candidates = [] if proposed.holds else list(proposed.candidates)
    chosen = chosen_of(state)
    own = [Candidate(plan=str(chosen.plan), log_probability=0.0, round=0)] if _given(state) and chosen else []
    first = state.get("first") or [candidate.model_dump() for candidate in own or candidates]  # say what is meant
    if state["replans"] and not judged and chosen and str(chosen.plan) not in {*known, *(c.plan for c in candidates)}:
        # What is left of the plan under way is a candidate, too.
        candidates.append(Candidate(plan=str(chosen.plan), log_probability=chosen.log_probability, round=chosen.round))
    return State(
        first=first,
        candidates=[candidate.model_dump() for candidate in candidates],
        round=state["round"] + 1,
        prompt_tokens=state.get("prompt_tokens", 0) + proposed.prompt_tokens,
        tokens=state["tokens"] + proposed.tokens,
    )


def rehearse(state: State, mind: Mind) -> tuple[Literal["revise", "choose"], State]:
    """Imagine and judge the new candidates; decide whether another round is wanted."""
    mind.heed()
    candidates, judged = candidates_of(state), options_of(state)
    if candidates:
        number, spec = state["round"] - 1, mind.world.spec
        written = [*first_of(state), *(option.candidate for option in judged), *candidates]
        readings = readings_of(mind.world, mind.llm, written)
        plans = [spec.parse_plan(candidate.plan) for candidate in candidates]
        verdicts = deliberate.hardly_meant(mind.critic, candidates, plans, readings)
        begins, seconds = dict.fromkeys(verdicts, 0), 0.0
        if rest := [index for index in range(len(plans)) if index not in verdicts]:
            rehearsal, steps, rehearsed = deliberate.imagine(
                mind.trained.actor,
                mind.session.belief,
                [plans[index] for index in rest],
                mind.session.achieved_steps(),
                mind.config,
                number,
                mind.emit,
            )
            mind.emit(rehearsed)
            found = deliberate.judge(mind.critic, state["goal"], rehearsal, mind.world.describe, number, readings)
            verdicts |= dict(zip(rest, found.verdicts, strict=True))
            begins |= dict(zip(rest, steps, strict=True))
            seconds = found.seconds
        ordered = [verdicts[index] for index in range(len(plans))]
        mind.emit(Judged(round=number, verdicts=ordered, seconds=seconds))
        judged = judged + deliberate.options(candidates, ordered, [begins[index] for index in range(len(plans))])
    changes = State(candidates=[], judged=[dump_option(option) for option in judged])
    left = state["revisions"] < mind.config.rounds and not _given(state)
    wanted = deliberate.wants_revision(judged, mind.config) is not None
    again = left and wanted and candidates and not _beyond(state["goal"], judged, mind)
    return ("revise" if again else "choose"), changes


def revise(state: State, mind: Mind) -> State:
    """Begin another round."""
    why = deliberate.wants_revision(options_of(state), mind.config) or ""
    mind.emit(Revising(round=state["round"], why=why))
    return State(revisions=state["revisions"] + 1)


def choose(state: State, mind: Mind) -> tuple[Literal["approve", "finish"], State]:
    """Take the best plan, or decline where none is worth doing."""
    judged = options_of(state)
    best = deliberate.choose(judged, mind.config.tie) if judged else None
    known, _ = mind.session.known()
    missing = goals.missing(mind.world.spec, known, best.plan) if best and mind.session.free else []
    why = deliberate.why_not(best, missing, mind.config)
    if why is not None and not state["replans"] and not _given(state):
        mind.emit(Declined(why=why, can=goals.abilities(mind.world.spec), sees=state["scene"]))
        outcome = _outcome(state, mind, "declined", why)
        return "finish", State(chosen=None, outcome=outcome.model_dump(mode="json"))
    if best is None or (state["replans"] and not deliberate.meant(best.verdict, mind.config)):
        outcome = _outcome(state, mind, "not_reached", why or "no other plan could be made")
        return "finish", State(outcome=outcome.model_dump(mode="json"))
    mind.emit(Chosen(plan=str(best.plan), verdict=best.verdict, round=best.round, among=len(judged)))
    changes = State(chosen=dump_option(best), among=len(judged))
    if not state["execute"]:
        outcome = _outcome({**state, **changes}, mind, "imagined", "imagined only, nothing was done")
        return "finish", {**changes, "outcome": outcome.model_dump(mode="json")}
    return "approve", changes


def approve(state: State, mind: Mind) -> tuple[Literal["act", "finish"], State]:
    """Ask a person, where there is one to ask; a plan made on the way needs no second yes."""
    chosen = chosen_of(state)
    if mind.approve is None or state["replans"] or chosen is None:
        return "act", State()
    asked = ApprovalAsked(plan=str(chosen.plan), success=chosen.verdict.success)
    mind.emit(asked)
    approved = mind.approve(asked)
    mind.emit(ApprovalAnswered(approved=approved))
    if approved:
        return "act", State()
    outcome = _outcome(state, mind, "not_approved", "you said no, so nothing was done")
    return "finish", State(outcome=outcome.model_dump(mode="json"))


def act(state: State, mind: Mind) -> tuple[Literal["perceive", "finish"], State]:
    """Carry the plan out; where reality differs, plan anew from what is known then."""
    chosen = chosen_of(state)
    if chosen is None:
        raise ValueError("nothing was chosen, so there is nothing to do")
    if mind.cut_off == "act":  # look again before anything else is done
        mind.cut_off = None
        return _replan(
            state, mind, Attempt(str(chosen.plan), "it was cut off"), "the run was cut off while acting", counts=0
        )
    mind.doing = state
    carried = acting.carry_out(mind, chosen.plan, chosen.begin, state["scene"])
    came = [*state.get("foretold", []), *acting.came_of(chosen.verdict, carried, mind.session)]
    next, changes = _after(state, mind, chosen.plan, carried)
    return next, {**changes, "foretold": came}


def _after(
    state: State, mind: Mind, plan: Plan, carried: acting.Carried
) -> tuple[Literal["perceive", "finish"], State]:
    """Say what comes after a plan ended as it did."""
    session = mind.session
    if carried.ending == "reached" or (carried.ending == "done" and session.free):
        return _finished(state, mind, "reached", f"reached in {session.spent} actions")
    if carried.ending in ("over", "broken"):
        return _finished(state, mind, "not_reached", carried.why)
    why = "the plan was carried out, but the goal was not met" if carried.ending == "done" else carried.why
    if state["replans"] >= mind.config.replans:
        return _finished(state, mind, "not_reached", f"gave up after {state['replans']} new plans: {why}")
    return _replan(state, mind, Attempt(str(plan), why), why, final=carried.ending == "done")


def finish(state: State, mind: Mind) -> State:
    """Store the episode and learn from it; say how it ended."""
    outcome = Outcome.model_validate(state["outcome"])
    mind.emit(outcome)
    stored = remember.store(mind, outcome, state.get("foretold", []))
    learned = None
    if stored:
        mind.ended = outcome.model_copy(update={"episode": stored.episode})
        mind.emit(stored)
        learned = remember.learn(mind.trained, mind.store, steps=mind.config.learn_steps, seed=mind.config.seed)
    if learned:
        mind.emit(learned)
    told = {
        "episode": stored.episode if stored else None,
        "checkpoint": learned.checkpoint if learned else None,
        "seconds": time.time() - state["began"],
    }
    return State(outcome=state["outcome"] | told)


def _refuted(state: State) -> list[str]:
    """Return the plans that are not tried again: carried out in vain, or given up on the way for the second time."""
    tried = [item["plan"] for item in state["attempts"]]
    return [item["plan"] for item in state["attempts"] if item["final"] or tried.count(item["plan"]) > 1]


def _given(state: State) -> bool:
    """Whether the plan under consideration is a person's own: it is neither revised nor declined."""
    return bool(state.get("given")) and not state["replans"]


def _beyond(goal: str, judged: Sequence[Option], mind: Mind) -> bool:
    """Whether other plans would be in vain: nothing here is spoken of, and no plan so far or single step is meant.

    Only of a person's goals; the environment's own can always be met.
    """
    if not (mind.session.free and isinstance(mind.critic, Listener)) or goals.speaks_of(mind.world.spec, goal):
        return False
    if any(deliberate.meant(option.verdict, mind.config) for option in judged):
        return False
    steps = goals.single_steps(mind.world.spec)
    return bool(steps) and max(mind.critic.satisfies(goal, steps)) < mind.config.meaning


def _replan(
    state: State, mind: Mind, attempt: Attempt, why: str, *, counts: int = 1, final: bool = False
) -> tuple[Literal["perceive", "finish"], State]:
    number = state["replans"] + counts
    mind.emit(Replanning(why=why, number=number))
    refuted = [*state["attempts"], {"plan": attempt.plan, "reasons": attempt.reasons, "final": final}]
    return "perceive", State(attempts=refuted, replans=max(number, 1), judged=[], revisions=0)


def _finished(state: State, mind: Mind, status: Status, message: str) -> tuple[Literal["perceive", "finish"], State]:
    return "finish", State(outcome=_outcome(state, mind, status, message).model_dump(mode="json"))


def interrupted(goal: str, mind: Mind) -> Outcome:
    """Return the outcome of a run that was ended from outside."""
    state = mind.doing or fresh(goal, execute=True, began=time.time())
    return _outcome(state, mind, "interrupted", f"interrupted after {mind.session.spent} actions")


def _outcome(state: State, mind: Mind, status: Status, message: str) -> Outcome:
    chosen = chosen_of(state)
    verdict = chosen.verdict if chosen else None
    return Outcome(
        goal=state["goal"],
        world=mind.world.id,
        seed=mind.session.seed,
        status=status,
        message=message,
        plan=str(chosen.plan) if chosen else None,
        verdict=verdict,
        predicted=verdict.success if verdict else None,
        steps=mind.session.spent if state["execute"] else 0,
        reward=mind.session.reward if state["execute"] else 0.0,
        round=chosen.round if chosen else None,
        rounds=state["round"],
        replans=state["replans"],
        prompt_tokens=(read := state.get("prompt_tokens", 0)),
        tokens=state["tokens"],
        dollars=mind.config.dollars(read, state["tokens"]),
        seconds=time.time() - state["began"],
    )
