"""The suite `control`: classic control in a learned model's imagination, from few real steps; and goals in words.

Returns are those of whole episodes of the environments as they are. Goals in words are pursued without their step limit
and reward, and checked on real observations. World models are learned when they are first asked for, one for each of
`TRAINING_SEEDS`; episodes take turns among them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gedanken.agent.agent import Agent
from gedanken.agent.config import LoopConfig
from gedanken.agent.loading import load_judge
from gedanken.agent.propose import propose
from gedanken.agent.session import Session
from gedanken.evals.control_goals import GOALS, Goal, goal_of, met
from gedanken.evals.control_learning import (
    MORE_TASKS,
    NO_PEERS,
    PEERS,
    REWARD,
    TRAINING_SEEDS,
    LearnedWorlds,
    Peer,
    Setting,
    learned,
    model_path,
    peer_path,
    peers_missing,
    plays,
    world_of,
)
from gedanken.evals.errors import EvalError
from gedanken.evals.measures import Estimate, Measure, mean
from gedanken.evals.peers.swm_cem import NO_SOLVER, SOLVER, SwmCem, absent, missing
from gedanken.evals.run_folder import Key
from gedanken.evals.simulator import STATES, SimulatorSearch
from gedanken.evals.statistics import mean_interval, wilson
from gedanken.evals.suite import Options, Parts, Table, evaluation_seeds
from gedanken.worldmodel.checkpoint import TrainedDynamics
from gedanken.worldmodel.objective_actor import ObjectiveActor
from gedanken.worldmodel.search import Search
from gedanken.worldmodel.trying import pursue
from gedanken.worlds.gym_world import random_action
from gedanken.worlds.spec import Plan

BLIND = ("random", "no-op")

RULES = "rule-based"
"""The driver that an environment has of its own, where it has one: its argument `rule_based`."""

CEILING = "simulator"
"""The arm that searches in the real environment, in the place of a learned model."""

LEARNED = ("policy", "search", SOLVER)
"""Arms that act by the learned model: as was practised in it, or by a search, our own CEM or stable-worldmodel's."""

SEARCHES = (*LEARNED[1:], CEILING)
"""Arms that search before every action."""

RETURNS = (*LEARNED, CEILING, *BLIND, RULES, *PEERS)
"""Arms whose episodes are paid by the environment."""

WORDS = ("words", "words-alone", "words-right")
"""Arms that are told a goal: the loop, the language model's first plan without rehearsal, the right plan.

Each carries its plan out by policies that are practised in imagination.
"""


