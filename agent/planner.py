"""A planner from nothing: an adapter of the embedded language model, trained on practice in planning. Resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from gedanken.agent.llm.adapter import WEIGHTS, Adapter, adapters_home
from gedanken.agent.llm.fetch import HUB_NAME, fetch, weights_digest
from gedanken.agent.llm.tune import TuneConfig, Tuner, TuningError, losses
from gedanken.agent.plan_practice import CHANGES, DOUBTED, MISTAKEN, OWN, PROMPT, REVISED, SCHEMAS, UNMET, Practice
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worlds.babyai_wordings import OBSCURE
from gedanken.worlds.schemas import MIXED
from gedanken.worlds.spoken import SpeakingWorld

Size = Literal["debug", "small", "base"]
SIZES: dict[Size, dict[str, int]] = {
    "debug": {"steps": 4, "tokens": 512, "rank": 2, "alpha": 4, "warmup": 1, "save_every": 2},
    "small": {},
    "base": {"steps": 3000},
}
"""Changes of `TuneConfig`. "base" is the whole recipe, with as many tokens as the planner that ships was taught."""

FURTHER = {"steps": 500, "rate": 3e-4}
"""Changes where training begins from an adapter, whatever the size; "debug" keeps its own."""


def train_planner(
    make_world: Callable[[str], SpeakingWorld],
    levels: tuple[str, ...],
    *,
    name: str,
    size: Size,
    seed: int = 0,
    begins_from: Adapter | None = None,
    steps: int | None = None,
    folder: Path | None = None,
    base: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train an adapter and return its folder; work goes on where it was interrupted, in the same `folder`.

    `steps` are gradient steps, the size's own by default. `begins_from` is an adapter that the training goes on from,
    with new examples where its seed was another. `base` is a folder of the language model with its manifest; without
    one the embedded model is fetched. Raises TuningError where an adapter of that name exists, or training can't go on.
    """
    path = adapters_home() / name
    if path.exists():
        raise TuningError(f"{path} exists; an adapter is never overwritten, choose another --name")
    base = base or fetch(say)
    further = FURTHER if begins_from and size != "debug" else {}
    asked = {"steps": steps} if steps else {}
    config = TuneConfig.model_validate({**SIZES[size], **further, **asked, "seed": seed})
    work = folder or adapters_home().parent / "training" / f"{name}-{size}-{seed}"
    tuner = Tuner(base, Practice(make_world, levels, seed), config, work, begin=begins_from)
    if tuner.step:
        say(f"going on after step {tuner.step}")
    for row in tuner.train():
        if row["step"] % max(1, config.steps // 100) == 0:
            say(
                f"step {row['step']} of {config.steps}: loss {row['loss']:.3f} nats a token,"
                f" {row['examples']} examples, {row['tokens_per_second']:.0f} tokens/s"
            )
    last = losses(work)
    command = f"gedanken train --planner --size {size} --seed {seed}"
    before = {}
    command += f" --steps {steps}" if steps else ""
    if begins_from:
        command += f" --begins-from {begins_from.name}"
        digest = hashlib.sha256((begins_from.path / WEIGHTS).read_bytes()).hexdigest()
        told = ("command", "begins_from", "data", "steps", "examples", "tokens", "seconds")
        before = {
            "begins_from": {"name": begins_from.name, "sha256": digest}
            | {key: begins_from.card[key] for key in told if key in begins_from.card}
        }
    return tuner.save(
        path,
        {
            "prompt": PROMPT,
            "declines": True,
            "supposes": True,
            **before,
            "base": HUB_NAME,
            "base_sha256": weights_digest(base),
            "data": f"{SCHEMAS:.0%} goals for made-up worlds of numbers, in training names and wordings, {MIXED:.0%} of"
            f" these worlds' names mixed from all domains; the rest"
            f" missions of {len(levels)} levels with the plans that follow from the scene, of these {OWN:.0%} in the"
            f" levels' own words, the others in training wordings, where {OBSCURE:.0%} of the colours' synonyms are no"
            f" word or do not hold the colour's name, and {REVISED:.0%} with failed plans in the prompt;"
            f" {DOUBTED:.0%} with the right plan, failed by chance, {MISTAKEN:.0%} with a wrong key at a locked door;"
            f" {UNMET:.0%} of all are goals that no plan meets; besides, {CHANGES:.0%} are changes of inputs in words",
            "levels": list(levels),
            "seeds": f"environments from {FIRST_TRAINING_SEED} on; everything else {seed}",
            "loss": f"{sum(last) / len(last):.4f} nats a token of the plans, mean of the last {len(last)} steps",
            "command": command,
        },
    )
