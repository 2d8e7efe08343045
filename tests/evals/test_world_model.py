"""The suites `world-model` and `speed`: who knows the future scores everything, who sees none what the floor scores."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import Tensor

from gedanken.evals.errors import EvalError
from gedanken.evals.main import load_suite, run_suite
from gedanken.evals.other_actions import compare_actions
from gedanken.evals.replay import NEVER, Replay, replay
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
    """Knows the episodes by heart, or, `frozen`, believes that nothing ever changes; it doubts what it gets wrong."""

    spec = SPEC

    def __init__(self, episodes: list[Episode], frozen: bool) -> None:
        self.episodes, self.frozen = episodes, frozen

    def disagreement(self, belief: Shown, action: Tensor) -> Tensor:
        after = self.readout(replace(belief, time=belief.time + 1, view=belief.view))
        seer = Oracle(self.episodes, frozen=False).readout(replace(belief, time=belief.time + 1))
        wrong = (after.observation != seer.observation).flatten(1).any(1)
        return wrong.float()

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


@pytest.fixture(scope="module")
def replays(episodes: list[Episode]) -> list[Replay]:
    world = BabyAIWorld("BabyAI-UnlockLocalDist-v0")
    return [replay(world, world.make(free=bool(e.seed % 2)), e) for e in episodes]


def summary(model: Any, episodes: list[Episode], replays: list[Replay] | None = None) -> dict[str, Any]:
    measured = observe_and_imagine(model, episodes, replays or ())
    samples = [{"task": "t", "seed": i, "arm": "model", **m} for i, m in enumerate(measured)]
    return WorldModelSuite().summarise(samples)


def test_a_seer_is_always_right(episodes: list[Episode]) -> None:
    result = summary(Oracle(episodes, frozen=False), episodes)
    assert result["frames"] == sum(map(len, episodes))
    reached = [row for row in result["horizons"] if row["counts"]["beginnings"]]
    assert [row["horizon"] for row in reached][:5] == [1, 2, 4, 8, 16]
    for row in reached:
        assert row["changed"]["value"] == row["visible"]["value"] == row["hand"]["value"] == row["doors"]["value"] == 1
    for changed in ("hand_changed", "doors_switched"):
        assert {row[changed]["value"] for row in reached} in ({1.0}, {1.0, None}), changed
    assert all(row["visible"]["wrong"] == 0 for row in result["disagreement"])
    assert result["nats_per_frame"]["value"] == 2
    assert result["reward"]["precision"]["value"] == result["ending"]["recall"]["value"] == 1
    assert result["ending"]["happened"] == sum(e.terminated for e in episodes)


def test_a_frozen_world_has_no_changed_cell_right(episodes: list[Episode]) -> None:
    result = summary(Oracle(episodes, frozen=True), episodes)
    for row in (row for row in result["horizons"] if row["counts"]["beginnings"]):
        assert row["changed"]["value"] == 0
        assert row["visible"]["value"] == pytest.approx(row["frozen"]["value"])
    counted = 0
    for episode in episodes:  # cells that changed within one action, by brute force
        for t in range(0, len(episode), 4):
            now, then = episode.observations[t], episode.observations[t + 1]
            counted += int(((then[..., 0] != SPEC.observation.hidden) & (now != then).any(-1)).sum())
    assert result["horizons"][0]["changed_cells"] == counted
    assert np.diff([row["changed_cells"] for row in result["horizons"]])[0] > 0
    first = result["horizons"][0]
    for changed in ("hand_changed", "doors_switched"):
        assert {row[changed]["value"] for row in result["horizons"]} == {0.0, None}, f"{changed} is not foreseen"
    hands = first["counts"]["hand_changed"], first["counts"]["beginnings"]
    assert first["hand"]["value"] == pytest.approx(1 - hands[0] / hands[1])
    assert result["disagreement"][0]["visible"]["auroc"]["value"] == 1, "it doubted just what it got wrong"
    assert result["disagreement"][0]["visible"]["area"]["value"] < first["counts"]["beginnings"]


def test_nothing_to_count_is_said_so(episodes: list[Episode]) -> None:
    short = [e for e in episodes if not e.terminated and len(e) < 32]
    result = summary(Oracle(short, frozen=False), short)
    assert result["reward"]["happened"] == 0 and result["reward"]["auroc"]["value"] is None
    far = result["horizons"][-1]
    assert far["horizon"] == 64 and far["counts"]["beginnings"] == 0 and far["changed"]["value"] is None
    assert [row["n"] for row in result["actions"]] == [0] * 7 and result["actions"][0]["right"]["value"] is None
    said = {table.title: table.rows for table in WorldModelSuite().tables(result)}
    assert said["open loop, cells right, %"][-1] == ("64", "0", "–", "–", "–", "–")
    reward = next(rows for title, rows in said.items() if title.startswith("next observation"))[0]
    assert reward == ("reward", "0", "–", "–", "–")


def test_other_actions_are_tried_in_copies(episodes: list[Episode], replays: list[Replay]) -> None:
    for episode, each in zip(episodes, replays, strict=True):
        for frame, views in each.views.items():
            assert np.array_equal(views[episode.actions[frame]], episode.observations[frame + 1]), "as it went on"
            assert each.seen[frame].shape == views.shape[:-1] and each.seen[frame][:, 6, 3].all(), "the hand is known"
    turned = next(r for r in replays if len(r.views))
    assert (turned.first_seen[0][episodes[0].observations[0][..., 0] == SPEC.grid.hidden] > 0).all()
    assert (turned.first_seen < NEVER).any() and not (turned.first_seen[0] < 0).any()
    moved = replace(episodes[0], seed=episodes[1].seed)
    world = BabyAIWorld("BabyAI-UnlockLocalDist-v0")
    with pytest.raises(EvalError, match="with seed 1 does not play again as it did"):
        replay(world, world.make(), moved)


class Other(Oracle):
    """Foresees what each of the actions leads to, those of row r shifted by `shift`."""

    def __init__(self, real: Tensor, shift: int) -> None:
        super().__init__([], frozen=True)
        self.real, self.shift = real, shift

    def imagine(self, belief: Shown, action: Tensor) -> Shown:
        actions = self.real.shape[1]
        return replace(belief, view=self.real[belief.row, (action + self.shift) % actions])

    def readout(self, belief: Shown) -> Readout:
        return Readout(belief.view, torch.zeros(len(belief.row)), torch.ones(len(belief.row)))


def test_who_knows_what_actions_do_tells_them_apart(episodes: list[Episode], replays: list[Replay]) -> None:
    views, seen = (torch.from_numpy(np.stack([getattr(r, name)[0] for r in replays])) for name in ("views", "seen"))
    now = torch.from_numpy(np.stack([e.observations[0] for e in episodes]))
    belief, steps = Shown(now, torch.arange(len(now)), torch.zeros(len(now))), torch.zeros(len(now), 1, 9)
    knows, mixes = (
        compare_actions(Other(views, shift), belief, steps, now, views, seen, futures=2)  # type: ignore[arg-type]
        for shift in (0, 1)
    )
    for row in knows:
        assert all(a["n"] == a["right"] == a["told_apart"] == 1 and a["cells_right"] == a["cells"] for a in row)
        assert all(a["right_seen"] == a["n_seen"] for a in row) and all(a["n_seen"] for a in row[:2])
    left, right, forward = 0, 1, 2
    assert all(row[a]["right"] == row[a]["told_apart"] == 0 for row in mixes for a in (left, right, forward))
    assert all(row[a]["frozen"] == 0 for row in knows for a in (left, right))


def test_the_real_family_runs_through(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    assert {"BabyAI-GoToObj-v0", "BabyAI-Unlock-v0"} < set(load_suite("world-model").tasks)
    chosen = {"tasks": ["BabyAI-GoToObj-v0", "BabyAI-OpenDoor-v0"], "seed": 1}
    result = run_suite("world-model", limit=1, **chosen, runs=tmp_path, parts=make_parts())  # type: ignore[arg-type]
    assert result["episodes"] == 2 and [row["horizon"] for row in result["horizons"]] == [1, 2, 4, 8, 16, 32, 64]
    assert 0 <= result["horizons"][0]["visible"]["value"] <= 1 and result["nats_per_frame"]["value"] > 0
    assert result["actions"][-1]["n"] > 0 and result["disagreement"][0]["rollouts"] > 0
    assert result["horizons"][0]["counts"]["seen"] > 0
    drawn = {path.name: path.read_text() for path in (tmp_path / result["run"]).glob("*.svg")}
    assert {"cells-wrong-open-loop.svg", "views-wrong-in-sight-by-disagreement.svg"} <= set(drawn)
    for text in drawn.values():
        chart = ElementTree.fromstring(text)
        assert chart.tag.endswith("svg") and "--paper" in text and "://www.w3.org/2000/svg" in text
    [line] = (tmp_path / result["run"] / "samples.jsonl").read_text().splitlines()[:1]
    assert json.loads(line)["horizons"]["1"]["beginnings"] > 0


def test_any_level_is_measured_where_it_is_named(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    level = "BabyAI-GoToRedBallGrey-v0"
    result = run_suite("world-model", limit=1, tasks=[level], runs=tmp_path, parts=make_parts())
    assert [row["task"] for row in result["tasks"]] == [level] and level not in load_suite("world-model").tasks
    with pytest.raises(EvalError, match="world-model has no task BabyAI-Nowhere-v0; there are"):
        load_suite("world-model", ["BabyAI-Nowhere-v0"])


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
