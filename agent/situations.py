"""Situations to judge plans in: sets of right and wrong plans, and what really happens when each is carried out.

The critic learns from these and the `rehearsal` suite measures it on them. Knows no language model and no verdicts.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch

from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.episode import STANDSTILL
from gedanken.worldmodel.protocol import Belief, WorldModel
from gedanken.worlds.protocol import DemonstratedWorld, Observation
from gedanken.worlds.spec import MAX_STEPS, Parameter, Phrase, Plan, Step, WorldSpec

PATIENCE = 48
"""Most actions spent on one step."""

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


@dataclass(frozen=True)
class Job:
    """A plan to carry out from the beginning of a level."""

    world: str
    seed: int
    plan: Plan


@dataclass(frozen=True)
class Executed:
    """What really happened: `reached[k]` counts the actions until step k was achieved, -1 where it was not."""

    success: bool
    steps: int
    reached: tuple[int, ...]

    @property
    def achieved(self) -> list[bool]:
        """Tell of every step whether it was achieved."""
        return [at >= 0 for at in self.reached]


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


# ---- what really happens -------------------------------------------------------------------------------------------


def first_beliefs(model: WorldModel, observations: Sequence[Observation]) -> Belief:
    """Return one belief per first view, its goal just given."""
    nothing = model.initial(len(observations))
    device = next(value.device for value in vars(nothing).values())
    start = torch.ones(len(observations), dtype=torch.bool, device=device)
    seen = torch.from_numpy(np.stack(observations)).to(device)
    return model.begin_goal(model.observe(nothing, start.long() * 0, seen, start), start)


def execute(
    world: DemonstratedWorld,
    env: gymnasium.Env[Any, Any],
    controller: Controller,
    plan: Plan,
    seed: int,
    rng: np.random.Generator,
    patience: int = PATIENCE,
    standstill: int = STANDSTILL,
) -> Executed:
    """Reset an environment and carry a plan out in it."""
    run = _Run(world, env, plan, seed, rng, patience, standstill)
    for _ in _lockstep(controller, [(0, run)], iter(())):
        pass
    return run.executed()


def execute_many(
    make_world: Callable[[str], DemonstratedWorld],
    jobs: Sequence[Job],
    controller: Controller,
    seed: int = 0,
    *,
    batch: int = 64,
    patience: int = PATIENCE,
    standstill: int = STANDSTILL,
    on_done: Callable[[int, Executed], None] | None = None,
) -> list[Executed]:
    """Carry many plans out, `batch` environments in lockstep; `on_done` hears of each as it ends.

    A plan ends at its level's end, at its own, or at a step that `patience` actions did not achieve or in which
    `standstill` actions in a row changed nothing. Each job draws its actions from a generator of its own, so that its
    neighbours do not matter (but for rounding).
    """
    worlds = {name: make_world(name) for name in {job.world for job in jobs}}
    idle: dict[str, list[gymnasium.Env[Any, Any]]] = {name: [] for name in worlds}
    results: dict[int, Executed] = {}

    def begin(index: int) -> _Run:
        job = jobs[index]
        env = idle[job.world].pop() if idle[job.world] else worlds[job.world].make()
        digest = zlib.crc32(f"{job.world}\n{job.plan}".encode())
        rng = np.random.default_rng((seed, job.seed, digest))
        return _Run(worlds[job.world], env, job.plan, job.seed, rng, patience, standstill)

    waiting = iter(range(len(jobs)))
    started = [(index, begin(index)) for index in itertools.islice(waiting, batch)]
    with torch.random.fork_rng(devices=[]):  # some families sample when they observe
        torch.manual_seed(seed)
        for index, run in _lockstep(controller, started, ((index, begin(index)) for index in waiting)):
            results[index] = run.executed()
            idle[jobs[index].world].append(run.env)
            if on_done is not None:
                on_done(index, results[index])
    return [results[index] for index in range(len(jobs))]


class _Run:
    """One plan under way in one environment."""

    def __init__(
        self,
        world: DemonstratedWorld,
        env: gymnasium.Env[Any, Any],
        plan: Plan,
        seed: int,
        rng: np.random.Generator,
        patience: int,
        standstill: int,
    ) -> None:
        self.world, self.env, self.plan, self.rng = world, env, plan, rng
        self.patience, self.standstill = patience, standstill
        raw, _ = env.reset(seed=seed)
        world.begin_goal(env)
        self.observation = world.observation(raw)
        self.codes = world.spec.plan_codes(plan.steps)
        self.reached = [-1] * len(plan.steps)
        self.current = self.spent = self.still = self.taken = self.action = 0
        self.success = self.over = False
        self._watch()

    @property
    def code(self) -> tuple[int, ...]:
        return self.codes[self.current]

    def act(self, chances: np.ndarray) -> None:
        """Draw an action from probabilities [A] and take it."""
        self.action = int(self.rng.choice(len(chances), p=chances / chances.sum()))
        raw, reward, terminated, truncated, _ = self.env.step(self.action)
        before, self.observation = self.observation, self.world.observation(raw)
        self.still = self.still + 1 if np.array_equal(before, self.observation) else 0
        self.taken += 1
        self.spent += 1
        self.success = float(reward) > 0
        if self.watch.achieved(self.action):
            self.reached[self.current] = self.taken
            self.current += 1
            self.spent = self.still = 0
        done = self.current == len(self.codes)
        failed = self.spent >= self.patience or self.still >= self.standstill
        self.over = self.success or terminated or truncated or done or failed
        if not self.over and self.spent == 0:
            self._watch()

    def executed(self) -> Executed:
        return Executed(success=self.success, steps=self.taken, reached=tuple(self.reached))

    def _watch(self) -> None:
        (self.watch,) = self.world.watch(self.env, [self.plan.steps[self.current]])


def _lockstep(
    controller: Controller, runs: list[tuple[int, _Run]], waiting: Iterator[tuple[int, _Run]]
) -> Iterator[tuple[int, _Run]]:
    """Advance runs together, one batch of network calls an action; yield each that ends and let the next one in."""
    model, device = controller.model, next(controller.parameters()).device
    belief = model.initial(len(runs))
    fresh = [True] * len(runs)
    while runs:
        first = torch.tensor(fresh, device=device)
        actions = torch.tensor([run.action for _, run in runs], device=device)
        seen = torch.from_numpy(np.stack([run.observation for _, run in runs])).to(device)
        with torch.no_grad():
            belief = model.begin_goal(model.observe(belief, actions, seen, first), first)
            belief = model.begin_step(belief, torch.tensor([run.spent == 0 for _, run in runs], device=device))
            chances = controller.act(belief, torch.tensor([run.code for _, run in runs], device=device)).exp()
        fresh, keep = [False] * len(runs), [True] * len(runs)
        for row, (_, run) in enumerate(runs):
            run.act(chances[row].double().cpu().numpy())
            if run.over:
                yield runs[row]
                following = next(waiting, None)
                keep[row] = fresh[row] = following is not None
                runs[row] = following or runs[row]
        if not all(keep):
            belief = belief[torch.tensor(keep, device=device)]
            runs = [run for run, kept in zip(runs, keep, strict=True) if kept]
            fresh = [is_fresh for is_fresh, kept in zip(fresh, keep, strict=True) if kept]
