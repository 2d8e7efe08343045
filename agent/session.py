"""A life in one real environment: what was seen and done since the reset, and the belief filtered from it.

Knows the world and the world model; knows no goal in words and no language model.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gedanken.agent.journal import Conversation, Journal, Recorded
from gedanken.worldmodel.actor import Pursuit
from gedanken.worldmodel.checkpoint import Trained, TrainedDynamics
from gedanken.worldmodel.episode import AGENT, Action, Episode, Seen
from gedanken.worldmodel.protocol import Belief, Dynamics
from gedanken.worlds.fields import GridField, VectorField
from gedanken.worlds.logs import LogWorld
from gedanken.worlds.protocol import Observation, Watch, World
from gedanken.worlds.spec import Plan, WorldSpec


class SessionError(RuntimeError):
    """The environment can't be used any more, or does not replay as it was; the message says what to do."""


@dataclass(frozen=True)
class Transition:
    """What one real action led to; `surprise` in nats."""

    action: Action
    observation: Observation
    reward: float
    over: bool
    achieved: bool
    surprise: float


@dataclass
class _Pursuit:
    """One action's part in an episode."""

    index: int
    achieved: bool


class Session:
    """The environment, its history and the belief about it; one goal after the other.

    `free` takes the environment's own mission and step limit away. With a journal every action is durable: intended
    before it is taken, confirmed after.
    """

    def __init__(self, world: World, trained: Trained | TrainedDynamics, seed: int, *, free: bool) -> None:
        self.world, self.trained, self.seed, self.free = world, trained, seed, free
        self.env: gymnasium.Env[Any, Any] = world.make(free=free)
        self.journal: Journal | None = None
        self.conversation: Conversation | None = None
        self.turn: int | None = None
        self.over = self.terminated = False
        self.alone = threading.Lock()  # for those who would pursue goals in it from several threads
        self._past = Seen(world.spec.picture)
        self.observations = self._past.shown
        self.actions: list[Action] = []
        self.rewards: list[float] = []
        self.steps: list[str] = []
        self._pursuits: list[_Pursuit] = []
        self._doing: Pursuit | None = None
        self.origin = 0
        raw, _ = self.env.reset(seed=seed)
        self.mission = world.mission(raw)
        self._now = world.observation(raw)
        self._past.note(self._now)
        self.belief: Belief = self._filter(trained.model.initial(1), 0, self._now, first=True)

    @classmethod
    def begin(
        cls,
        world: World,
        trained: Trained | TrainedDynamics,
        seed: int,
        *,
        free: bool,
        journal: Journal | None = None,
        look: bool = True,
    ) -> Session:
        """Reset the environment; in a free one look around first, where the world says how (`looking`)."""
        session = cls(world, trained, seed, free=free)
        session.journal = journal
        if journal:
            session.conversation = journal.begin(world.id, world.spec.hash, seed, free)
        for action in getattr(world, "looking", ()) if free and look else ():
            session.take(int(action), "", lambda _: False)
        return session

    @classmethod
    def replay(
        cls, world: World, trained: Trained | TrainedDynamics, conversation: Conversation, journal: Journal
    ) -> Session:
        """Rebuild a life from its journal. Raises SessionError where the environment behaves otherwise than it did."""
        session = cls(world, trained, conversation.seed, free=conversation.free)
        turns = journal.turns(conversation.id)
        origins = {turn.id: turn.origin for turn in turns}
        current: int | None = None
        for recorded in journal.actions(conversation.id):
            if not recorded.done:
                break
            if recorded.turn != current and recorded.turn is not None:
                current = recorded.turn
                session._begin(origins[current])
            session._repeat(recorded)
        session.journal, session.conversation = journal, conversation
        if turns and turns[-1].outcome is None:
            session.turn = turns[-1].id
            if current != session.turn:
                session._begin(turns[-1].origin)
        return session

    # ---- goals and steps -------------------------------------------------------------------------------------------

    def begin_goal(self, goal: str) -> None:
        """Places in plans speak of the present pose from now on. Raises SessionError when the episode is over."""
        if self.over:
            raise SessionError("this episode is over: begin a new one (in the chat: /world)")
        if isinstance(self.world, LogWorld):
            raise SessionError(f"{self.world.id} is known from logs only; `gedanken plan` and `whatif` imagine in it")
        if self.journal and self.conversation:
            self.turn = self.journal.begin_turn(self.conversation.id, goal, len(self.actions))
        self._begin(len(self.actions))

    def imagine_goal(self) -> None:
        """As `begin_goal`, for a goal that is only imagined: nothing is noted in the journal."""
        self._begin(len(self.actions))

    def _begin(self, origin: int) -> None:
        self.origin, self.steps, self._pursuits = origin, [], []
        self.world.begin_goal(self.env)
        self.belief = self.trained.model.begin_goal(self.belief, torch.ones(1, dtype=torch.bool))

    def pursue(self, plan: Plan, index: int) -> None:
        """The actions that follow pursue this step of the plan."""
        self.steps.append(str(plan.steps[index]))
        self._begin_step()
        self._doing = self.trained.actor.pursue(plan, index)

    def _begin_step(self) -> None:
        self.belief = self.trained.model.begin_step(self.belief, torch.ones(1, dtype=torch.bool))

    def watch(self, plan: Plan, index: int) -> Watch:
        """Watch a step of a plan from here on; what earlier objectives ask to avoid is watched with it."""
        first = 0 if isinstance(self.world.spec.observation, VectorField) else index
        return self.world.watch(self.env, plan.steps[first : index + 1])[-1]

    # ---- acting ----------------------------------------------------------------------------------------------------

    def decide(self, seed: int, *, greedy: bool) -> Action:
        """Return the actor's action for the step under way; the same history and seed give the same action."""
        if self._doing is None:
            raise ValueError("no step is under way, so there is nothing to decide")
        generator = torch.Generator().manual_seed((seed * 1_000_003 + self.seed * 7919 + len(self.actions)) % (1 << 63))
        return self._doing.decide(self.belief, generator, greedy=greedy)

    def take(self, action: Action, step: str, achieved: Callable[[Action], bool]) -> Transition:
        """Take one real action; `achieved` is asked right after. Raises StoreError when the journal fails."""
        number, pursuit = len(self.actions), len(self.steps) - 1
        if self.journal and self.conversation:
            self.journal.intend(self.conversation.id, number, self.turn, action, step, pursuit)
        transition = self._step(action, achieved)
        if self.journal and self.conversation:
            checksum = zlib.crc32(self._now.tobytes())
            self.journal.confirm(self.conversation.id, number, checksum, transition.reward, transition.achieved)
        return transition

    def _repeat(self, recorded: Recorded) -> None:
        while recorded.step and len(self.steps) <= recorded.pursuit:
            self.steps.append(recorded.step)
            self._begin_step()
        self._step(recorded.action, lambda _: recorded.achieved)
        if zlib.crc32(self._now.tobytes()) != recorded.checksum:
            raise SessionError(
                f"{self.world.id} with seed {self.seed} does not replay as it was recorded (action {recorded.number}):"
                " another version of the environment is installed. Begin a new conversation without --continue"
            )

    def _step(self, action: Action, achieved: Callable[[Action], bool]) -> Transition:
        raw, reward, terminated, truncated, _ = self.env.step(action)
        done = achieved(action)
        observation = self.world.observation(raw)
        act, seen = _batch(action), torch.from_numpy(observation)[None]
        with torch.no_grad():
            surprise = float(self.trained.model.surprise(self.belief, act, seen))
        self.belief = self._filter(self.belief, action, observation, first=False)
        self.over, self.terminated = bool(terminated or truncated), bool(terminated)
        self._now = observation
        self._past.note(observation)
        self.actions.append(action)
        self.rewards.append(float(reward))
        self._pursuits.append(_Pursuit(len(self.steps) - 1, done))
        return Transition(action, self.view, float(reward), self.over, done, surprise)

    def _filter(self, belief: Belief, action: Action, observation: Observation, *, first: bool) -> Belief:
        act, seen = _batch(action), torch.from_numpy(observation)[None]
        with torch.no_grad():
            return self.trained.model.observe(belief, act, seen, torch.tensor([first]))

    # ---- looking back ----------------------------------------------------------------------------------------------

    @property
    def view(self) -> Observation:
        """What is seen now, ``[height, width, C]`` or ``[variables]``; no pixels."""
        return self.observations[-1]

    def known(self) -> tuple[Observation, tuple[int, ...]]:
        """Return the map of all that is known, where the family keeps one, or else the view; and where the agent is.

        Where there is no grid, the agent is nowhere: ().
        """
        return known_to(self.trained.model, self.belief, self.view)

    def scene(self) -> str:
        """Put into words what is known of the surroundings, and quote what the world says in words of its own."""
        told = self.world.describe(*self.known())
        return f"{told} {said}" if (said := getattr(self.env, "saying", "")) else told

    @property
    def spent(self) -> int:
        """Actions taken since the goal was given."""
        return len(self.actions) - self.origin

    @property
    def reward(self) -> float:
        """Reward received since the goal was given."""
        return sum(self.rewards[self.origin :])

    def achieved_steps(self) -> list[str]:
        """Name the steps achieved since the goal was given, in order."""
        return [self.steps[p.index] for p in self._pursuits if p.achieved and p.index >= 0]

    def episode(self, goal: str, record: dict[str, Any]) -> Episode:
        """Return what happened since the goal was given; `record` also gets the actions that led there."""
        start, length = self.origin, self.spent
        taken: NDArray[Any] = np.array(self.actions[start:], np.float32 if self.world.spec.controls else np.uint8)
        return Episode(
            world=self.world.id,
            spec_hash=self.world.spec.hash,
            seed=self.seed,
            source=AGENT,
            goal=goal,
            observations=np.stack(self.observations[start:]),
            actions=taken,
            rewards=np.array(self.rewards[start:], np.float32),
            terminated=self.terminated,
            steps=tuple(self.steps),
            step_index=np.array([p.index for p in self._pursuits], np.int16),
            origin=np.zeros(len(self.steps), np.int16),
            expert=np.full(length, -1, np.int8),
            achieved=np.array([p.achieved for p in self._pursuits], np.bool_),
            record={**record, **self._heard(start), "before": [plain(action) for action in self.actions[:start]]},
            frames=self._past.film(start),
        )

    def _heard(self, start: int) -> dict[str, Any]:
        """Return what was said in words from a moment on, and before it last, by moments from there."""
        heard = list[tuple[int, str, str]](getattr(self.env, "heard", ()))
        last = {name: (0, name, text) for at, name, text in heard if at <= start}
        found = [*last.values(), *((at - start, name, text) for at, name, text in heard if at > start)]
        return {"said": found} if found else {}

    def close(self) -> None:
        """Release the environment."""
        self.env.close()


