"""Pictures that are imagined beside those that then really come: a plan's actions, imagined first, then taken.

Actions are those of one imagined future, in which is done what the actor says of what it imagines. Nothing that is seen
on the way corrects that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gedanken.agent.beside import ending_of
from gedanken.agent.session import plain, spell
from gedanken.agent.situations import first_beliefs
from gedanken.worldmodel.checkpoint import CheckpointError, TrainedDynamics
from gedanken.worldmodel.episode import Action, Seen
from gedanken.worldmodel.objective_actor import judged
from gedanken.worldmodel.pictured import PicturesModel
from gedanken.worldmodel.tasks import tasks_of
from gedanken.worldmodel.trying import IMAGINED
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.spec import Plan, SpecError

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Footage:
    """T actions, imagined and real; frame 0 is the first look, before any of them, and as the eye sees it.

    `reached` says for each step after how many actions it was achieved, in imagination and in reality.
    """

    world: GymWorld
    seed: int
    plan: Plan
    actions: tuple[Action, ...]
    imagined: Frames  # [T + 1, size, size, 3]
    real: Frames  # [T + 1, size, size, 3]
    told: NDArray[np.float32]  # [T + 1, variables] imagined
    seen: NDArray[np.float32]  # [T + 1, variables] real
    doubts: tuple[float, ...]  # [T] nats of disagreement on each action
    reached: tuple[tuple[str, int | None, int | None], ...]
    ending: str  # how the real episode ended, or that it goes on

    @property
    def off(self) -> NDArray[np.float64]:
        """Return how far pixels were imagined from what they are, of 255, means by frame, [T + 1]."""
        return _apart(self.imagined, self.real)

    @property
    def moved(self) -> NDArray[np.float64]:
        """Return how far pixels are from the first frame's, by frame, [T + 1]: the error had the world frozen."""
        return _apart(self.real[:1], self.real)

    def caption(self, frame: int) -> str:
        """Name the action that led to a frame."""
        return f"{frame} {spell(self.world.spec, self.actions[frame - 1])}" if frame else "first look"

    def summary(self) -> str:
        """Say in a line how well it was imagined."""
        if not self.actions:
            return f"no action was imagined; {self.ending}"
        off, moved = self.off[1:].mean(), self.moved[1:].mean()
        numbers = np.abs(self.told - self.seen)[1:].mean(0)
        named = zip(self.world.spec.vector.variables, numbers, strict=True)
        said = "".join(f", {variable.name} by {number:.3g}" for variable, number in named)
        pixels = f"pixels off by {off:.2f} of 255, {moved:.2f} had the world frozen"
        return f"{len(self.actions)} actions: {pixels}{said}; {self.ending}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        names = [variable.name for variable in self.world.spec.vector.variables]
        frames = [
            {
                "action": plain(action),
                "pixels": float(self.off[number]),
                "frozen": float(self.moved[number]),
                "imagined": dict(zip(names, self.told[number].tolist(), strict=True)),
                "really": dict(zip(names, self.seen[number].tolist(), strict=True)),
                "disagreement": doubt,
            }
            for number, (action, doubt) in enumerate(zip(self.actions, self.doubts, strict=True), 1)
        ]
        reached = [{"step": step, "imagined": imagined, "really": really} for step, imagined, really in self.reached]
        about = {"world": self.world.id, "seed": self.seed, "actions_of": self.plan.line()}
        return {**about, "frames": frames, "reached": reached, "ending": self.ending}


