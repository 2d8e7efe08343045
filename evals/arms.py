"""The arms of a comparison: who plays a level's episodes, from the whole loop down to chance. Knows no statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from gedanken.agent.agent import Agent
from gedanken.agent.events import Chosen, Declined, Event, Judged, Proposed, Rehearsed
from gedanken.agent.propose import propose
from gedanken.agent.session import Session
from gedanken.agent.situations import Job, execute_many
from gedanken.evals.suite import Parts
from gedanken.worlds.spec import Plan

SIDE_BY_SIDE = 16
"""Runs of the loop that share one batch of the language model."""


@dataclass(frozen=True)
class Sample:
    """One episode of one arm; the later fields are the loop's. A decision ends with a plan chosen, or a refusal."""

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


def oracle(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Carry out a right plan, read from the simulator: the controller's own ceiling."""
    world = parts.make_world(task)
    env = world.make()
    goals, plans = [], []
    for seed in seeds:
        raw, _ = env.reset(seed=seed)
        goals.append(world.mission(raw))
        plans.append(Plan(steps=world.mission_steps(env)))
    yield from _carried_out(parts, task, seeds, goals, plans, "oracle-plan")


def llm_alone(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Carry out the language model's first plan, with no rehearsal and no second thoughts."""
    world, llm = parts.make_world(task), parts.together

    def first_plan(seed: int) -> tuple[str, Plan | None]:
        session = Session.begin(world, parts.trained, seed, free=False)
        scene = world.describe(*session.known())
        session.close()
        candidates = propose(world, llm, scene, session.mission, parts.config).candidates
        return session.mission, world.spec.parse_plan(candidates[0].plan) if candidates else None

    found = dict(llm.run([partial(first_plan, seed) for seed in seeds], width=4 * SIDE_BY_SIDE))
    goals, plans = [found[i][0] for i in range(len(seeds))], [found[i][1] for i in range(len(seeds))]
    yield from _carried_out(parts, task, seeds, goals, plans, "llm-alone")


def _carried_out(
    parts: Parts, task: str, seeds: Sequence[int], goals: Sequence[str], plans: Sequence[Plan | None], arm: str
) -> Iterator[Sample]:
    there = [(seed, plan) for seed, plan in zip(seeds, plans, strict=True) if plan is not None]
    jobs = [Job(task, seed, plan) for seed, plan in there]
    config = parts.config
    executed = iter(
        execute_many(
            parts.make_world,
            jobs,
            parts.trained.controller,
            config.seed,
            patience=config.patience,
            standstill=config.standstill,
        )
    )
    for number, goal, plan in zip(seeds, goals, plans, strict=True):
        done = next(executed) if plan is not None else None
        success, steps = (done.success, done.steps) if done else (False, 0)
        yield Sample(task, number, arm, success, steps, goal, plan=plan.line() if plan else None)


def bot(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Let minigrid's bot, which sees the simulator's state, follow the right plan."""
    world = parts.make_world(task)
    env = world.make()
    for seed in seeds:
        raw, _ = env.reset(seed=seed)
        world.begin_goal(env)
        plan = Plan(steps=world.mission_steps(env))
        goal, reward, taken, over = world.mission(raw), 0.0, 0, False
        for step in plan.steps:
            (watch,), expert, action = world.watch(env, [step]), world.expert(env, step), None
            achieved = False
            while not over and not achieved and (action := expert.advise(action)) is not None:
                _, reward, terminated, truncated, _ = env.step(action)  # type: ignore[assignment]
                taken, over = taken + 1, bool(terminated or truncated)
                achieved = watch.achieved(action)
        yield Sample(task, seed, "bot", float(reward) > 0, taken, goal, plan=plan.line())


def random(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Act at random until the level ends."""
    world = parts.make_world(task)
    env = world.make()
    for seed in seeds:
        rng = np.random.default_rng((parts.config.seed, seed))
        raw, _ = env.reset(seed=seed)
        goal, reward, taken, over = world.mission(raw), 0.0, 0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(int(rng.integers(len(world.spec.actions))))  # type: ignore[assignment]
            taken, over = taken + 1, bool(terminated or truncated)
        yield Sample(task, seed, "random", float(reward) > 0, taken, goal)


def loop(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Run the whole loop: proposals, rehearsal, critic, revision, acting, new plans where reality differs."""
    world, llm = parts.make_world(task), parts.together
    agent = Agent(world, llm=llm, trained=parts.trained, critic=parts.critic, store=None, config=parts.config)

    def work(seed: int) -> Sample:
        account = _Account()
        session = agent.session(seed, free=False)
        try:
            outcome = agent.run(session.mission, session, on_event=account)
        finally:
            session.close()
        return replace(
            account.sample(task, seed),
            success=outcome.reward > 0,
            steps=outcome.steps,
            goal=outcome.goal,
            plan=outcome.plan.replace("\n", " → ") if outcome.plan else None,
            status=outcome.status,
            predicted=outcome.predicted,
            round=outcome.round,
            rounds=outcome.rounds,
            replans=outcome.replans,
        )

    for _, sample in llm.run([partial(work, seed) for seed in seeds], width=SIDE_BY_SIDE):
        yield sample


class _Account:
    """Adds up what a run of the loop says of itself."""

    def __init__(self) -> None:
        self.proposed: list[Proposed] = []
        self.decisions, self.seconds = 0, 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Proposed):
            self.proposed.append(event)
        if isinstance(event, Proposed | Rehearsed | Judged):
            self.seconds += event.seconds
        self.decisions += isinstance(event, Chosen | Declined)

    def sample(self, task: str, seed: int) -> Sample:
        first = self.proposed[0].candidates if self.proposed else []
        return Sample(
            task,
            seed,
            "loop",
            success=False,
            steps=0,
            goal="",
            first_plan=first[0].plan.replace("\n", " → ") if first else None,
            decisions=self.decisions,
            candidates=sum(len(event.candidates) for event in self.proposed),
            tokens=sum(event.tokens for event in self.proposed),
            prompt_tokens=sum(event.prompt_tokens for event in self.proposed),
            seconds=self.seconds,
        )


Arm = Callable[[Parts, str, Sequence[int]], Iterator[Sample]]
ARMS: dict[str, Arm] = {"loop": loop, "llm-alone": llm_alone, "oracle-plan": oracle, "bot": bot, "random": random}
"""Every arm by name, the one in question first. They take a task and seeds, and yield a sample per seed."""

ABOUT = {
    "loop": "language model, rehearsal, critic, revision, new plans where reality differs",
    "llm-alone": "the language model's first plan, carried out by the same controller without rehearsal",
    "oracle-plan": "a right plan, carried out by the same controller: the controller's own ceiling",
    "bot": "minigrid's bot, which sees the whole simulator",
    "random": "actions at random until the level ends",
}
