"""Learning a world of numbers by trying: at random first, then where the model knows least, then for a plan.

The model is fitted in between, and policies are practised in it. Knows no words but plans, and no storage: episodes are
yielded as they happen.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.episode import AGENT, Episode, Seen
from gedanken.worldmodel.fit import Fitted, fit
from gedanken.worldmodel.objective_actor import ObjectiveActor
from gedanken.worldmodel.policy import Policy, PolicyConfig
from gedanken.worldmodel.policy_practice import Practice
from gedanken.worldmodel.practised import Policies
from gedanken.worldmodel.protocol import Belief, VectorDynamics
from gedanken.worldmodel.search import Search, SearchConfig
from gedanken.worldmodel.tasks import Task, practised_for
from gedanken.worlds.gym_world import GymEnv, GymWorld, random_action
from gedanken.worlds.objectives import Optimize, objective_of
from gedanken.worlds.spec import Plan, SpecError, WorldSpec

IMAGINED = 500
"""Most actions of one step that are imagined, in worlds that were learned by trying."""

MOST_BYTES = 1 << 30
"""Most bytes of pictures that are learned from; they are all in memory meanwhile."""

RANDOM = "random"
"""Source of an episode in which actions were drawn."""

POLICIES = {
    "debug": PolicyConfig(hidden=32, rows=120, life=32, rate=3e-3, epochs=3),
    "small": PolicyConfig(),
    "base": PolicyConfig(hidden=128, rows=960),
}
"""How policies are practised, by the size of the model."""

Ending = Literal["achieved", "failed", "over"]
Acting = Literal["policy", "search"]


class TryConfig(BaseModel):
    """How to learn by trying.

    Attributes:
        steps: real actions in all.
        random: how many of them are drawn at random, before anything is known.
        explored: share of all that go where the model knows least, after those; only by policies.
        greedy: share of the episodes by practised policies in which the likeliest action is taken and not a drawn one:
            only these show what a steady hand leads to.
        longest: most actions of one episode, but for what the plan takes at least; who hovers for a thousand learns no
            more from the last hundreds.
        every: real actions after which the model is fitted anew, at the end of an episode.
        first: gradient steps after the random ones.
        then: gradient steps each later time.
        acting: whether a policy that is practised in imagination says what to do, or a search.
        policy: how a policy is practised.
        rounds: rounds of practice each time that the model was fitted, three times as many the first and the last time;
            then as many from nothing, too, and what earns more in imagination is kept.
        search: how actions are searched for.
        seed: seed of everything.
        foretold: futures imagined before an episode whose plan can fail, so that what comes true of it can be counted;
            0 imagines none.
    """

    steps: int = Field(default=5000, ge=1)
    random: int = Field(default=500, ge=1)
    explored: float = Field(default=0.2, ge=0, le=1)
    greedy: float = Field(default=0.0, ge=0, le=1)
    longest: int = Field(default=1000, ge=1)
    every: int = Field(default=1000, ge=1)
    first: int = Field(default=600, ge=1)
    then: int = Field(default=300, ge=1)
    acting: Acting = "policy"
    policy: PolicyConfig = PolicyConfig()
    rounds: int = Field(default=30, ge=1)
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


class Apprentice:
    """A model that is being learned by trying a plan, and who acts meanwhile; `say` hears what takes long.

    `policies` are those that are practised for the plan, `tasks` in their order; none where actions are searched for.
    """

    def __init__(
        self, model: Fitted, plan: Plan, config: TryConfig, say: Callable[[str], None] = lambda what: None
    ) -> None:
        self.model, self.plan, self.config, self.say = cast(VectorDynamics, model), plan, config, say
        _room_for(model.spec, config.steps)
        self.tasks = practised_for(model.spec, plan) if config.acting == "policy" else []
        self._fitted, self._model = 0, model
        self._practices: list[Practice] = []
        self._curious: Practice | None = None

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Return the policies of the tasks, in order; none before the first fit."""
        return tuple(practice.policy for practice in self._practices)

    @property
    def fits(self) -> int:
        """Return how many times the model is fitted at most: after the random actions, every so many, at the end."""
        return 1 + math.ceil(max(0, self.config.steps - self.config.random) / self.config.every)

    def learn(self, episodes: Sequence[Episode], seed: int, steps: int | None = None, *, last: bool = False) -> None:
        """Fit the model to all episodes, by the config's gradient steps or so many, and practise in it.

        What is practised the `last` time settles.

        While the model explores, only what is curious is practised: a policy that has learned to do nothing, because
        nothing was known to pay, would go on doing nothing.
        """
        c, taken = self.config, sum(map(len, episodes))
        which = "" if steps else f", time {self._fitted + 1} of about {self.fits}"
        self.say(f"fitting the model to {taken} steps{which}")
        fit(self._model, episodes, steps=steps or (c.then if self._fitted else c.first), seed=seed)
        self._fitted += 1
        if self.tasks:
            self._practise(taken, last)
        if not last:
            self.say("acting")

    def _practise(self, taken: int, last: bool) -> None:
        c = self.config
        if self._explores(taken):
            self.say("practising in imagination to explore")
            curious, self._curious = bool(self._curious), self._curious or self._practice(self.tasks[0], curiosity=1.0)
            self._curious.practise(c.rounds if curious else 3 * c.rounds)
            return
        again = bool(self._practices)
        self._practices = self._practices or [self._practice(task) for task in self.tasks]
        for number, practice in enumerate(self._practices, 1):
            self.say(f"practising in imagination what the plan asks for, {number} of {len(self._practices)}")
            practice.practise(c.rounds if again and not last else 3 * c.rounds, settling=last)
        if last and again:
            self._practices = [self._anew(practice) for practice in self._practices]

    def _anew(self, practice: Practice) -> Practice:
        """Practise a task from nothing in the model as it is now; return what earns more, that or the given one."""
        self.say("practising once more from nothing, to keep what earns more")
        other = Practice(self.model, practice.task, self.config.policy, seed=self.config.seed + 1)
        other.practise(3 * self.config.rounds, settling=True)
        return other if other.worth() > practice.worth() else practice

    def _explores(self, taken: int) -> bool:
        return taken < min(self.config.random + self.config.explored * self.config.steps, self.config.steps)

    def _practice(self, task: Task, curiosity: float = 0.0) -> Practice:
        return Practice(self.model, task, self.config.policy, seed=self.config.seed, curiosity=curiosity)

    def actor(self, *, greedy: bool = False) -> ObjectiveActor:
        """Return who acts next; `greedy`, by what policies find likeliest."""
        c, model = self.config, self.model
        if not self.tasks:
            return ObjectiveActor(model, Search(model, c.search), Search(model, c.search.lighter()))
        known = dict.fromkeys(self.tasks, self._curious.policy) if self._curious is not None else {}
        known |= dict(zip(self.tasks, self.policies, strict=False))
        sure = Policies(model, known.__getitem__)
        return ObjectiveActor(model, sure if greedy else Policies(model, known.__getitem__, drawn=True), sure)


