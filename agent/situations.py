"""Situations to judge plans in: sets of right and wrong plans, each to be really carried out by `execution`.

The critic learns from these and the `rehearsal` suite measures it on them. Knows no language model and no verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch

from gedanken.agent.execution import Executed, Job, execute_many
from gedanken.worldmodel.protocol import Belief, VectorDynamics, WorldModel
from gedanken.worlds.protocol import DemonstratedWorld, Observation
from gedanken.worlds.spec import MAX_STEPS, Parameter, Phrase, Plan, Step, WorldSpec

RIGHT = "right"
NO_KEY, WRONG_KEY = "prerequisite missing", "wrong prerequisite"
KINDS = ("wrong object", "wrong place", "wrong order", "wrong skill", "step missing", NO_KEY, WRONG_KEY)
"""How a right plan is spoilt. A prerequisite is a step before the last: the key of a locked door."""

MORE_KINDS = (*KINDS, "said otherwise", "step too many")
"""Changes that may leave a plan right, too: what really happens decides."""

WRITTEN = "language model"
"""The kind of plans that a language model wrote, beside those that `make_plans` makes."""


@dataclass(frozen=True)
class Situation:
    """One beginning of one level, with plans to judge; `kinds` says how each plan was made."""

    world: str
    seed: int
    goal: str
    observation: Observation  # the first view
    plans: tuple[Plan, ...]
    kinds: tuple[str, ...]

    def with_plans(self, plans: Iterable[Plan], kind: str) -> Situation:
        """Add plans that are not in the set yet."""
        new = [plan for plan in dict.fromkeys(plans) if plan not in self.plans]
        return replace(self, plans=(*self.plans, *new), kinds=(*self.kinds, *[kind] * len(new)))


# ---- plans ---------------------------------------------------------------------------------------------------------


def situations(
    make_world: Callable[[str], DemonstratedWorld],
    worlds: Sequence[str],
    seeds: Iterable[int],
    *,
    size: int = 6,
    kinds: Sequence[str] = KINDS,
) -> Iterator[Situation]:
    """Yield one situation per seed, the levels taking turns; the seed fixes everything."""
    made = {name: make_world(name) for name in worlds}
    environments = {name: world.make() for name, world in made.items()}
    for turn, seed in enumerate(seeds):
        name = worlds[turn % len(worlds)]
        world, env = made[name], environments[name]
        raw, _ = env.reset(seed=seed)
        world.begin_goal(env)
        plans = make_plans(world, env, np.random.default_rng((seed, 2)), size=size, kinds=kinds)
        yield Situation(
            world=name,
            seed=seed,
            goal=world.mission(raw),
            observation=world.observation(raw),
            plans=tuple(plan for plan, _ in plans),
            kinds=tuple(kind for _, kind in plans),
        )


def make_plans(
    world: DemonstratedWorld,
    env: gymnasium.Env[Any, Any],
    rng: np.random.Generator,
    *,
    size: int = 6,
    kinds: Sequence[str] = KINDS,
) -> list[tuple[Plan, str]]:
    """Return, in any order, the right plan for the environment's own goal and up to `size` - 1 spoilt ones.

    The kinds take turns. Raises SpecError where the skills cannot say the goal.
    """
    right = world.mission_steps(env)
    practice = [step for _ in range(24) for step in world.sample_steps(env, rng)]
    pools: dict[str, list[tuple[Step, ...]]] = {kind: [] for kind in kinds}
    for steps, kind in _spoilt(world.spec, right, practice):
        if kind in pools and 1 <= len(steps) <= MAX_STEPS:
            pools[kind].append(steps)
    for pool in pools.values():
        rng.shuffle(pool)
    chosen = {right: RIGHT}
    turns = [kind for kind in kinds if pools[kind]]
    rng.shuffle(turns)
    while len(chosen) < size and any(pools.values()):
        for kind in turns:
            while pools[kind] and len(chosen) < size:
                steps = pools[kind].pop()
                if steps not in chosen:
                    chosen[steps] = kind
                    break
    found = [(Plan(steps=steps), kind) for steps, kind in chosen.items()]
    return [found[i] for i in rng.permutation(len(found))]  # or who breaks ties by order would know the right one


def _spoilt(
    spec: WorldSpec, right: tuple[Step, ...], practice: Sequence[Step]
) -> Iterator[tuple[tuple[Step, ...], str]]:
    """Yield changed plans with the kind of the change; `practice` steps speak of what is really there."""
    there = list(dict.fromkeys(phrase for step in practice for phrase in step.arguments))
    last = len(right) - 1
    for index, step in enumerate(right):

        def with_step(*steps: Step, index: int = index) -> tuple[Step, ...]:
            return (*right[:index], *steps, *right[index + 1 :])

        wrong, missing = ("wrong object", "step missing") if index == last else (WRONG_KEY, NO_KEY)
        for position, phrase in enumerate(step.arguments):
            for other in [*there, *_neighbours(spec, phrase)]:
                arguments = (*step.arguments[:position], other, *step.arguments[position + 1 :])
                kind = _difference(spec, phrase, other)
                if kind and _allowed(spec, step.skill, arguments):
                    label = wrong if kind == "wrong object" else kind
                    yield with_step(step.model_copy(update={"arguments": arguments})), label
        if len(step.arguments) == 2 and _allowed(spec, step.skill, step.arguments[::-1]):
            yield with_step(step.model_copy(update={"arguments": step.arguments[::-1]})), "wrong order"
        if last:
            yield with_step(), missing
        for skill in spec.skills:
            arity = len(skill.parameters)
            arguments = step.arguments[:arity]
            if skill.name != step.skill and 0 < arity == len(arguments) and _allowed(spec, skill.name, arguments):
                kind = missing if index < last or arity < len(step.arguments) else "wrong skill"
                yield with_step(Step(skill=skill.name, arguments=arguments)), kind
        for extra in dict.fromkeys(practice):
            if extra not in right:
                yield with_step(extra, step), "step too many"
                yield with_step(step, extra), "step too many"
    if last:
        yield right[::-1], "wrong order"


def _neighbours(spec: WorldSpec, phrase: Phrase) -> Iterator[Phrase]:
    """Yield phrases that differ in one word, said or left out."""
    for index, attribute in enumerate(spec.attributes):
        for value in (*attribute.values, *[None] * attribute.optional):
            if value != phrase[index]:
                yield (*phrase[:index], value, *phrase[index + 1 :])


def _difference(spec: WorldSpec, right: Phrase, other: Phrase) -> str | None:
    """Say how another phrase differs: a contradicting word, or words added and left out; None where it does not."""
    if right == other:
        return None
    kind = "said otherwise"
    for attribute, ours, theirs in zip(spec.attributes, right, other, strict=True):
        general = (None, attribute.any_value)
        if ours != theirs and ours not in general and theirs not in general:
            if attribute.channel is not None:
                return "wrong object"
            kind = "wrong place"
    return kind


def _allowed(spec: WorldSpec, skill: str, arguments: Sequence[Phrase]) -> bool:
    return all(
        word is None or word in dict(parameter.allowed).get(attribute.name, ())
        for parameter, phrase in zip(spec.skill(skill).parameters, arguments, strict=True)
        if isinstance(parameter, Parameter)
        for attribute, word in zip(spec.attributes, phrase, strict=True)
    )


def first_beliefs(model: WorldModel | VectorDynamics, observations: Sequence[Observation]) -> Belief:
    """Return one belief per first view, its goal just given."""
    nothing = model.initial(len(observations))
    device = next(value.device for value in vars(nothing).values())
    start = torch.ones(len(observations), dtype=torch.bool, device=device)
    seen = torch.from_numpy(np.stack(observations)).to(device)
    return model.begin_goal(model.observe(nothing, start.long() * 0, seen, start), start)


__all__ = [
    "KINDS",
    "MORE_KINDS",
    "RIGHT",
    "WRITTEN",
    "Executed",
    "Job",
    "Situation",
    "execute_many",
    "first_beliefs",
    "make_plans",
    "situations",
]
