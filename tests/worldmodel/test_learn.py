import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import Trained, build
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.learn import learn
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC, BabyAIWorld

LEVEL = "BabyAI-GoToObj-v0"


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A model that was never trained, saved in a user's own folder."""
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path))
    torch.manual_seed(0)
    model, controller = build(SPEC, "spatial", SIZES["debug"].model_dump())
    path = checkpoint.save(Trained(model, controller, "small", None, {"seen": {LEVEL: [7]}}), tmp_path / "small")
    return checkpoint.load(path, SPEC)


def filled(folder: Path, seeds: list[int]) -> ExperienceStore:
    store = ExperienceStore(folder / "experience.sqlite")
    made = practise(BabyAIWorld, [(LEVEL, 1.0)], range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 12), Practice())
    for seed, episode in zip(seeds, made, strict=False):
        store.append(replace(episode, seed=seed))
    return store


def digest(path: Path | None) -> str:
    assert path is not None
    return hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()


def test_what_was_learnt_is_a_new_checkpoint_that_fits_the_episodes_better(trained: Trained, tmp_path: Path) -> None:
    before = digest(trained.path)
    with filled(tmp_path, [3, 5, 3, *range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 9)]) as store:
        report = learn(trained, store, steps=40, seed=0, rate=3e-3)
        again = learn(trained, store, steps=1, seed=0)
    assert report.steps == 40 and report.checkpoint is not None and again.checkpoint not in (None, report.checkpoint)
    assert sum(report.losses_after.values()) < 0.5 * sum(report.losses_before.values())
    assert digest(trained.path) == before != digest(report.checkpoint)
    card = checkpoint.load(report.checkpoint, SPEC).card
    assert card["learnt"].startswith("40 gradient steps on 12 episodes")
    assert card["seen"] == {LEVEL: [3, 5, 7]}  # training seeds are not among them, those seen before are


def test_with_nothing_stored_nothing_is_learnt(trained: Trained, tmp_path: Path) -> None:
    with filled(tmp_path, []) as store:
        report = learn(trained, store, steps=5, seed=0)
    assert (
        report.steps == 0
        and report.checkpoint is None
        and sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["small"]
    )
