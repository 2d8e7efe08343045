"""The critic's calibration: plan sets are rehearsed and carried out, and the evidence is weighed by what happened."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from gedanken.agent.config import LoopConfig
from gedanken.agent.critic import Calibration, Critic, Evidence
from gedanken.agent.events import Candidate
from gedanken.agent.llm.protocol import Encoder, LanguageModel, training_of
from gedanken.agent.propose import Request, propose, propose_request
from gedanken.agent.readings import Reading, readings_of
from gedanken.agent.recipes import RecipeConfig
from gedanken.agent.situations import WRITTEN, Job, Situation, execute_many, first_beliefs, situations
from gedanken.worldmodel.checkpoint import CheckpointError, load
from gedanken.worldmodel.collect import refuse_evaluation_seeds
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.rehearse import rehearse
from gedanken.worlds.protocol import PracticeWorld

Say = Callable[[str], None]


def calibrate(
    critic: Critic,
    controller: Controller,
    make_world: Callable[[str], PracticeWorld],
    config: RecipeConfig,
    seeds: range,
    writer: LanguageModel | None = None,
    say: Say = lambda _: None,
) -> None:
    """Rehearse and carry out plan sets from training seeds; fit the critic's calibration to what happened.

    The plans of a `writer` are among them: they go wrong in other ways than made ones. What it takes the goals to mean
    is evidence, as in the loop.
    """
    refuse_evaluation_seeds(seeds)
    sets = list(situations(make_world, config.suite, seeds))
    readings: list[tuple[Reading, ...]] = [()] * len(sets)
    if writer is not None:
        known: dict[Request, list[Candidate]] = {}
        for number, situation in enumerate(sets):
            world = make_world(situation.world)
            written = _written(situation, world, writer, known)
            readings[number] = readings_of(world, writer, written)
            plans = [world.spec.parse_plan(candidate.plan) for candidate in written]
            sets[number] = situation.with_plans(plans, WRITTEN)
        say(f"{sum(kind == WRITTEN for s in sets for kind in s.kinds)} plans of {writer.name} among them")
    jobs = [Job(s.world, s.seed, plan) for s in sets for plan in s.plans]
    executed = execute_many(make_world, jobs, controller, patience=config.acting_patience)
    happened = torch.tensor([float(e.success) for e in executed])
    found: list[Evidence] = []
    for number, situation in enumerate(sets):
        belief = first_beliefs(controller.model, [situation.observation])
        rehearsal = rehearse(
            controller,
            belief,
            situation.plans,
            samples=config.futures,
            horizon=config.horizon,
            seed=situation.seed % 1000,
        )
        found.append(critic.evidence(situation.goal, rehearsal, readings[number]))
        if (number + 1) % 50 == 0:
            say(f"{number + 1} of {len(sets)} plan sets rehearsed")
    features = torch.cat([evidence.features() for evidence in found])
    loss = critic.calibration.fit(features, happened)
    critic.fit = {"plans": len(happened), "share_reached": float(happened.mean()), "log_loss": loss}
    say(f"calibrated: {json.dumps(critic.fit)}")


def recalibrate(
    source: Path,
    target: Path,
    make_world: Callable[[str], PracticeWorld],
    config: RecipeConfig,
    seeds: range,
    writer: LanguageModel,
    say: Say = lambda _: None,
) -> Path:
    """Copy a checkpoint, its critic calibrated anew with a language model's plans and readings; return the new folder.

    Whole or not at all. Raises CheckpointError where the target exists, or the source has no critic.
    """
    if target.exists():
        raise CheckpointError(f"{target} exists; a checkpoint is never overwritten, choose another --name")
    assert isinstance(writer, Encoder)
    spec = make_world(config.suite[0]).spec
    trained, critic = load(source, spec), Critic.load(source, spec, writer)
    critic.calibration = Calibration()
    calibrate(critic, trained.controller, make_world, config, seeds, writer, say)
    card = json.loads((source / "critic.json").read_text(encoding="utf-8")).get("card", {})
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        made = shutil.copytree(source, Path(beside) / target.name)
        critic.save(made, card | {"fit": critic.fit, "writer": writer.name})
        made.rename(target)
    return target


def _written(
    situation: Situation, world: PracticeWorld, writer: LanguageModel, known: dict[Request, list[Candidate]]
) -> list[Candidate]:
    """Return what a language model proposes at first sight; `known` keeps it for the same question."""
    scene, config = world.describe(situation.observation, world.spec.grid.agent), LoopConfig.preset()
    request = propose_request(world, scene, situation.goal, config, training=training_of(writer))
    if request not in known:
        known[request] = propose(world, writer, scene, situation.goal, config).candidates
    return known[request]


__all__ = ["calibrate", "recalibrate"]
