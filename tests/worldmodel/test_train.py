import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gedanken.worldmodel.checkpoint import Trained, build
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.spatial import SIZES
from gedanken.worldmodel.train import TrainConfig, TrainingError, train
from gedanken.worlds.babyai import SPEC, BabyAIWorld

CONFIG = TrainConfig(steps=6, batch=4, time=8, warmup=2, save_every=3, seed=7)


@pytest.fixture(scope="module")
def replay() -> Replay:
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 8)
    return Replay(SPEC, practise(BabyAIWorld, [("BabyAI-GoToObjS4-v0", 1.0)], seeds, Practice()))


def fresh(seed: int = 0) -> Trained:
    torch.manual_seed(seed)
    return Trained(*build(SPEC, "spatial", SIZES["debug"].model_dump()), "tiny")


def losses(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "frames_per_second"} for row in rows]


def state(trained: Trained) -> list[torch.Tensor]:
    model: Any = trained.model
    return [value.detach().clone() for value in (*model.parameters(), *trained.controller.parameters())]


@pytest.mark.parametrize("rounded", [False, True])
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    replay: Replay, tmp_path: Path, rounded: bool
) -> None:
    config = CONFIG.model_copy(update={"rounded": rounded})
    whole = fresh()
    expected = losses(list(train(whole, replay, config)))

    stopped, folder = fresh(), tmp_path
    rows = train(stopped, replay, config, folder)
    begun = losses([next(rows) for _ in range(4)])  # the state of step 3 is on disk; step 4 is lost
    rows.close()
    resumed = fresh(seed=99)
    torch.rand(13)
    went_on = losses(list(train(resumed, replay, config, folder)))
    assert begun == expected[:4] and went_on == expected[3:]
    assert all(torch.equal(a, b) for a, b in zip(state(whole), state(resumed), strict=True))
    assert list(train(resumed, replay, config, folder)) == []  # done is done
    logged = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert logged == [1, 2, 3, 4, 4, 5, 6]


def test_every_parameter_is_trained_and_the_model_is_left_ready_to_act(replay: Replay) -> None:
    trained = fresh()
    before = state(trained)
    rows = list(train(trained, replay, CONFIG))
    model: Any = trained.model
    names = [name for part in (model, trained.controller) for name, _ in part.named_parameters()]
    still = [n for n, a, b in zip(names, before, state(trained), strict=True) if torch.equal(a, b)]
    assert still == []
    assert not model.training and not trained.controller.training
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6] and all(row["frames_per_second"] > 0 for row in rows)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert {"motion", "change", "sight", "completion", "policy", "value", "achieved"} <= rows[0].keys()


def test_a_loss_that_is_no_number_stops_training_and_keeps_the_last_state(replay: Replay, tmp_path: Path) -> None:
    trained = fresh()
    rows = train(trained, replay, CONFIG, tmp_path)
    for _ in range(4):
        next(rows)
    kept = (tmp_path / "state.pt").read_bytes()
    with torch.no_grad():
        trained.controller.policy.bias.fill_(math.nan)
    with pytest.raises(TrainingError, match="step 4: losses .*'policy': nan.*the last state is kept"):
        next(rows)
    assert (tmp_path / "state.pt").read_bytes() == kept
    again = losses(list(train(fresh(seed=3), replay, CONFIG, tmp_path)))
    assert [row["step"] for row in again] == [4, 5, 6]


def test_the_rate_warms_up_and_falls(replay: Replay) -> None:
    def first_change(**changes: Any) -> float:
        trained = fresh()
        before = state(trained)
        next(train(trained, replay, CONFIG.model_copy(update=changes)))
        return max(float((a - b).abs().max()) for a, b in zip(before, state(trained), strict=True))

    slow, fast = first_change(warmup=100), first_change(warmup=1)
    assert 0 < slow < 0.1 * fast and fast < 1.2 * CONFIG.learning_rate


def test_a_module_may_learn_at_a_pace_of_its_own(replay: Replay) -> None:
    class Hasty(torch.nn.Linear):
        pace = 3.0

    class Both(Trained):
        @property
        def parts(self) -> dict[str, torch.nn.Module]:
            return {**super().parts, "hasty": hasty, "steady": steady}

        def losses(self, batch: Any) -> dict[str, torch.Tensor]:
            return {"both": (hasty.weight + steady.weight).sum()}

    hasty, steady = Hasty(1, 1), torch.nn.Linear(1, 1)
    before = hasty.weight.item(), steady.weight.item()
    tiny = fresh()
    next(iter(train(Both(tiny.model, tiny.controller, "both"), replay, CONFIG)))
    moved = [b - now.weight.item() for b, now in zip(before, (hasty, steady), strict=True)]
    assert moved[0] == pytest.approx(3 * moved[1], rel=0.05)


def test_rounding_changes_losses_by_little(replay: Replay) -> None:
    exact, rounded = (
        next(iter(train(fresh(), replay, CONFIG.model_copy(update={"rounded": r})))) for r in (False, True)
    )
    for name, loss in exact.items():
        assert name == "frames_per_second" or rounded[name] == pytest.approx(loss, rel=0.05, abs=0.01), name
