"""Imagination beside reality: actions imagined from the first look at an environment, then really taken in it.

A plan's actions are those of one imagined future, in which the learned controller acts on what it imagines; without a
plan they are the demonstrator's. Nothing that is seen on the way corrects what is imagined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from gedanken.agent.config import LoopConfig
from gedanken.agent.situations import first_beliefs
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import Practice, demonstrate
from gedanken.worldmodel.protocol import WorldModel
from gedanken.worldmodel.rehearse import rehearse
from gedanken.worlds.protocol import DemonstratedWorld, Observation, World
from gedanken.worlds.spec import Plan, Step

PATIENCE = 250
"""Most actions of the demonstrator for a step; it may have rooms to walk through."""


@dataclass(frozen=True)
class Beside:
    """T actions, imagined and real; frame 0 is the first view, before any of them.

    `steps` names for each action the step that was pursued; `reached` says for each step after how many actions it was
    achieved, in imagination (None also where that was not asked) and in reality.
    """

    world: World
    seed: int
    mission: str
    source: str  # whose actions these are
    actions: tuple[int, ...]
    steps: tuple[str, ...]
    imagined: NDArray[np.uint8]  # [T + 1, height, width, C]
    real: NDArray[np.uint8]  # [T + 1, height, width, C]
    doubts: tuple[float, ...]  # [T] nats of disagreement on each action
    reached: tuple[tuple[str, int | None, int | None], ...]
    ending: str  # how the real episode ended, or that it goes on

    @property
    def visible(self) -> NDArray[np.bool_]:
        """Tell which cells are really in sight, [T + 1, height, width]."""
        visible: NDArray[np.bool_] = self.real[..., 0] != self.world.spec.grid.hidden
        return visible

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Tell which cells in sight were imagined otherwise than they are, [T + 1, height, width]."""
        differs: NDArray[np.bool_] = (self.imagined != self.real).any(-1)
        return differs & self.visible

    def caption(self, frame: int) -> str:
        """Name the action that led to a frame."""
        return f"{frame} {self.world.spec.action_names[self.actions[frame - 1]]}" if frame else "first view"

    def summary(self) -> str:
        """Say in a line how well it was imagined."""
        wrong, visible = self.wrong[1:], self.visible[1:]
        first = next((frame for frame, cells in enumerate(wrong, 1) if cells.any()), None)
        right = int(visible.sum() - wrong.sum())
        until = f"the first wrong one at action {first}" if first else "none of them wrong"
        return f"{len(self.actions)} actions: {right:,} of {int(visible.sum()):,} cells right, {until}; {self.ending}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        names, visible = self.world.spec.action_names, self.visible.sum((1, 2))
        frames = [
            {"action": names[action], "step": step, "cells": int(cells), "wrong": int(wrong), "disagreement": doubt}
            for action, step, cells, wrong, doubt in zip(
                self.actions, self.steps, visible[1:], self.wrong.sum((1, 2))[1:], self.doubts, strict=True
            )
        ]
        reached = [{"step": step, "imagined": imagined, "really": really} for step, imagined, really in self.reached]
        about = {"world": self.world.id, "seed": self.seed, "mission": self.mission, "actions_of": self.source}
        return {**about, "frames": frames, "reached": reached, "ending": self.ending}


def imagine_plan(
    world: World, trained: Trained, seed: int, plan: Plan, *, future: int = 0, most: int | None = None
) -> Beside:
    """Imagine a plan, in the future of that number, then really take its actions, `most` of them at most."""
    env = world.make()
    raw, _ = env.reset(seed=seed)
    world.begin_goal(env)
    first = world.observation(raw)
    belief, horizon = first_beliefs(trained.model, [first]), LoopConfig().practised(trained.card).horizon
    rehearsal = rehearse(trained.controller, belief, [plan], samples=1, horizon=horizon, seed=future, views=True)
    assert rehearsal.views is not None
    actions = [action for action in rehearsal.actions[0, 0].tolist() if action >= 0][:most]
    reached = [at if 0 <= at <= len(actions) else None for at in rehearsal.reached[0, 0].tolist()]
    pursued = [sum(at is not None and at <= done for at in reached) for done in range(len(actions))]
    views, really, ending = _act(world, env, first, plan.steps, actions)
    env.close()
    taken = len(views) - 1
    return Beside(
        world=world,
        seed=seed,
        mission=world.mission(raw),
        source=plan.line(),
        actions=tuple(actions[:taken]),
        steps=tuple(str(plan.steps[k]) for k in pursued[:taken]),
        imagined=rehearsal.views[0, : taken + 1].to(torch.uint8).numpy(),
        real=np.stack(views),
        doubts=tuple(rehearsal.disagreement[0, 0, :taken].tolist()),
        reached=tuple(zip(map(str, plan.steps), reached, really, strict=True)),
        ending=ending,
    )