def _room_for(spec: WorldSpec, steps: int) -> None:
    """Raise SpecError where the frames of so many actions would not fit into memory."""
    if picture := spec.picture:
        most = MOST_BYTES // (picture.size**2 * 3)
        if steps > most:
            raise SpecError(
                f"{spec.name} shows pictures of {picture.size} by {picture.size} pixels, and {steps:,} of them are too"
                f" many to keep in memory; at most {most:,} steps, or a smaller size under [picture] in its adapter"
            )


def try_out(world: GymWorld, apprentice: Apprentice, past: Sequence[Episode] = ()) -> Iterator[Tried]:
    """Learn in place, yielding episodes, the first ones random; `past` episodes count as steps already taken.

    The model is fitted after the random ones, now and then later, and at the end; a new one is fitted to `past`
    episodes in the same turns, as when they happened, so that a learning that was cut off comes to the same. Exogenous
    variables are drawn anew for each. Raises WorldError and TrainingError; what was yielded before is sound.
    """
    config, plan = apprentice.config, apprentice.plan
    known, episodes, env = deque(past), list[Episode](), world.make()
    objectives = [objective_of(world.spec, step) for step in plan.steps]
    lasting = sum(o.earliest for o in objectives if not isinstance(o, Optimize))
    seed, due = FIRST_TRAINING_SEED, config.random
    try:
        while (taken := sum(map(len, episodes))) < config.steps or known:
            rng = np.random.default_rng((config.seed, seed))
            if taken >= due:
                apprentice.learn(episodes, seed % (1 << 30))
                due = taken + config.every
            if known:
                episodes.append(known.popleft())
                seed = max(seed, episodes[-1].seed) + 1
                continue
            greedy = bool(apprentice.policies) and bool(
                np.random.default_rng((config.seed, seed, 5)).random() < config.greedy
            )
            actor = apprentice.actor(greedy=greedy) if taken >= config.random else None
            inputs = {name: float(rng.uniform(e.low, e.high)) for name, e in world.adapter.exogenous.items()}
            most = min(config.steps - taken, max(config.longest, lasting))
            foretold = config.foretold if apprentice.policies or config.acting == "search" else 0
            tried = pursue(world, env, plan, seed, actor, rng, inputs, most=most, foretold=foretold)
            episodes.append(tried.episode)
            seed += 1
            yield tried
        if episodes:
            apprentice.learn(episodes, seed % (1 << 30), last=True)
    finally:
        env.close()


