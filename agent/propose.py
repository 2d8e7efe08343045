"""The language model's part: candidate plans for a goal, and better ones after criticism. Knows no world model.

A request is a pure function of what is known, so that many can be sent in one batch and answered from memory later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gedanken.agent.config import LoopConfig
from gedanken.agent.events import Candidate, Proposed
from gedanken.agent.llm.protocol import Completion, LanguageModel, PromptTooLong, Training, training_of
from gedanken.agent.llm.relay import Settings
from gedanken.agent.shades import explained
from gedanken.agent.spelling import mended
from gedanken.prompts import LONGEST_LINE, STOP, baseline, render, shorter
from gedanken.worlds.spec import NONE, Plan, SpecError, WorldSpec

MOST_ATTEMPTS = 3
"""Criticised plans that a prompt shows."""


class Promptable(Protocol):
    """What plans can be asked for: a `World`, or something that only says what plans may say."""

    @property
    def spec(self) -> WorldSpec:
        """Return the skills, from which the grammar follows."""
        ...

    @property
    def examples(self) -> Sequence[tuple[str, str, str]]:
        """Return examples for the prompt: (scene, goal, plan text)."""
        ...


@dataclass(frozen=True)
class Attempt:
    """A plan that was found wanting, and why."""

    plan: str
    reasons: str


@dataclass(frozen=True)
class Request:
    """Everything that a language model is asked, for one prompt."""

    prompt: str
    settings: Settings

    def send(self, llm: LanguageModel) -> list[Completion]:
        """Ask. Raises LLMError."""
        [completions] = self.settings.ask(llm, [self.prompt])
        return completions


def propose_prompt(
    world: Promptable, scene: str, goal: str, attempts: Sequence[Attempt] = (), training: Training | None = None
) -> str:
    """Return the prompt for plans that reach `goal`; with attempts, for plans better than those. Raises PromptError."""
    name, words = _words(world, scene, goal, attempts, training)
    return render(name, **words)


def _words(
    world: Promptable, scene: str, goal: str, attempts: Sequence[Attempt], training: Training | None
) -> tuple[str, dict[str, Any]]:
    """Return the name of a prompt and its values; a model that was trained on a prompt gets that one.

    Shades are explained in the goal, and slips mended for a model that was trained: it is small, and knows English.
    """
    if training:
        goal = as_read(goal, scene, world.spec)
        return training.prompt, {"scene": scene, "goal": goal, "attempts": list(attempts)[-MOST_ATTEMPTS:]}
    goal = explained(goal, world.spec)
    words: dict[str, Any] = {
        "skills": [skill.signature() for skill in world.spec.skills],
        "examples": world.examples,
        "scene": scene,
        "goal": goal,
    }
    if not attempts:
        return "propose", words
    return "revise", words | {"attempts": list(attempts)[-MOST_ATTEMPTS:]}


def as_read(goal: str, scene: str, spec: WorldSpec) -> str:
    """Return a goal as the trained planner reads it in a scene: slips mended, shades explained."""
    names = [skill.name for skill in spec.skills]
    own = [scene, *names, *(value for attribute in spec.attributes for value in attribute.values)]
    return explained(mended(goal, " ".join(own)), spec)


def propose_request(
    world: Promptable,
    scene: str,
    goal: str,
    config: LoopConfig,
    *,
    round: int = 0,
    attempts: Sequence[Attempt] = (),
    known: Sequence[str] = (),
    training: Training | None = None,
    may_decline: bool = False,
) -> Request:
    """Return what round `round` asks, plans in `known` not wanted; the same arguments give the same request.

    `training` is what the language model was trained on, see `training_of`; there is then nothing to be steered away
    from, and where it `may_decline` and has been taught to, it may write that no plan will do.
    """
    name, words = _words(world, scene, goal, attempts, training)
    settings = Settings(
        n=config.candidates,
        grammar=world.spec.grammar(none=may_decline and training is not None and training.declines)
        if config.grammar
        else None,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        stop=STOP,
        seed=config.seed + round,
        baseline=None if training else baseline(name, **words),
        exclude=tuple(known),
    )
    return Request(render(name, **words), settings)


def propose(
    world: Promptable,
    llm: LanguageModel,
    scene: str,
    goal: str,
    config: LoopConfig,
    *,
    round: int = 0,
    attempts: Sequence[Attempt] = (),
    known: Sequence[str] = (),
    may_decline: bool = False,
) -> Proposed:
    """Ask for candidates other than the plans in `known`, and merge those that are the same plan.

    Those of a language model that was trained to plan come in the order of its belief in them; else the greedy one is
    first. One that `may_decline` and believes most that no plan will do, proposes none. Where the prompt is too long,
    less and less of the scene is told, then fewer attempts; the goal is always whole. Raises LLMError.
    """
    training = training_of(llm)
    asking: dict[str, Any] = {"round": round, "known": known, "training": training, "may_decline": may_decline}
    told = scene
    while len(told) > LONGEST_LINE:
        told = shorter(told, goal)
    while True:
        request = propose_request(world, told, goal, config, attempts=attempts, **asking)
        try:
            completions = request.send(llm)
            break
        except PromptTooLong:
            if told:
                told = shorter(told, goal)
            elif attempts:
                attempts = attempts[1:]
            else:
                raise
    fresh: dict[str, Candidate] = {}
    merged = unreadable = 0
    for completion in completions:
        if _is_none(completion):
            continue
        plan = _parsed(world, completion)
        if plan is None:
            unreadable += 1
        elif (text := str(plan)) in fresh or text in known:
            merged += 1
        else:
            probability = completion.log_probability
            said = None if probability != probability else probability  # NaN: the server does not say
            fresh[text] = Candidate(plan=text, log_probability=said, round=round)
    candidates = list(fresh.values())
    if training and all(candidate.log_probability is not None for candidate in candidates):
        candidates.sort(key=lambda candidate: candidate.log_probability or 0.0, reverse=True)
    declined = bool(completions) and _is_none(_likeliest(completions))
    read = completions[0].prompt_tokens if completions else 0
    written = sum(completion.completion_tokens for completion in completions)
    return Proposed(
        round=round,
        candidates=[] if declined else candidates,
        declined=declined,
        merged=merged,
        unreadable=unreadable,
        shortened=told != scene,
        prompt_tokens=read,
        tokens=written,
        dollars=config.dollars(read, written),
        seconds=max((completion.seconds for completion in completions), default=0.0),
        model=llm.name,
    )


def _is_none(completion: Completion) -> bool:
    return completion.text.strip() == NONE


def _likeliest(completions: Sequence[Completion]) -> Completion:
    """Return the completion with the highest probability, the first one where a server does not say."""
    if any(math.isnan(completion.log_probability) for completion in completions):
        return completions[0]
    return max(completions, key=lambda completion: completion.log_probability)


def _parsed(world: Promptable, completion: Completion) -> Plan | None:
    """Return the plan of a text; a step that was cut off at the end is left out, None where nothing is left."""
    text = completion.text
    if completion.truncated:
        text = text.rpartition("\n")[0]
    try:
        return world.spec.parse_plan(text)
    except SpecError:
        return None
