"""Learning a world of numbers by trying: random episodes first, then searched ones, the model fitted in between.

Knows no words but plans, and no storage: episodes are yielded as they happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.ensemble import EnsembleModel
from gedanken.worldmodel.episode import AGENT, Episode
from gedanken.worldmodel.fit import fit
from gedanken.worldmodel.protocol import Belief, VectorDynamics
from gedanken.worldmodel.search import Search, SearchConfig
from gedanken.worldmodel.searched import Searched
from gedanken.worlds.gym_world import GymEnv, GymWorld, random_action
from gedanken.worlds.objectives import Optimize, objective_of
from gedanken.worlds.spec import Plan

IMAGINED = 500
"""Most actions of one step that are imagined, in worlds that were learned by trying."""

RANDOM = "random"
"""Source of an episode in which actions were drawn."""

Ending = Literal["achieved", "failed", "over"]


class TryConfig(BaseModel):
    """How to learn by trying.

    Attributes:
        steps: real actions in all.
        random: how many of them are drawn at random, before anything is known.
        first: gradient steps after those.
        then: gradient steps after each later episode.
        search: how actions are found.
        seed: seed of everything.
        foretold: futures imagined before a searched episode whose plan can fail, so that what comes true of it can be
            counted; 0 imagines none.
    """

    steps: int = Field(default=5000, ge=1)
    random: int = Field(default=500, ge=1)
    first: int = Field(default=600, ge=1)
    then: int = Field(default=300, ge=1)
    search: SearchConfig = SearchConfig()
    seed: int = Field(default=0, ge=0)
    foretold: int = Field(default=10, ge=0)


@dataclass(frozen=True)
class Tried:
    """One episode, how its plan ended, and how many of the plan's steps were achieved."""

    episode: Episode
    ending: Ending
    achieved: int

    @property
    def reward(self) -> float:
        """Return the sum of the world's own rewards."""
        return float(self.episode.rewards.sum())


def try_out(
    world: GymWorld, model: EnsembleModel, plan: Plan, config: TryConfig, past: Sequence[Episode] = ()
) -> Iterator[Tried]:
    """Learn in place, yielding episodes, the first ones random; `past` episodes count as steps already taken.

    The model is fitted before every searched episode and at the end; a new model is fitted to `past` episodes one after
    the other, as when they happened, so that a learning that was cut off comes to the same. Exogenous variables are
    drawn anew for each. Raises WorldError and TrainingError; what was yielded before is sound.
    """
    known, episodes, env = deque(past), list[Episode](), world.make()
    seed, steps = FIRST_TRAINING_SEED, config.first
    try:
        while (taken := sum(map(len, episodes))) < config.steps or known:
            rng = np.random.default_rng((config.seed, seed))
            search = None
            if taken >= config.random:
                fit(model, episodes, steps=steps, seed=seed % (1 << 30))
                steps, search = config.then, Search(cast(VectorDynamics, model), config.search)
            if known:
                episodes.append(known.popleft())
                seed = max(seed, episodes[-1].seed) + 1
                continue
            inputs = {name: float(rng.uniform(e.low, e.high)) for name, e in world.adapter.exogenous.items()}
            most = config.steps - taken
            tried = pursue(world, env, plan, seed, search, rng, inputs, most=most, foretold=config.foretold)
            episodes.append(tried.episode)
            seed += 1
            yield tried
        if episodes:
            fit(model, episodes, steps=steps, seed=seed % (1 << 30))
    finally:
        env.close()


def pursue(
    world: GymWorld,
    env: GymEnv,
    plan: Plan,
    seed: int,
    search: Search | None,
    rng: np.random.Generator,
    inputs: dict[str, float] | None = None,
    *,
    most: int = 1_000_000,
    foretold: int = 0,
) -> Tried:
    """Live through one episode of at most `most` actions: search for what serves the plan, or act at random.

    It ends with the environment; a searched one also when the plan is achieved or has failed. With `foretold` futures
    imagined at the beginning, the episode's record says what they foretold, and what came of it where that is known.
    """
    seen = [env.reset(seed=seed, options={"exogenous": inputs or {}})[0]]
    actions: list[Any] = []
    rewards: list[float] = []
    actor = Searched(cast(VectorDynamics, search.model), search.config) if search else None
    watches, doing = world.watch(env, plan.steps), actor.pursue(plan, 0) if actor else None
    patience, current, held = rng.uniform(0, 0.8), 0, None
    generator = torch.Generator().manual_seed(seed)
    ending: Ending = "over"
    over = terminated = False
    told = _foretell(search, plan, seen[0], foretold, seed) if search and foretold else None
    while not over and len(actions) < most:
        if actor is None or doing is None:
            action = held if held is not None and rng.random() < patience else random_action(world.spec, rng)
            held = action
        else:
            action = doing.decide(_believed(actor.model, seen[-1]), generator, greedy=True)
        observation, reward, terminated, truncated, _ = env.step(action)
        seen, actions, rewards = [*seen, observation], [*actions, action], [*rewards, reward]
        over = terminated or truncated
        if actor is None:
            continue
        if watches[current].achieved(action):
            current += 1
            doing = actor.pursue(plan, current) if current < len(plan.steps) else None
        elif watches[current].failed:
            ending = "failed"
        if current == len(plan.steps):
            ending = "achieved"
        if ending != "over":
            break
    record: dict[str, Any] = {}
    if told and (terminated or ending != "over"):  # one that was only cut off proves nothing
        record = {"foretold": [told | {"happened": ending == "achieved"}]}
    episode = _episode(world, plan, seed, search is None, seen, actions, rewards, terminated, record)
    return Tried(episode, ending, current)


def _foretell(search: Search, plan: Plan, seen: Any, futures: int, seed: int) -> dict[str, Any] | None:
    """Say in how many futures a plan is carried out, as verdicts do; None for a plan that can't fail."""
    model = cast(VectorDynamics, search.model)
    if all(isinstance(objective_of(model.spec, step), Optimize) for step in plan.steps):
        return None
    rehearsal = Searched(model, search.config).rehearse(
        _believed(model, seen),
        [plan],
        [0],
        samples=futures,
        horizon=IMAGINED,
        standstill=0,
        seed=seed,
    )
    length = rehearsal.length.sum().clamp(min=1)
    return {
        "carried_out": float(rehearsal.success.float().mean()),
        "disagreement": float(rehearsal.disagreement.sum() / length),
        "futures": futures,
    }


def _believed(model: VectorDynamics, seen: NDArray[np.float32]) -> Belief:
    return model.observe(
        model.initial(1), torch.zeros(1), torch.from_numpy(seen)[None], torch.ones(1, dtype=torch.bool)
    )


def _episode(
    world: GymWorld,
    plan: Plan,
    seed: int,
    random: bool,
    seen: list[Any],
    actions: list[Any],
    rewards: list[float],
    terminated: bool,
    record: dict[str, Any],
) -> Episode:
    length = len(actions)
    taken: NDArray[Any] = np.array(actions, np.float32 if world.spec.controls else np.int64)
    return Episode(
        world=world.id,
        spec_hash=world.spec.hash,
        seed=seed,
        source=RANDOM if random else AGENT,
        goal="" if random else str(plan),
        observations=np.stack(seen),
        actions=taken,
        rewards=np.array(rewards, np.float32),
        terminated=terminated,
        steps=(),
        step_index=np.full(length, -1, np.int16),
        origin=np.zeros(0, np.int16),
        expert=np.full(length, -1, np.int8),
        achieved=np.zeros(length, np.bool_),
        record=record,
    )