def imagine_footage(
    world: GymWorld, trained: TrainedDynamics, seed: int, plan: Plan, *, future: int = 0, most: int = 64
) -> Footage:
    """Imagine a plan, in the future of that number, then really take its actions, `most` of them at most.

    Raises SpecError for a world that shows no picture, CheckpointError for a model that imagines none, and WorldError.
    """
    if world.spec.picture is None:
        raise SpecError(f"{world.id} shows no picture, so none can be imagined; `gedanken plan` tells of its numbers")
    if not isinstance(trained.model, PicturesModel):
        raise CheckpointError(f"{trained.name} imagines numbers only; learn {world.id} anew")
    env = world.make()
    try:
        first, _ = env.reset(seed=seed)
        actions, pictures, numbers, doubts, reached = _imagine(trained, first, plan, future, most)
        seen, really, ending = _act(world, env, first, plan, actions)
    finally:
        env.close()
    film, taken = seen.film(), len(seen.shown) - 1
    assert film is not None
    return Footage(
        world=world,
        seed=seed,
        plan=plan,
        actions=tuple(actions[:taken]),
        imagined=torch.cat(pictures[: taken + 1]).numpy(),
        real=film[len(film) - taken - 1 :],
        told=torch.cat(numbers[: taken + 1]).numpy(),
        seen=np.stack(seen.shown),
        doubts=tuple(doubts[:taken]),
        reached=tuple(zip(map(str, plan.steps), reached, really, strict=True)),
        ending=ending,
    )


@torch.no_grad()
def _imagine(
    trained: TrainedDynamics, first: NDArray[np.float32], plan: Plan, future: int, most: int
) -> tuple[list[Action], list[Tensor], list[Tensor], list[float], list[int | None]]:
    """Return a future's actions, the pictures and numbers of its moments, doubts, and when each step was achieved."""
    model, actor = trained.model, trained.objective_actor
    assert isinstance(model, PicturesModel)
    for _ in actor.prepare([plan]):
        pass
    actions, doubts, reached = list[Action](), list[float](), list[int | None]()
    generator, tasks = torch.Generator().manual_seed(future), tasks_of(model.spec, plan)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(future)
        believed: Any = first_beliefs(trained.model, [first])
        state = model.suppose(believed.repeat(future + 1), torch.zeros(0))[future : future + 1]
        pictures, numbers = [model.drawn(state)], [model.readout(state).observation]
        doing, spent = actor.pursue(plan, 0), 0
        while len(actions) < most:
            action = doing.decide(state, generator, greedy=True)
            done = torch.tensor([action]) if isinstance(action, int) else torch.from_numpy(action)[None]
            doubts.append(float(model.disagreement(state, done)))
            state, spent = model.imagine(state, done), spent + 1
            said = model.readout(state)
            actions.append(action)
            pictures.append(model.drawn(state))
            numbers.append(said.observation)
            task = replace(tasks[len(reached)], spent=spent)
            met, missed = judged(trained.model, [task], np.array([spent]), said.observation, said.reward, IMAGINED)
            if met[0]:
                reached.append(len(actions))
                if len(reached) == len(tasks):
                    break
                doing, spent = actor.pursue(plan, len(reached)), 0
            elif missed[0] or said.continues[0] < 0.5:
                break
    return actions, pictures, numbers, doubts, reached + [None] * (len(tasks) - len(reached))


def _act(
    world: GymWorld, env: gymnasium.Env[Any, Any], first: NDArray[np.float32], plan: Plan, actions: list[Action]
) -> tuple[Seen, list[int | None], str]:
    """Take actions until the episode ends; return what is seen, when each step was really achieved, and the ending."""
    seen, watches, reached = Seen(world.spec.picture), world.watch(env, plan.steps), list[int | None]()
    seen.note(first)
    total, over, ended, failed = 0.0, False, False, False
    for number, action in enumerate(actions, 1):
        now, reward, ended, late, _ = env.step(action)
        seen.note(now)
        total, over = total + float(reward), bool(ended or late)
        if len(reached) < len(watches) and not failed:
            if watches[len(reached)].achieved(action):
                reached.append(number)
            else:
                failed = watches[len(reached)].failed
        if over:
            break
    return seen, reached + [None] * (len(watches) - len(reached)), ending_of(bool(ended), over, total)


def _apart(one: Frames, other: Frames) -> NDArray[np.float64]:
    apart: NDArray[np.float64] = np.abs(one.astype(np.float64) - other).mean((1, 2, 3))
    return apart