def known_to(model: Dynamics, belief: Belief, view: Observation) -> tuple[Observation, tuple[int, ...]]:
    """Return the map in the one row of a belief, or the view where the family keeps no map; and where the agent is."""
    known = getattr(model, "known", None)
    if known is None:
        return view, model.spec.observation.agent if isinstance(model.spec.observation, GridField) else ()
    grid: Tensor = known(belief)[0]
    return grid.to(torch.uint8).cpu().numpy(), (grid.shape[0] // 2, grid.shape[1] // 2)


def plain(action: Action) -> int | list[float]:
    """Return an action as JSON has it."""
    return action if isinstance(action, int) else [float(control) for control in action]


def spell(spec: WorldSpec, action: Action) -> str:
    """Name an action, or say every control's value: ``heater 0.53``."""
    if isinstance(action, int):
        return spec.action_names[action]
    return ", ".join(f"{name} {value:.3g}" for name, value in zip(spec.action_names, action, strict=True))


def _batch(action: Action) -> Tensor:
    return torch.tensor([action]) if isinstance(action, int) else torch.from_numpy(action)[None]


def done_before(plan: Plan, achieved: list[str]) -> int:
    """Count the first steps of a plan that have been achieved already, in its order."""
    count = 0
    for step, done in zip(plan.steps, achieved, strict=False):
        if str(step) != done:
            break
        count += 1
    return count