def imagine_demonstration(
    world: DemonstratedWorld, trained: Trained, seed: int, *, future: int = 0, most: int | None = None
) -> Beside:
    """Imagine, in one supposed world, what the demonstrator did for the environment's own mission (`most` actions)."""
    env = world.make()
    episode = demonstrate(world, env, seed, Practice(jostled=0.0, patience=PATIENCE))
    env.close()
    taken = len(episode) if most is None else min(most, len(episode))
    actions = episode.actions[:taken].tolist()
    steps = [world.spec.parse_step(step) for step in episode.steps]
    views, doubts = _imagine(trained.model, episode.observations[0], actions, steps, future)
    over = taken == len(episode)
    achieved = [int(t) + 1 for t in np.flatnonzero(episode.achieved[:taken])]
    after = {int(episode.step_index[at - 1]): at for at in reversed(achieved)}
    return Beside(
        world=world,
        seed=seed,
        mission=episode.goal,
        source="the demonstrator",
        actions=tuple(actions),
        steps=tuple(episode.steps[k] for k in episode.step_index[:taken]),
        imagined=views,
        real=episode.observations[: taken + 1].astype(np.uint8),
        doubts=doubts,
        reached=tuple((step, None, after.get(k)) for k, step in enumerate(episode.steps)),
        ending=ending_of(over and episode.terminated, over, float(episode.rewards[:taken].sum())),
    )


@torch.no_grad()
def _imagine(
    model: WorldModel, first: Observation, actions: Sequence[int], steps: Sequence[Step], future: int
) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """Return the views [T + 1, height, width, C] that actions are imagined to lead to, and the doubt on each."""
    codes = torch.tensor(model.spec.plan_codes(steps)).view(1, -1, len(model.spec.step_sizes))
    doubts = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(future)
        state = model.suppose(first_beliefs(model, [first]), codes)
        views = [model.readout(state).observation[0]]
        for action in actions:
            act = torch.tensor([action])
            doubts.append(float(model.disagreement(state, act)))
            state = model.imagine(state, act)
            views.append(model.readout(state).observation[0])
    return torch.stack(views).to(torch.uint8).numpy(), tuple(doubts)


def _act(
    world: World, env: gymnasium.Env[Any, Any], first: Observation, steps: Sequence[Step], actions: Sequence[int]
) -> tuple[list[Observation], list[int | None], str]:
    """Take actions until the episode ends; return the views, when each step was really achieved, and the ending."""
    views, reached, total, over, ended = [first], list[int | None](), 0.0, False, False
    (watch,) = world.watch(env, steps[:1])
    for number, action in enumerate(actions, 1):
        raw, reward, ended, late, _ = env.step(action)
        views.append(world.observation(raw))
        total, over = total + float(reward), bool(ended or late)
        if len(reached) < len(steps) and watch.achieved(action):
            reached.append(number)
            if len(reached) < len(steps):
                (watch,) = world.watch(env, steps[len(reached) : len(reached) + 1])
        if over:
            break
    return views, reached + [None] * (len(steps) - len(reached)), ending_of(bool(ended), over, total)


def ending_of(ended: bool, over: bool, reward: float) -> str:
    """Say how a real episode ended, or that it goes on."""
    if not over:
        return "the real episode goes on"
    how = "ended" if ended else "was over, its step limit reached"
    return f"the real episode {how}, reward {reward:.2f}"
