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
from gedanken.worlds.spec import Plan

BELIEF = 1 / 16
"""Power of the language model's belief in a plan, next to its round's likeliest, by which that plan counts less.

Found on goals of training seeds, see docs/log.md.
"""


@dataclass(frozen=True)
class Reading:
    """A plan written in a round, the goal that it would be right for in the world's words, and its log-probability.

    A world that shows numbers has no other words than the plan itself.
    """

    plan: Plan
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
    say = world.say if isinstance(world, SayingWorld) else Plan.line
    plans = [(world.spec.parse_plan(c.plan), c.round, c.log_probability) for c in candidates]
    return tuple(Reading(plan, say(plan), round, said) for plan, round, said in plans if said is not None)


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
    met[torch.tensor([[plan == reading.plan for plan in plans] for reading in first])] = 1.0  # that is what it says
    return chances @ met * torch.tensor([_belief(plan, readings) ** BELIEF for plan in plans])


def _belief(plan: Plan, readings: Sequence[Reading]) -> float:
    """Return how likely a plan is next to the likeliest of its round; 1 for one that nobody wrote."""
    own = [reading for reading in readings if reading.plan == plan]
    if not own:
        return 1.0
    return max(
        math.exp(reading.log_probability - max(r.log_probability for r in readings if r.round == reading.round))
        for reading in own
    )