def pursue(
    world: GymWorld,
    env: GymEnv,
    plan: Plan,
    seed: int,
    actor: ObjectiveActor | None,
    rng: np.random.Generator,
    inputs: dict[str, float] | None = None,
    *,
    most: int = 1_000_000,
    foretold: int = 0,
) -> Tried:
    """Live through one episode of at most `most` actions: do what an actor does for the plan, or act at random.

    It ends with the environment; unless it is random, also when the plan is achieved or has failed. With `foretold`
    futures imagined at the beginning, its record says what they foretold, and what came of it where that is known.
    """
    now = env.reset(seed=seed, options={"exogenous": inputs or {}})[0]
    seen = Seen(env.picture)
    seen.note(now)
    actions: list[Any] = []
    rewards: list[float] = []
    watches, doing = world.watch(env, plan.steps), actor.pursue(plan, 0) if actor else None
    patience, current, held = rng.uniform(0, 0.8), 0, None
    generator = torch.Generator().manual_seed(seed)
    ending: Ending = "over"
    over = terminated = False
    told = _foretell(actor, plan, now, foretold, seed) if actor and foretold else None
    while not over and len(actions) < most:
        if actor is None or doing is None:
            action = held if held is not None and rng.random() < patience else random_action(world.spec, rng)
            held = action
        else:
            action = doing.decide(_believed(actor.model, now), generator, greedy=True)
        now, reward, terminated, truncated, _ = env.step(action)
        seen.note(now)
        actions, rewards = [*actions, action], [*rewards, reward]
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
    if env.heard:
        record["said"] = env.heard
    episode = _episode(world, plan, seed, actor is None, seen, actions, rewards, terminated, record)
    return Tried(episode, ending, current)


def _foretell(actor: ObjectiveActor, plan: Plan, seen: Any, futures: int, seed: int) -> dict[str, Any] | None:
    """Say in how many futures a plan is carried out, as verdicts do; None for a plan that can't fail."""
    model = actor.model
    if all(isinstance(objective_of(model.spec, step), Optimize) for step in plan.steps):
        return None
    rehearsal = actor.rehearse(
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
    seen: Seen,
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
        observations=np.stack(seen.shown),
        actions=taken,
        rewards=np.array(rewards, np.float32),
        terminated=terminated,
        steps=(),
        step_index=np.full(length, -1, np.int16),
        origin=np.zeros(0, np.int16),
        expert=np.full(length, -1, np.int8),
        achieved=np.zeros(length, np.bool_),
        record=record,
        frames=seen.film(),
    )
