"""What a goal is taken to mean: the plans that a language model wrote for it, said again in the world's own words.

A model that was trained to plan knows more words than the critic's head (`goal_match`), and the head knows better than
it which plans meet a goal in plain words. So the head judges a plan against every such reading of the goal, and these
count as much as the language model believes in them. In worlds that show numbers there is no head: what is meant is
what the first round's plans ask for, and nothing less. Knows no environment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gedanken.agent.events import Candidate
from gedanken.agent.goal_match import GoalMatch
from gedanken.agent.llm.protocol import Encoder, LanguageModel, training_of
from gedanken.agent.propose import Promptable
from gedanken.worlds.fields import VectorField
from gedanken.worlds.protocol import SayingWorld
from gedanken.worlds.spec import Plan, Step, WorldSpec

BELIEF = 1 / 16
"""Power of the language model's belief in a plan, next to its round's likeliest, by which that plan counts less.

Found on goals of training seeds, see docs/log.md.
"""


OTHER_THING = 0.1
"""Most that a plan can be what is meant where it does a step to a thing of another colour or kind: an accident.

Of such plans 14 % really met the goal on their way, see docs/log.md.
"""


@dataclass(frozen=True)
class Reading:
    """A plan written in a round, what it is for, that in the world's words as a goal, and its log-probability.

    A world that shows numbers has no other words than the plan itself.
    """

    plan: Plan
    aim: Plan
    text: str
    round: int
    log_probability: float


def readings_of(world: Promptable, llm: LanguageModel, candidates: Iterable[Candidate]) -> tuple[Reading, ...]:
    """Return the readings that candidates amount to.

    None where the language model was not trained to plan, does not say what it believes, or a grid has no words.
    """
    numbers = isinstance(world.spec.observation, VectorField)
    if training_of(llm) is None or not (numbers or isinstance(world, SayingWorld)):
        return ()
    found = []
    for candidate in candidates:
        if (believed := candidate.log_probability) is not None:
            plan = world.spec.parse_plan(candidate.plan)
            aim, text = (world.aim(plan), world.say(plan)) if isinstance(world, SayingWorld) else (plan, plan.line())
            found.append(Reading(plan, aim, text, candidate.round, believed))
    return tuple(found)


def kept_to(plans: Sequence[Plan], readings: Sequence[Reading]) -> list[float]:
    """Return, for each plan, the probability that it holds all that is meant, objective by objective and in order.

    It may hold more: what must come first, or be avoided. A plan that asks for less, or for something near it, is no
    way to what was said.
    """
    first = _first(readings)
    chances = torch.tensor([reading.log_probability for reading in first]).softmax(0).tolist()
    return [
        sum(chance for chance, reading in zip(chances, first, strict=True) if _holds(plan, reading.plan))
        for plan in plans
    ]


def _holds(plan: Plan, other: Plan) -> bool:
    left = iter(plan.steps)
    return all(step in left for step in other.steps)


def _first(readings: Sequence[Reading]) -> list[Reading]:
    """Return the first round's readings: later plans answer to what was found wrong with those before."""
    return [reading for reading in readings if reading.round == min(r.round for r in readings)]


@torch.no_grad()
def understood(match: GoalMatch, encoder: Encoder, plans: Sequence[Plan], readings: Sequence[Reading]) -> Tensor:
    """Return, for each plan [N], the probability that achieving its steps is what is meant.

    The first round's readings say what that is. How much a plan was believed in is told in its own round.
    """
    first = _first(readings)
    chances = torch.tensor([reading.log_probability for reading in first]).softmax(0)
    met = torch.stack([match.probability(encoder, reading.text, plans) for reading in first])  # [readings, N]
    others = torch.tensor([[_others(match.spec, plan, reading.aim) for plan in plans] for reading in first])
    met = torch.where(others, met.clamp(max=OTHER_THING), met)
    met[torch.tensor([[plan == reading.plan for plan in plans] for reading in first])] = 1.0  # that is what it says
    return chances @ met * torch.tensor([_belief(plan, readings) ** BELIEF for plan in plans])


def _others(spec: WorldSpec, plan: Plan, aim: Plan) -> bool:
    """Tell whether some step of an aim is done in a plan, but to things of other colours or kinds only."""
    return any(
        all(_conflict(spec, done, step) for done in same)
        for step in aim.steps
        if (same := [done for done in plan.steps if done.skill == step.skill])
    )


def _conflict(spec: WorldSpec, step: Step, other: Step) -> bool:
    """Tell whether two steps of one skill speak of things that can't be the same; places can be seen either way."""
    return any(
        attribute.channel is not None and None not in (a, b) and a != b and attribute.any_value not in (a, b)
        for one, another in zip(step.arguments, other.arguments, strict=True)
        for attribute, a, b in zip(spec.attributes, one, another, strict=True)
    )


def _belief(plan: Plan, readings: Sequence[Reading]) -> float:
    """Return how likely a plan is next to the likeliest of its round; 1 for one that nobody wrote."""
    own = [reading for reading in readings if reading.plan == plan]
    if not own:
        return 1.0
    return max(
        math.exp(reading.log_probability - max(r.log_probability for r in readings if r.round == reading.round))
        for reading in own
    )
