"""The suites `world-model` and `speed`: who knows the future scores everything, who sees none what the floor scores."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gedanken.evals.main import run_suite
from gedanken.evals.suite import Parts
from gedanken.evals.world_model import WorldModelSuite, observe_and_imagine
from gedanken.worldmodel.collect import Practice, demonstrate
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.protocol import Belief, Readout
from gedanken.worlds.babyai import SPEC, BabyAIWorld


@dataclass(frozen=True)
class Shown(Belief):
    view: Tensor  # [B, h, w, C] what was seen last
    row: Tensor  # [B] which episode this is
    time: Tensor  # [B]


class Oracle:
    """Knows the episodes by heart, or, `frozen`, believes that nothing ever changes."""

    spec = SPEC

    def __init__(self, episodes: list[Episode], frozen: bool) -> None:
        self.episodes, self.frozen = episodes, frozen

    def initial(self, batch: int) -> Shown:
        shape = (SPEC.observation.height, SPEC.observation.width, 3)
        return Shown(torch.zeros(batch, *shape, dtype=torch.uint8), torch.arange(batch), torch.full((batch,), -1))

    def observe(self, belief: Shown, action: Tensor, observation: Tensor, is_first: Tensor) -> Shown:
        return Shown(observation, belief.row, belief.time + 1)

    def imagine(self, belief: Shown, action: Tensor) -> Shown:
        return replace(belief, time=belief.time + 1)

    def readout(self, belief: Shown) -> Readout:
        episodes = [self.episodes[row] for row in belief.row]
        times = [min(int(t), len(e)) for t, e in zip(belief.time, episodes, strict=True)]
        views = torch.stack([torch.from_numpy(e.observations[t]) for e, t in zip(episodes, times, strict=True)])
        reward = torch.tensor([float(e.rewards[t - 1] > 0) for e, t in zip(episodes, times, strict=True)])
        ended = [float(t == len(e) and e.terminated) for e, t in zip(episodes, times, strict=True)]
        return Readout(belief.view if self.frozen else views, reward, 1 - torch.tensor(ended))

    def surprise(self, belief: Shown, action: Tensor, observation: Tensor) -> Tensor:
        return torch.full((len(action),), 2.0)

    def begin_goal(self, belief: Shown, rows: Tensor) -> Shown:
        return belief

    begin_step = begin_goal
    suppose = begin_goal


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    world = BabyAIWorld("BabyAI-UnlockLocalDist-v0")
    return [demonstrate(world, world.make(free=bool(seed % 2)), seed, Practice()) for seed in range(6)]


def summary(model: Any, episodes: list[Episode]) -> dict[str, Any]:
    measured = observe_and_imagine(model, episodes)
    samples = [{"task": "t", "seed": i, "arm": "model", **m} for i, m in enumerate(measured)]
    return WorldModelSuite().summarise(samples)


def test_a_seer_is_always_right(episodes: list[Episode]) -> None:
    result = summary(Oracle(episodes, frozen=False), episodes)
    assert result["frames"] == sum(map(len, episodes))
    assert all(row["changed"]["value"] == row["visible"]["value"] == 1 for row in result["horizons"])
    assert result["nats_per_frame"]["value"] == 2
    assert result["reward"]["precision"]["value"] == result["ending"]["recall"]["value"] == 1
    assert result["ending"]["happened"] == sum(e.terminated for e in episodes)


def test_a_frozen_world_has_no_changed_cell_right(episodes: list[Episode]) -> None:
    result = summary(Oracle(episodes, frozen=True), episodes)
    for row in result["horizons"]:
        assert row["changed"]["value"] == 0
        assert row["visible"]["value"] == pytest.approx(row["frozen"]["value"])
    counted = 0
    for episode in episodes:  # cells that changed within one action, by brute force
        for t in range(0, len(episode), 4):
            now, then = episode.observations[t], episode.observations[t + 1]
            counted += int(((then[..., 0] != SPEC.observation.hidden) & (now != then).any(-1)).sum())
    assert result["horizons"][0]["changed_cells"] == counted
    assert np.diff([row["changed_cells"] for row in result["horizons"]])[0] > 0


def test_the_real_family_runs_through(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    result = run_suite("world-model", limit=1, runs=tmp_path, parts=make_parts())
    assert result["episodes"] == 7 and [row["horizon"] for row in result["horizons"]] == [1, 4, 16]
    assert 0 <= result["horizons"][0]["visible"]["value"] <= 1 and result["nats_per_frame"]["value"] > 0


def test_speed_is_measured_on_small_numbers(
    make_parts: Callable[..., Parts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gedanken.evals import speed

    for name, value in {"ROWS": 4, "ACTIONS": 2, "REPEATS": 2, "EPISODES": 2}.items():
        monkeypatch.setattr(speed, name, value)
    small = SimpleNamespace(batch=2, time=8)
    monkeypatch.setattr(speed, "TrainConfig", lambda **k: speed_config(small, **k))
    result = run_suite("speed", limit=1, runs=tmp_path, parts=make_parts())
    assert set(result["rates"]) == {"imagine", "act, imagine and judge", "train"}
    assert all(row["median"] > 0 for row in result["rates"].values())
    assert result["decisions"] == 7 and result["decision"]["tokens"]["median"] > 0


def speed_config(small: SimpleNamespace, **changes: Any) -> Any:
    from gedanken.worldmodel.train import TrainConfig

    return TrainConfig(batch=small.batch, time=small.time, **changes)