class ControlSuite(LearnedWorlds):
    """See the module."""

    name = "control"
    default_limit = 100
    arms = (*RETURNS, *WORDS)
    more_tasks = MORE_TASKS
    clocks = ("seconds",)
    measures: tuple[Measure, ...] = (
        Estimate("return", mean(lambda s: s["return"]), only=lambda s: s["arm"] in RETURNS),
        Estimate("goals met", mean(lambda s: float(s["success"])), percent=True, only=lambda s: s["arm"] in WORDS),
    )

    @property
    def default_arms(self) -> tuple[str, ...]:
        """Return all arms that can play here, but the searches, which take many times as long as all others."""
        return tuple(arm for arm in self.arms if arm not in SEARCHES and (arm not in PEERS or not peers_missing()))

    def unable(self, arms: Sequence[str]) -> dict[str, str]:
        """Return why some of the arms can't play here."""
        peers = dict.fromkeys((arm for arm in arms if arm in PEERS), NO_PEERS) if peers_missing() else {}
        return peers | ({SOLVER: why} if SOLVER in arms and (why := missing()) else {})

    def weights(self, options: Options) -> list[Path]:
        """Return the files of what the arms have learned, or will learn when they play."""
        learners = self.learners(options)
        return [
            peer_path(arm, task, self.settings[task], learner)
            if arm in PEERS
            else model_path(task, learner) / "model.safetensors"
            for task in self.tasks
            for arm in options.arms
            if self.plays(task, arm) and arm not in (CEILING, *BLIND, RULES)
            for learner in learners
        ]

    def count(self, options: Options) -> int:
        """Return the number of samples."""
        return sum(options.limit for task in self.tasks for arm in options.arms if self.plays(task, arm))

    def plays(self, task: str, arm: str) -> bool:
        """Tell whether an arm can play a task: goals in words are not for all, nor all actions for every peer."""
        if arm in WORDS:
            return task in GOALS
        if arm == RULES:
            return self.settings[task].ruled
        if arm == CEILING:
            return task in STATES
        return arm not in PEERS or plays(arm, world_of(task))

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield samples; see `Suite`. Raises EvalError for a peer that is not installed."""
        if unable := self.unable(options.arms):
            raise EvalError("; ".join(f"{arm}: {why}" for arm, why in unable.items()))
        over = {key[:3] for key in done}
        for task in self.tasks:
            play = _Play(parts, task, self.settings[task])
            for arm in options.arms:
                if not self.plays(task, arm):
                    continue
                for seed in evaluation_seeds(options.seed, options.limit):
                    if (task, seed, arm) not in over:
                        yield {"task": task, "seed": seed, "arm": arm, **play(arm, seed)}

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return mean returns and shares of goals met, with intervals, and what was spent to learn."""
        rows = []
        for task in dict.fromkeys(sample["task"] for sample in samples):
            for arm in self.arms:
                own = [s for s in samples if (s["task"], s["arm"]) == (task, arm)]
                if own:
                    rows.append({"task": task, "arm": arm, **_row(arm, own)})
        left_out = dict.fromkeys(PEERS, NO_PEERS) if peers_missing() else {}
        return {"arms": rows, "left_out": left_out | ({SOLVER: NO_SOLVER} if absent() else {})}

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return a table of returns, one of what else there was to see, and one of goals in words."""
        note = "; ".join(f"{arm} left out: {why}" for arm, why in results["left_out"].items())
        tables = []
        for title, arms, key, scale in (
            ("return of an episode", RETURNS, "return", 1.0),
            ("goals in words that were met, %", WORDS, "met", 100.0),
        ):
            rows = [row for row in results["arms"] if row["arm"] in arms]
            timed = any("seconds_an_action" in row for row in rows)
            if rows:
                lines = tuple(
                    (
                        row["task"],
                        row["arm"],
                        str(row["n"]),
                        _interval(row[key], scale),
                        f"{row['real_steps']:,}" if row["real_steps"] else "–",
                        ", ".join(f"{value * scale:.1f}" for value in row["by_training_seed"].values()) or "–",
                        *((f"{1000 * row.get('seconds_an_action', math.nan):.2f}",) if timed else ()),
                    )
                    for row in rows
                )
                columns = ("task", "arm", "n", "mean [95 %]", "real steps learned from", "by training seed")
                clock = ("ms an action",) if timed else ()
                tables.append(Table(title, (*columns, *clock), lines, note if arms is RETURNS else ""))
        if seen := [row for row in results["arms"] if row.get("shown")]:
            lines = tuple(
                (row["task"], row["arm"], str(row["n"]), _interval(row["ended"], 100.0), name, _interval(value, 1.0))
                for row in seen
                for name, value in row["shown"].items()
            )
            columns = ("task", "arm", "n", "ended before its time, %", "number", "mean [95 %]")
            tables.insert(
                1, Table("how the episodes went", columns, lines, "a number's mean over an episode's actions")
            )
        return tables


class _Play:
    """Plays episodes of one task; what is learned is loaded once."""

    def __init__(self, parts: Parts, task: str, setting: Setting) -> None:
        self.parts, self.task, self.setting, self.world = parts, task, setting, world_of(task)
        self.model = cache(lambda seed: learned(task, setting, seed))
        self.peer = cache(lambda arm, seed: Peer(arm, task, setting, seed))

    def __call__(self, arm: str, seed: int) -> dict[str, Any]:
        """Return what an episode came to, and how many seconds it took; what has to be learned is learned before."""
        learner = seed % TRAINING_SEEDS
        if arm in (*LEARNED, *WORDS):
            self.model(learner)
        elif arm in PEERS:
            self.peer(arm, learner)
        began = time.perf_counter()
        told = self._episode(arm, seed, learner)
        return told | {"seconds": time.perf_counter() - began}

    def _episode(self, arm: str, seed: int, learner: int) -> dict[str, Any]:
        if arm in WORDS:
            return {**self._words(arm, seed, self.model(learner)), "training_seed": learner, **self._cost(learner)}
        if arm in LEARNED:
            actor, env, rng = self._actor(arm, learner), self.world.make(), np.random.default_rng(seed)
            episode = pursue(self.world, env, self.world.spec.parse_plan(REWARD), seed, actor, rng).episode
            env.close()
            paid = self._paid(
                np.asarray(episode.observations, np.float32), episode.rewards.tolist(), episode.terminated
            )
            return paid | {"training_seed": learner, **self._cost(learner)}
        if arm in PEERS:
            policy = self.peer(arm, learner)
            return self._live(seed, policy.act) | {"training_seed": learner, "real_steps": policy.real_steps}
        if arm == CEILING:
            plan, search = self.world.spec.parse_plan(REWARD), self.setting.config(learner).search
            return self._live(seed, SimulatorSearch(self.world, plan, search, seed))
        rng, idle = np.random.default_rng(seed), self._idle()
        return self._live(
            seed, (lambda _: random_action(self.world.spec, rng)) if arm == "random" else lambda _: idle, arm == RULES
        )

    def _actor(self, arm: str, learner: int) -> ObjectiveActor:
        trained = self.model(learner)
        if arm == "policy":
            return trained.objective_actor
        make: type[Search | SwmCem] = Search if arm == "search" else SwmCem
        search = make(trained.model, self.setting.config(learner).search)
        return ObjectiveActor(trained.model, search, search)

    def _cost(self, learner: int) -> dict[str, Any]:
        return {"real_steps": int(self.model(learner).card["real_steps"])}

    def _idle(self) -> Any:
        controls = self.world.spec.controls
        return np.full(len(controls), self.setting.idle, np.float32) if controls else int(self.setting.idle)

    def _live(self, seed: int, act: Any, ruled: bool = False) -> dict[str, Any]:
        env = (world_of(self.task, rule_based=True) if ruled else self.world).make()
        seen, rewards, over, terminated = [env.reset(seed=seed)[0]], list[float](), False, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(act(seen[-1]))
            seen, rewards, over = [*seen, observation], [*rewards, reward], terminated or truncated
        env.close()
        return self._paid(np.stack(seen), rewards, terminated)

    def _paid(self, seen: NDArray[np.float32], rewards: list[float], terminated: bool) -> dict[str, Any]:
        """Return what an episode paid, and the means of what its setting shows."""
        told: dict[str, Any] = {"return": sum(rewards), "steps": len(rewards)}
        if self.setting.shown:
            values = self.world.spec.vector.values(seen[1:].astype(np.float64), np.array(rewards))
            told["terminated"] = terminated
            told["shown"] = {name: float(np.mean(values[name])) for name in self.setting.shown}
        return told

    # ---- goals in words ----------------------------------------------------------------------------------------------

    def _words(self, arm: str, seed: int, trained: TrainedDynamics) -> dict[str, Any]:
        goal = goal_of(self.world.spec, self.task, seed)
        if arm == "words":
            return self._loop(goal, seed, trained)
        plan: Plan | None = goal.plan
        if arm == "words-alone":
            first = self.world.make(free=True)
            scene = self.world.describe(first.reset(seed=seed)[0])
            first.close()
            said = propose(
                self.world, self.parts.llm, scene, self.world.in_actions(goal.words), self.parts.config
            ).candidates
            plan = self.world.spec.parse_plan(said[0].plan) if said else None
        if plan is None:
            return _told(goal, None, False, 0)
        env, rng = self.world.make(free=True), np.random.default_rng(seed)
        tried = pursue(self.world, env, plan, seed, trained.objective_actor, rng)
        env.close()
        episode = tried.episode
        fine = met(self.world.spec, goal.plan, episode.observations, episode.rewards.tolist())
        return _told(goal, plan, fine, len(episode))

    def _loop(self, goal: Goal, seed: int, trained: TrainedDynamics) -> dict[str, Any]:
        config = self.parts.config.model_copy(update={"learn_steps": 0, **LoopConfig.own(trained.card)})
        critic = load_judge(trained, self.world, None, config)
        agent = Agent(self.world, llm=self.parts.llm, trained=trained, critic=critic, store=None, config=config)
        session: Session = agent.session(seed)
        try:
            outcome = agent.run(goal.words, session)
            seen, rewards = np.stack(session.observations), session.rewards
        finally:
            session.close()
        plan = self.world.spec.parse_plan(outcome.plan) if outcome.plan else None
        told = _told(goal, plan, met(self.world.spec, goal.plan, seen, rewards), outcome.steps)
        more = {"status": outcome.status, "predicted": outcome.predicted, "replans": outcome.replans}
        return told | more


def _told(goal: Goal, plan: Plan | None, success: bool, steps: int) -> dict[str, Any]:
    said = plan.line() if plan else None
    return {"goal": goal.words, "plan": said, "right_plan": plan == goal.plan, "success": success, "steps": steps}


def _row(arm: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    key = "success" if arm in WORDS else "return"
    values = [float(sample[key]) for sample in samples]
    by_seed: dict[str, list[float]] = {}
    for sample, value in zip(samples, values, strict=True):
        if "training_seed" in sample:
            by_seed.setdefault(str(sample["training_seed"]), []).append(value)
    row = {
        "n": len(samples),
        "real_steps": max((int(sample.get("real_steps", 0)) for sample in samples), default=0),
        "by_training_seed": {seed: float(np.mean(own)) for seed, own in sorted(by_seed.items())},
    }
    if all("seconds" in sample for sample in samples):  # runs of earlier versions had no clock
        row["seconds_an_action"] = sum(s["seconds"] for s in samples) / max(sum(s["steps"] for s in samples), 1)
    if arm in WORDS:
        right = [bool(sample["right_plan"]) for sample in samples]
        return row | {
            "met": wilson(int(sum(values)), len(values)).as_dict(),
            "right_plan": wilson(sum(right), len(right)).as_dict(),
        }
    if any("shown" in sample for sample in samples):
        row["ended"] = wilson(sum(sample["terminated"] for sample in samples), len(samples)).as_dict()
        row["shown"] = {
            name: mean_interval([sample["shown"][name] for sample in samples]).as_dict() for name in samples[0]["shown"]
        }
    return row | {"return": mean_interval(values).as_dict()}


def _interval(interval: Mapping[str, Any], scale: float) -> str:
    value, low, high = (float("nan") if interval[k] is None else scale * interval[k] for k in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
