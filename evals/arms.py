"""The arms of a comparison: who plays a level's episodes, from the whole loop down to chance. Knows no statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from gedanken.agent.agent import Agent
from gedanken.agent.config import LoopConfig
from gedanken.agent.events import Proposed
from gedanken.agent.execution import Executed, Job, execute_many
from gedanken.agent.llm.protocol import LanguageModel
from gedanken.agent.mind import Judge
from gedanken.agent.propose import Attempt, propose
from gedanken.agent.session import Session
from gedanken.evals.errors import EvalError
from gedanken.evals.sample import Account, Sample
from gedanken.evals.suite import Parts
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worlds.gym_world import random_action
from gedanken.worlds.protocol import World
from gedanken.worlds.spec import Plan, Step, WorldSpec

SIDE_BY_SIDE = 16
"""Runs of the loop that share one batch of the language model."""

BATCH = 64
"""Plans that are carried out in lockstep."""

ALONE, REPLAN = "llm-alone", "llm-replan"
"""The language model without rehearsal: its first plan, or new ones where a plan fails."""

IDLE = "no-op"
"""The floor below chance: nothing is done."""


def oracle(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Carry out a right plan, read from the simulator: the controller's own ceiling."""
    yield from _told(parts, task, seeds, "oracle-plan", lambda steps: steps)


