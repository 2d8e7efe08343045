"""A world model, a controller and a critic for tests of the loop: the demonstrator acts, words decide. No network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gedanken.agent.agent import Agent
from gedanken.agent.config import LoopConfig
from gedanken.agent.graph import saver
from gedanken.agent.journal import Journal
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.verdict import Verdict
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.protocol import Belief, Readout
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worlds.babyai import BabyAIWorld
from gedanken.worlds.spec import Step

LEVEL = "BabyAI-GoToLocal-v0"


@dataclass(frozen=True)
class Nothing(Belief):
    rows: Tensor


class Stage(BabyAIWorld):
    """A BabyAI level that keeps hold of the environment made last, for the demonstrator."""

    env: Any = None
    looking = (0, 0, 0, 0)

    @property
    def examples(self) -> tuple[tuple[str, str, str], ...]:
        return (("You see a red ball ahead.", "go to the red ball", "go_to(red ball)"),)

    def make(self, render_mode: str | None = None, *, free: bool = False) -> Any:
        self.env = super().make(render_mode, free=free)
        return self.env


class FakeModel:
    def __init__(self, world: Stage) -> None:
        self.spec, self.embed_size, self.outcome_size = world.spec, 1, 1
        self.surprises: list[float] = []

    def initial(self, batch: int) -> Nothing:
        return Nothing(torch.zeros(batch))

    def observe(self, belief: Nothing, action: Tensor, observation: Tensor, is_first: Tensor) -> Nothing:
        return belief

    def begin_goal(self, belief: Nothing, rows: Tensor) -> Nothing:
        return belief

    def begin_step(self, belief: Nothing, rows: Tensor) -> Nothing:
        return belief

    def suppose(self, belief: Nothing, steps: Tensor) -> Nothing:
        return belief

    def imagine(self, belief: Nothing, action: Tensor) -> Nothing:
        return belief

    def same(self, belief: Nothing, other: Nothing) -> Tensor:
        return torch.zeros(len(belief.rows), dtype=torch.bool)

    def readout(self, belief: Nothing) -> Readout:
        rows, field = len(belief.rows), self.spec.observation
        shape = (rows, field.height, field.width, len(field.channels))
        return Readout(torch.zeros(shape, dtype=torch.uint8), torch.zeros(rows), torch.ones(rows))

    def disagreement(self, belief: Nothing, action: Tensor) -> Tensor:
        return torch.zeros(len(action))

    def surprise(self, belief: Nothing, action: Tensor, observation: Tensor) -> Tensor:
        return torch.tensor([self.surprises.pop(0) if self.surprises else 0.0])


class FakeController:
    """One row asks the demonstrator; many rows, a rehearsal, always succeed at once."""

    def __init__(self, world: Stage, model: FakeModel) -> None:
        self.world, self.model = world, model
        self.expert: Any = None
        self.key: Any = None
        self.last: int | None = None
        self.before: Callable[[], None] = lambda: None

    def parameters(self) -> Iterator[Tensor]:
        yield torch.zeros(1)

    def act(self, belief: Nothing, step: Tensor) -> Tensor:
        size = len(self.world.spec.actions)
        if len(step) > 1:
            return torch.full((len(step), size), 1 / size).log()
        self.before()
        key = (id(self.world.env), tuple(step[0].tolist()))
        if self.key != key:
            self.key, self.expert, self.last = key, self.world.expert(self.world.env, decode(self.world, step[0])), None
        advice = self.expert.advise(self.last)
        self.last = 0 if advice is None else advice
        chances = torch.zeros(1, size)
        chances[0, self.last] = 1.0
        return chances.log()

    def achieved(self, belief: Nothing, step: Tensor) -> Tensor:
        return torch.ones(len(step))


def decode(world: Stage, codes: Tensor) -> Step:
    spec, values = world.spec, codes.tolist()
    skill, words = spec.skills[values[0]], []
    for position in range(len(skill.parameters)):
        part = values[1 + position * len(spec.attributes) :][: len(spec.attributes)]
        words.append(tuple(a.values[c - 1] if c else None for c, a in zip(part, spec.attributes, strict=True)))
    return Step(skill=skill.name, arguments=tuple(words))


class WordCritic:
    """Success by what plans say: the first key that occurs in a plan counts, otherwise `other`."""

    def __init__(
        self, success: dict[str, float] | None = None, other: float = 0.9, satisfies: float = 0.9, adds: str = ""
    ) -> None:
        self.success, self.other, self.meant, self.adds = success or {}, other, satisfies, adds

    def judge(self, goal: str, rehearsal: Rehearsal, describe: Any = None, readings: Any = ()) -> list[Verdict]:
        return [self._verdict(plan, rehearsal.success.shape[1]) for plan in rehearsal.plans]

    def _verdict(self, plan: Any, futures: int) -> Verdict:
        success = next((p for words, p in self.success.items() if words in str(plan)), self.other)
        return Verdict(
            plan=plan,
            success=success,
            low=success / 2,
            high=min(1.0, success + 0.05),
            satisfies=self.meant,
            carried_out=1.0,
            steps=float(len(plan.steps)),
            failing_step=None,
            failing_share=0.0,
            disagreement=0.0,
            reasons=f"the critic expects {success:.0%}{self.adds}",
            futures=futures,
        )


def trained_for(world: Stage) -> Trained:
    model: Any = FakeModel(world)
    controller: Any = FakeController(world, model)
    return Trained(model, controller, "double")


QUICK = LoopConfig.preset("debug", learn_steps=0)


@contextmanager
def agent_in(
    home: Path, script: Any, *, level: str = LEVEL, critic: Any = None, config: LoopConfig = QUICK
) -> Iterator[Agent]:
    """A durable agent whose language model says what `script` says."""
    world = Stage(level)
    runs = saver(home / "runs.sqlite")
    with ExperienceStore(home / "experience.sqlite") as store, Journal(home / "journal.sqlite") as journal:
        yield Agent(
            world,
            llm=ScriptedModel(script),
            trained=trained_for(world),
            critic=critic or WordCritic(),
            store=store,
            config=config,
            journal=journal,
            saver=runs,
        )
    runs.conn.close()
