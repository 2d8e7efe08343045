"""Tiny stand-ins for what suites measure: real BabyAI levels, an untrained model of debug size, a scripted mind."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch

from gedanken.agent.config import LoopConfig
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.verdict import Verdict
from gedanken.evals import statistics
from gedanken.evals.suite import Parts
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worldmodel.spatial import SIZES, SpatialModel
from gedanken.worlds.babyai import SPEC, BabyAIWorld


class Level(BabyAIWorld):
    """A BabyAI level with one example for the language model."""

    @property
    def examples(self) -> tuple[tuple[str, str, str], ...]:
        return (("You see a red ball ahead.", "go to the red ball", "go_to(red ball)"),)


class EagerJudge:
    """Believes what was imagined, and that a plan which names a colour is meant."""

    def judge(self, goal: str, rehearsal: Rehearsal, describe: object = None, readings: object = ()) -> list[Verdict]:
        verdicts = []
        for plan, futures in zip(rehearsal.plans, rehearsal.success, strict=True):
            share = float(futures.float().mean())
            meant = 0.9 if any(word in str(plan) for word in goal.split()) else 0.3
            verdicts.append(
                Verdict(
                    plan=plan,
                    success=0.1 + 0.8 * meant * (0.5 + 0.5 * share),
                    low=0.0,
                    high=1.0,
                    satisfies=meant,
                    carried_out=share,
                    steps=5.0,
                    failing_step=None,
                    failing_share=0.0,
                    disagreement=0.0,
                    reasons="because",
                    futures=len(futures),
                )
            )
        return verdicts


def plans_for(prompt: str) -> list[str]:
    """Write the plan that the last goal's wording suggests, and a wrong one."""
    found = re.findall(r"(go to|pick up|open) (?:the|a|an) (?:(red|green|blue|purple|yellow|grey) )?(\w+)", prompt)
    if not found:
        return ["go_to(red ball)\n"]
    verb, colour, kind = found[-1]
    skill = "open" if kind == "door" else "go_to" if verb == "open" else verb.replace(" ", "_")
    return [f"{skill}({colour + ' ' if colour else ''}{kind})\n", "go_to(red ball)\n"]


@pytest.fixture(autouse=True)
def few_resamples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are tested on their own; elsewhere a few resamples do."""
    if "statistics" not in request.node.nodeid:
        monkeypatch.setattr(statistics, "ROUNDS", 20)


@pytest.fixture(scope="session")
def trained() -> Trained:
    torch.manual_seed(0)
    model = SpatialModel(SPEC, SIZES["debug"])
    return Trained(model, Controller(model), "debug")


@pytest.fixture
def make_parts(trained: Trained) -> Callable[..., Parts]:
    def make(**changes: object) -> Parts:
        config = LoopConfig.preset("debug", learn_steps=0, patience=6, horizon=4, replans=0, **changes)
        return Parts(Level, trained, config, lambda: ScriptedModel(plans_for), lambda _: EagerJudge())

    return make
