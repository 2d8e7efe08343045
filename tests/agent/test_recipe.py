"""The recipe in its debug size: every stage runs, leaves a checkpoint that loads, and goes on where it was cut off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from gedanken.agent.critic import Critic
from gedanken.agent.recipe import babyai, calibrate, debug, reproduce
from gedanken.worldmodel.checkpoint import CheckpointError, load
from gedanken.worlds.babyai import SPEC, BabyAIWorld


class Letters:
    """An encoder without a language model: a fixed random vector for every letter."""

    def embed(self, texts: Sequence[str], *, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Encoder.embed`."""
        table = torch.randn(256, 576, generator=torch.Generator().manual_seed(layer))
        codes = [torch.tensor([ord(c) % 256 for c in text[:40]]) for text in texts]
        mask = torch.arange(max(map(len, codes))) < torch.tensor([len(c) for c in codes])[:, None]
        return table[torch.nn.utils.rnn.pad_sequence(codes, batch_first=True)], mask


def test_the_debug_recipe_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    said: list[str] = []
    path = reproduce(debug(), BabyAIWorld, Letters, tmp_path, "tiny", say=said.append)
    trained = load(path, SPEC)
    critic = Critic.load(path, SPEC, Letters())
    assert trained.card["command"] == "gedanken train --seed 0" and "frames" in trained.card["data"]
    assert len(critic.satisfies("go to the red ball", [SPEC.parse_plan("go_to(red ball)")])) == 1
    assert any("calibrated" in line for line in said)
    stages = [(tmp_path / str(n) / "metrics.jsonl").read_text().count("\n") for n in range(3)]
    assert stages == [8, 4, 4]
    took = [json.loads(line) for line in (tmp_path / "stages.jsonl").read_text().splitlines()]
    assert [row["stage"].split(",")[0] for row in took] == [
        "practise",
        "train",
        *["practise", "train on"] * 2,
        "critic",
    ]
    assert trained.card["seconds"] == round(sum(row["seconds"] for row in took))
    with pytest.raises(CheckpointError, match="never overwritten"):
        reproduce(debug(), BabyAIWorld, Letters, tmp_path, "tiny")
    assert [(tmp_path / str(n) / "metrics.jsonl").read_text().count("\n") for n in range(3)] == stages


def test_evaluation_seeds_are_refused() -> None:
    critic = Critic.__new__(Critic)
    with pytest.raises(ValueError, match="training seeds start at"):
        calibrate(critic, None, BabyAIWorld, babyai().suite, range(5), 2)  # type: ignore[arg-type]