def policy(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Pursue at once what a right plan comes to in its last step: the controller without a plan."""
    yield from _told(parts, task, seeds, "policy", lambda steps: steps[-1:])


def _told(
    parts: Parts, task: str, seeds: Sequence[int], arm: str, some: Callable[[tuple[Step, ...]], tuple[Step, ...]]
) -> Iterator[Sample]:
    """Carry out some steps of a right plan, which is read from the simulator."""
    world = parts.make_world(task)
    env = world.make()
    goals, jobs = [], []
    for seed in seeds:
        raw, _ = env.reset(seed=seed)
        goals.append(world.mission(raw))
        jobs.append(Job(task, seed, Plan(steps=some(world.mission_steps(env)))))
    for job, goal, done in zip(jobs, goals, _carried_out(parts, jobs), strict=True):
        plan, seconds, actions = job.plan.line(), done.seconds, done.actions
        yield Sample(task, job.seed, arm, done.success, done.steps, goal, plan, acting_seconds=seconds, actions=actions)


def llm_alone(parts: Parts, task: str, seeds: Sequence[int], *, arm: str = ALONE) -> Iterator[Sample]:
    """Carry out the language model's first plan of as many as the loop asks for, with no second thoughts."""
    yield from _without_rehearsal(parts, task, seeds, arm, parts.config.candidates, replans=0)


def llm_unguided(parts: Parts, task: str, seeds: Sequence[int], *, arm: str) -> Iterator[Sample]:
    """Do the same without a grammar: the first plan that can be read is carried out, where there is one."""
    yield from _without_rehearsal(parts, task, seeds, arm, parts.config.candidates, replans=0, grammar=False)


def llm_greedy(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Do the same where the loop does not play: one plan is written, which is cheaper."""
    yield from _without_rehearsal(parts, task, seeds, ALONE, 1, replans=0)


def llm_replan(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Do the same, and plan anew where a plan failed, as often as the loop may."""
    yield from _without_rehearsal(parts, task, seeds, REPLAN, 1, replans=parts.config.replans)


def _without_rehearsal(
    parts: Parts, task: str, seeds: Sequence[int], arm: str, candidates: int, replans: int, *, grammar: bool = True
) -> Iterator[Sample]:
    """Carry out what the language model writes first; a new plan is for what is known by then, see `_Try.propose`."""
    config = parts.config.model_copy(update={"candidates": candidates, "grammar": grammar})
    world = parts.make_world(task)
    tries = []
    for seed in seeds:
        session = Session.begin(world, parts.trained, seed, free=False)
        tries.append(_Try(seed, session.mission, world.describe(*session.known())))
        session.close()
    for round in range(replans + 1):
        asking = [one for one in tries if not one.over]
        asked = [partial(one.propose, world, parts.together, config, round) for one in asking]
        for _ in parts.together.run(asked, width=4 * SIDE_BY_SIDE):
            pass
        acting = [one for one in asking if one.plan is not None]
        last = round == replans
        jobs = [
            Job(task, one.seed, one.plan, one.actions, None if last else one.scene)
            for one in acting
            if one.plan is not None
        ]
        for one, done in zip(acting, _carried_out(parts, jobs, last=last), strict=True):
            one.learn_of(done)
        for one in asking:
            one.over |= one.plan is None or round == replans
            if one.over:
                yield one.sample(task, arm)


@dataclass
class _Try:
    """An episode of a language model without rehearsal: what it knows, what it wrote, and how that went."""

    seed: int
    goal: str
    scene: str
    plan: Plan | None = None
    actions: tuple[int, ...] = ()
    over: bool = False
    success: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    barred: set[str] = field(default_factory=set)  # plans given up for what came in their way
    proposed: list[Proposed] = field(default_factory=list)
    acting_seconds: float = 0.0

    def propose(self, world: World, llm: LanguageModel, config: LoopConfig, round: int) -> None:
        """Have a plan written that was not tried yet, or was given up once for what came in its way."""
        tried = [attempt.plan for attempt in self.attempts]
        known = [plan for plan in tried if plan not in self.barred or tried.count(plan) > 1]
        self.proposed.append(
            propose(world, llm, self.scene, self.goal, config, round=round, attempts=self.attempts, known=known)
        )
        found = self.proposed[-1].candidates
        self.plan = world.spec.parse_plan(found[0].plan) if found else None

    def learn_of(self, done: Executed) -> None:
        """Note how the plan went and, for the next one, why it failed."""
        assert self.plan is not None
        self.success, self.over, self.actions = done.success, done.over, done.actions
        self.acting_seconds += done.seconds
        self.scene = done.scene or self.scene
        failed = next((step for step, at in zip(self.plan.steps, done.reached, strict=True) if at < 0), None)
        why = f"{failed} was not achieved" if failed else "the plan was carried out, but the goal was not met"
        why = done.why or why
        self.barred |= {str(self.plan)} if done.why else set()
        self.attempts.append(Attempt(str(self.plan), why))

    def sample(self, task: str, arm: str) -> Sample:
        """Return what came of it."""
        plans = [attempt.plan.replace("\n", " → ") for attempt in self.attempts]
        return Sample(
            task,
            self.seed,
            arm,
            self.success,
            len(self.actions),
            self.goal,
            plan=plans[-1] if plans else None,
            first_plan=plans[0] if plans else None,
            replans=max(len(self.proposed) - 1, 0),
            decisions=len(self.proposed),
            candidates=sum(len(event.candidates) for event in self.proposed),
            tokens=sum(event.tokens for event in self.proposed),
            prompt_tokens=sum(event.prompt_tokens for event in self.proposed),
            seconds=sum(event.seconds for event in self.proposed),
            acting_seconds=self.acting_seconds,
            actions=self.actions,
        )


LAST_TRY = 100_000
"""Actions for a step after which nothing else would be tried: the level ends long before."""


def _carried_out(parts: Parts, jobs: Sequence[Job], *, last: bool = True) -> list[Executed]:
    """Carry plans out; the `last` of an episode is not given up, for nothing would follow it."""
    config, trained = parts.config, parts.trained
    if not isinstance(trained, Trained):
        raise EvalError("this world model has no controller to carry a plan out with; choose the arms loop and random")
    return execute_many(
        parts.make_world,
        jobs,
        trained.controller,
        config.seed,
        batch=min(BATCH, parts.max_samples or BATCH),
        patience=LAST_TRY if last else config.patience,
        standstill=LAST_TRY if last else config.standstill,
        look=not last,
    )


def bot(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Let minigrid's bot, which sees the simulator's state, follow the right plan."""
    world = parts.make_world(task)
    env = world.make()
    for seed in seeds:
        raw, _ = env.reset(seed=seed)
        world.begin_goal(env)
        plan = Plan(steps=world.mission_steps(env))
        goal, reward, over = world.mission(raw), 0.0, False
        taken: list[int] = []
        for step in plan.steps:
            (watch,), expert, action = world.watch(env, [step]), world.expert(env, step), None
            achieved = False
            while not over and not achieved and (action := expert.advise(action)) is not None:
                _, reward, terminated, truncated, _ = env.step(action)  # type: ignore[assignment]
                taken.append(int(action))
                over = bool(terminated or truncated)
                achieved = watch.achieved(action)
        yield Sample(task, seed, "bot", float(reward) > 0, len(taken), goal, plan=plan.line(), actions=tuple(taken))


def random(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Act at random until the level ends."""
    yield from _blindly(parts, task, seeds, "random", lambda env, spec, rng: random_action(spec, rng))


def no_op(parts: Parts, task: str, seeds: Sequence[int]) -> Iterator[Sample]:
    """Do nothing until the level ends."""
    yield from _blindly(parts, task, seeds, IDLE, lambda env, spec, _: idle_action(env, spec))


def idle_action(env: gymnasium.Env[Any, Any], spec: WorldSpec) -> Any:
    """Return the action that does nothing: minigrid's `done`, controls at rest ``[A]``, or else the first one."""
    if spec.controls:
        return np.array([min(max(0.0, axis.low), axis.high) for axis in spec.controls], np.float32)
    return int(getattr(getattr(env.unwrapped, "actions", None), "done", 0))


def _blindly(
    parts: Parts,
    task: str,
    seeds: Sequence[int],
    arm: str,
    act: Callable[[gymnasium.Env[Any, Any], WorldSpec, np.random.Generator], Any],
) -> Iterator[Sample]:
    """Act without a look at anything until the level ends."""
    world = parts.make_world(task)
    env = world.make()
    for seed in seeds:
        rng = np.random.default_rng((parts.config.seed, seed))
        raw, _ = env.reset(seed=seed)
        goal, reward, over = world.mission(raw), 0.0, False
        taken = []
        while not over:
            taken.append(act(env, world.spec, rng))
            _, reward, terminated, truncated, _ = env.step(taken[-1])  # type: ignore[assignment]
            over = bool(terminated or truncated)
        actions = tuple(action if isinstance(action, int) else action.tolist() for action in taken)
        yield Sample(task, seed, arm, float(reward) > 0, len(taken), goal, actions=actions)


def loop(
    parts: Parts,
    task: str,
    seeds: Sequence[int],
    *,
    arm: str = "loop",
    config: LoopConfig | None = None,
    critic: Judge | None = None,
    trained: Trained | None = None,
) -> Iterator[Sample]:
    """Run the whole loop: proposals, rehearsal, critic, revision, acting, new plans where reality differs.

    Another `config`, `critic` or `trained` than the parts' own makes an arm of its own of it.
    """
    world, llm, config = parts.make_world(task), parts.together, config or parts.config
    trained, critic = trained or parts.trained, critic or parts.critic
    agent = Agent(world, llm=llm, trained=trained, critic=critic, store=None, config=config)

    def work(seed: int) -> Sample:
        account = Account()
        session = agent.session(seed, free=False)
        try:
            outcome = agent.run(session.mission, session, on_event=account)
            actions = tuple(session.actions)
        finally:
            session.close()
        return replace(
            account.sample(task, seed, arm),
            actions=actions,
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


Arm = Callable[[Parts, str, Sequence[int]], Iterator[Sample]]
ARMS: dict[str, Arm] = {
    "loop": loop,
    ALONE: llm_alone,
    "policy": policy,
    "oracle-plan": oracle,
    "bot": bot,
    "random": random,
    IDLE: no_op,
}
"""Every arm by name, the one in question first. They take a task and seeds, and yield a sample per seed."""

ABOUT = {
    "loop": "language model, rehearsal, critic, revision, new plans where reality differs",
    REPLAN: "the language model's first plan and, where it fails, new ones, by the same controller without rehearsal",
    ALONE: "the language model's first plan, carried out by the same controller without rehearsal",
    "policy": "the same controller without a plan: it pursues at once the last step of a right one",
    "oracle-plan": "a right plan, carried out by the same controller: the controller's own ceiling",
    "bot": "minigrid's bot, which sees the whole simulator",
    "random": "actions at random until the level ends",
    IDLE: "actions that do nothing until the level ends",
    "llm-actor": "the language model, one action a prompt, as BALROG's agents: no plan, no controller",
}
"""What every arm is, also those that only some suites have."""
