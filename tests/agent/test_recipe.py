"""The recipe in its debug size: every stage runs, leaves a checkpoint that loads, and goes on where it was cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from gedanken.agent import recipe
from gedanken.agent.calibrate import calibrate, recalibrate
from gedanken.agent.critic import Critic
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.recipe import calibration_seeds, reproduce
from gedanken.agent.recipes import RECIPES, RecipeConfig, babyai, debug
from gedanken.upkeep import train_command
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import CheckpointError, load
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, practise
from gedanken.worldmodel.episode import EXPERT, Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worlds.babyai import SPEC, BabyAIWorld, level_ids


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


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_begin_and_has_a_debug_size(name: str) -> None:
    for config in (RECIPES[name](), debug(RECIPES[name])):
        untrained = recipe._untrained(SPEC, config)
        assert untrained.model.spec == SPEC
    assert debug(RECIPES[name]).begins_from is None


def test_an_interrupted_practice_plays_what_is_not_there(tmp_path: Path) -> None:
    config, alone = debug(episodes=30, steps=2), tmp_path / "alone"
    with pytest.raises(KeyboardInterrupt):
        _practise_only(config, tmp_path, stop_after=17)
    for folder in (tmp_path, alone):
        _practise_only(config, folder)
    kept = []
    for folder in (tmp_path, alone):
        with ExperienceStore(folder / "experience.sqlite") as store:
            kept.append([(e.seed, e.actions.tolist()) for _, e in store.episodes()])
    assert kept[0] == kept[1] and len(kept[0]) >= 29


def _practise_only(config: RecipeConfig, folder: Path, stop_after: int | None = None) -> None:
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + config.episodes)

    def play(left: Sequence[int]) -> Iterator[Episode]:
        for episode in practise(BabyAIWorld, config.levels, left, config.practice()):
            if stop_after is not None and episode.seed - seeds.start >= stop_after:
                raise KeyboardInterrupt
            yield episode

    folder.mkdir(exist_ok=True)
    with ExperienceStore(folder / "experience.sqlite") as store:
        recipe.fill(store, EXPERT, seeds, play, together=5)


def test_every_recipe_names_levels_that_there_are_and_a_command_that_finds_it() -> None:
    for name, make in RECIPES.items():
        config = make(seed=1)
        assert config.name == name
        assert {level for level, _ in config.levels} | set(config.suite) <= set(level_ids())
        assert debug(make).size == "debug" and debug(make).levels == config.levels
        runner = CliRunner().invoke(train_command, ["--help"])
        assert name in runner.output and config.command().endswith("--seed 1")


def test_evaluation_seeds_are_refused() -> None:
    critic = Critic.__new__(Critic)
    with pytest.raises(ValueError, match="training seeds start at"):
        calibrate(critic, None, BabyAIWorld, babyai(), range(5))  # type: ignore[arg-type]


def test_a_round_on_its_own_episodes_and_the_mean_with_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last round learns from its own episodes alone; what ships lies between its weights and the ones before."""
    seen: list[set[str]] = []
    kept: list[dict[str, torch.Tensor]] = []
    train = recipe._train

    def watched(trained: Any, replay: Any, config: RecipeConfig, *rest: Any) -> Any:
        seen.append(set(sources[: len(replay)]))
        result = train(trained, replay, config, *rest)
        kept.append({k: v.clone() for k, v in result.model.state_dict().items()})
        return result

    sources: list[str] = []
    replay_of = recipe._replay

    def told(store: ExperienceStore, spec: Any, config: RecipeConfig, source: str | None = None) -> Any:
        sources[:] = [episode.source for _, episode in store.episodes() if source in (None, episode.source)]
        return replay_of(store, spec, config, source)

    monkeypatch.setattr(recipe, "_train", watched)
    monkeypatch.setattr(recipe, "_replay", told)
    first, second = debug().corrections
    config = debug(corrections=(first, second.model_copy(update={"alone": True, "mean_with": 1})))
    path = reproduce(config, BabyAIWorld, Letters, tmp_path, "tiny")
    assert seen == [{EXPERT}, {EXPERT, "agent 1"}, {"agent 2"}]
    trained = load(path, SPEC)
    shipped: Any = trained.model
    for name, value in shipped.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, (kept[1][name] + kept[2][name]) / 2, atol=2e-3), name
    assert "correction 2 ends with the mean of its weights and those after correction 1" in trained.card["training"]


class Writer(ScriptedModel):
    """Says one plan, and reads letters."""

    embed = Letters.embed


def test_a_critic_is_calibrated_anew_in_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, int]] = []
    evidence = Critic.evidence

    def watched(critic: Critic, goal: str, rehearsal: Any, readings: Sequence[Any] = ()) -> Any:
        heard.append((len(rehearsal.plans), len(readings)))
        return evidence(critic, goal, rehearsal, readings)

    monkeypatch.setattr(Critic, "evidence", watched)
    source, target = checkpoint.resolve("babyai"), tmp_path / "again"
    config = babyai(situations=2, futures=2, horizon=8, suite=("BabyAI-GoToObj-v0",))
    writer = Writer(lambda prompt: ["go_to(red ball)\n"])
    seeds, said = calibration_seeds(config), list[str]()
    assert recalibrate(source, target, BabyAIWorld, config, seeds, writer, said.append) == target
    about = [json.loads((folder / "critic.json").read_text()) for folder in (source, target)]
    assert about[0]["card"]["pairs"] == about[1]["card"]["pairs"]
    assert about[1]["card"]["fit"]["plans"] == sum(plans for plans, _ in heard)
    assert {path.name for path in source.iterdir()} == {path.name for path in target.iterdir()}
    assert (source / "model.safetensors").read_bytes() == (target / "model.safetensors").read_bytes()
    before, after = (Critic.load(folder, SPEC, writer).calibration.state_dict() for folder in (source, target))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(CheckpointError, match="never overwritten, choose another --name"):
        recalibrate(source, target, BabyAIWorld, config, seeds, writer)


@pytest.mark.parametrize("more", [["--planner"], ["--folder", "elsewhere"], ["--steps", "3"]])
def test_what_calibrating_does_not_take_is_refused(more: list[str]) -> None:
    refused = CliRunner().invoke(train_command, ["--calibrate", "babyai", *more])
    assert refused.exit_code == 2 and more[0] in refused.output
