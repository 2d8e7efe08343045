"""What really happens when plans are carried out: many environments in lockstep, one batch of network calls an action.

Knows no language model, no verdicts and no conversation; `act` carries out a plan for a session.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from gedanken.agent.session import known_to
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.episode import STANDSTILL
from gedanken.worldmodel.foresight import Foresight
from gedanken.worldmodel.protocol import Belief
from gedanken.worldmodel.tried import states_of
from gedanken.worlds.protocol import DemonstratedWorld, News
from gedanken.worlds.spec import Plan

PATIENCE = 48
"""Most actions spent on one step."""


@dataclass(frozen=True)
class Job:
    """A plan to carry out from the beginning of a level, or after the actions `before`, which are repeated first.

    With the `scene` that it was made in, it is given up where something is seen that it could not provide for.
    """

    world: str
    seed: int
    plan: Plan
    before: tuple[int, ...] = ()
    scene: str | None = None


@dataclass(frozen=True)
class Executed:
    """What really happened: `reached[k]` counts the actions until step k was achieved, -1 where it was not.

    `actions` are all that were taken, those repeated included; `over` says whether the level ended; `scene` is what was
    known at the end, in words, where that was asked for, and `why` what was seen for which the plan was given up.
    `seconds` is the time that acting took, its share of batches, without what was repeated.
    """

    success: bool
    steps: int
    reached: tuple[int, ...]
    actions: tuple[int, ...] = ()
    over: bool = False
    scene: str | None = None
    why: str | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def achieved(self) -> list[bool]:
        """Tell of every step whether it was achieved."""
        return [at >= 0 for at in self.reached]


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
    run = _Run(world, env, controller, plan, seed, rng, patience, standstill)
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
    look: bool = False,
    on_done: Callable[[int, Executed], None] | None = None,
) -> list[Executed]:
    """Carry many plans out, `batch` environments in lockstep; `on_done` hears of each as it ends.

    A plan ends at its level's end, at its own, or at a step that `patience` actions did not achieve or in which
    `standstill` actions in a row changed nothing. Each job draws its actions from a generator of its own, so that its
    neighbours do not matter (but for rounding). `look` asks for the scene at the end of those whose level goes on.
    """
    worlds = {name: make_world(name) for name in {job.world for job in jobs}}
    idle: dict[str, list[gymnasium.Env[Any, Any]]] = {name: [] for name in worlds}
    results: dict[int, Executed] = {}

    def begin(index: int) -> _Run:
        job = jobs[index]
        env = idle[job.world].pop() if idle[job.world] else worlds[job.world].make()
        digest = zlib.crc32(f"{job.world}\n{job.plan}".encode())
        rng = np.random.default_rng((seed, job.seed, digest))
        world, seen = worlds[job.world], (job.before, job.scene)
        return _Run(world, env, controller, job.plan, job.seed, rng, patience, standstill, *seen)

    waiting = iter(range(len(jobs)))
    started = [(index, begin(index)) for index in itertools.islice(waiting, batch)]
    with torch.random.fork_rng(devices=[]):  # some families sample when they observe
        torch.manual_seed(seed)
        for index, run in _lockstep(controller, started, ((index, begin(index)) for index in waiting), look=look):
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
        controller: Controller,
        plan: Plan,
        seed: int,
        rng: np.random.Generator,
        patience: int,
        standstill: int,
        before: Sequence[int] = (),
        planned_in: str | None = None,
    ) -> None:
        self.world, self.env, self.controller, self.plan, self.rng = world, env, controller, plan, rng
        self.patience, self.standstill, self.before = patience, standstill, tuple(before)
        raw, _ = env.reset(seed=seed)
        world.begin_goal(env)
        self.observation = world.observation(raw)
        self.codes = world.spec.plan_codes(plan.steps)
        self.reached = [-1] * len(plan.steps)
        self.taken: list[int] = []
        self.current = self.spent = self.still = self.action = 0
        self.success = self.ended = self.over = False
        self.planned_in = planned_in
        self.scene: str | None = None
        self.why: str | None = None
        self.seconds = 0.0
        if not self.before:
            self._watch()

    @property
    def code(self) -> tuple[int, ...]:
        return self.codes[self.current]

    @property
    def repeats(self) -> bool:
        return len(self.taken) < len(self.before)

    def act(self, belief: Belief, state: Tensor, chances: Tensor) -> None:
        """Take the next action that is to be repeated, or else decide from a belief of one row; see `Foresight`."""
        repeated = self.repeats
        if repeated:
            self.action = self.before[len(self.taken)]
        else:
            self.action = self.foresight.decide(belief, state, chances, self.rng)
        raw, reward, terminated, truncated, _ = self.env.step(self.action)
        seen, self.observation = self.observation, self.world.observation(raw)
        self.taken.append(self.action)
        self.success, self.ended = float(reward) > 0, bool(terminated or truncated)
        if repeated:
            self.over = self.ended
            if not self.repeats and not self.over:
                self._watch()
            return
        self.still = self.still + 1 if np.array_equal(seen, self.observation) else 0
        self.spent += 1
        if self.watch.achieved(self.action):
            self.reached[self.current] = len(self.taken)
            self.current += 1
            self.spent = self.still = 0
        done = self.current == len(self.codes)
        if not done and self.spent and self.planned_in is not None:
            self.why = self.news.of(self.observation)
        failed = self.spent >= self.patience or self.still >= self.standstill or self.why is not None
        self.over = self.success or self.ended or done or failed
        if not self.over and self.spent == 0:
            self._watch()

    def executed(self) -> Executed:
        return Executed(
            success=self.success,
            steps=len(self.taken),
            reached=tuple(self.reached),
            actions=tuple(self.taken),
            over=self.success or self.ended,
            scene=self.scene,
            why=self.why,
            seconds=self.seconds,
        )

    def _watch(self) -> None:
        step = self.plan.steps[self.current]
        (self.watch,) = self.world.watch(self.env, [step])
        self.news = News(self.world, step, self.planned_in or "", prepared=self.current > 0)
        self.foresight = Foresight(self.controller, self.code)


def _lockstep(
    controller: Controller, runs: list[tuple[int, _Run]], waiting: Iterator[tuple[int, _Run]], *, look: bool = False
) -> Iterator[tuple[int, _Run]]:
    """Advance runs together, one batch of network calls an action; yield each that ends and let the next one in."""
    model, device = controller.model, next(controller.parameters()).device
    belief = model.initial(len(runs))
    fresh = [True] * len(runs)
    while runs:
        began = time.perf_counter()
        first = torch.tensor(fresh, device=device)
        actions = torch.tensor([run.action for _, run in runs], device=device)
        seen = torch.from_numpy(np.stack([run.observation for _, run in runs])).to(device)
        with torch.no_grad():
            belief = model.begin_goal(model.observe(belief, actions, seen, first), first)
            belief = model.begin_step(belief, torch.tensor([run.spent == 0 for _, run in runs], device=device))
            chances = controller.act(belief, torch.tensor([run.code for _, run in runs], device=device)).exp()
        states = states_of(model, belief, len(runs))
        share = (time.perf_counter() - began) / len(runs)
        fresh, keep = [False] * len(runs), [True] * len(runs)
        for row, (_, run) in enumerate(runs):
            began, repeats = time.perf_counter(), run.repeats
            run.act(belief[row : row + 1], states[row : row + 1], chances[row : row + 1])
            run.seconds += 0.0 if repeats else share + time.perf_counter() - began
            if run.over:
                if look and not run.ended:
                    run.scene = _scene(controller, belief[row : row + 1], run)
                yield runs[row]
                following = next(waiting, None)
                keep[row] = fresh[row] = following is not None
                runs[row] = following or runs[row]
        if not all(keep):
            belief = belief[torch.tensor(keep, device=device)]
            runs = [run for run, kept in zip(runs, keep, strict=True) if kept]
            fresh = [is_fresh for is_fresh, kept in zip(fresh, keep, strict=True) if kept]


def _scene(controller: Controller, belief: Belief, run: _Run) -> str:
    """Put into words what is known after a run's last action; `belief` is the one before it."""
    model, device = controller.model, next(controller.parameters()).device
    seen = torch.from_numpy(run.observation)[None].to(device)
    with torch.no_grad():
        after = model.observe(belief, torch.tensor([run.action], device=device), seen, torch.tensor([False]).to(device))
    return run.world.describe(*known_to(model, after, run.observation))


__all__ = ["PATIENCE", "Executed", "Job", "execute", "execute_many"]
