import numpy as np
import torch

from gedanken.worldmodel.checkpoint import Trained, build
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.imagination import Futures, ImaginationConfig, _returns, dream
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC, BabyAIWorld

SEEDS = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 12)


def fresh() -> Trained:
    torch.manual_seed(0)
    return Trained(*build(SPEC, "spatial", SIZES["debug"].model_dump()), "tiny")


def episodes() -> Replay:
    return Replay(SPEC, practise(BabyAIWorld, [("BabyAI-GoToObjS4-v0", 1.0)], SEEDS, Practice()))


def test_returns_are_those_computed_one_future_at_a_time() -> None:
    rng = np.random.default_rng(0)
    lengths, ends = [3, 1, 4, 2], [True, False, False, True]
    row = [r for t in range(4) for r in range(4) if t < lengths[r]]
    at = [t for t in range(4) for r in range(4) if t < lengths[r]]
    done = [ends[r] and t == lengths[r] - 1 for r, t in zip(row, at, strict=True)]
    last = torch.tensor([0.0, 0.4, 0.7, 0.0])
    values = torch.tensor(rng.random(len(row)), dtype=torch.float32)
    nothing = fresh().model.initial(len(row))
    futures = Futures(nothing, *map(torch.tensor, (row, at, [0] * len(row), done)), last)
    found = _returns(futures, values, 0.9, 0.8)
    for r in range(4):
        mine = [values[i].item() for i in range(len(row)) if row[i] == r]
        expected, after = [0.0] * lengths[r], last[r].item()
        for t in reversed(range(lengths[r])):
            value = mine[t + 1] if t + 1 < lengths[r] else last[r].item()
            over = ends[r] and t == lengths[r] - 1
            after = expected[t] = 0.9 if over else 0.9 * (0.2 * value + 0.8 * after)
        assert np.allclose([found[i].item() for i in range(len(row)) if row[i] == r], expected, atol=1e-6)


def test_futures_end_with_their_step_and_begin_side_by_side() -> None:
    trained = fresh()
    step = torch.tensor([SPEC.step_codes(SPEC.parse_step("go_to(red ball)"))]).repeat(6, 1)
    futures = dream(trained.controller, trained.model.initial(6), step, horizon=5)
    assert set(futures.row.tolist()) == set(range(6))
    for r in range(6):
        mine = futures.row == r
        assert futures.at[mine].tolist() == list(range(int(mine.sum())))
        assert not futures.done[mine][:-1].any()
        assert futures.done[mine][-1] or mine.sum() == 5
        assert not futures.done[mine][-1] or futures.last[r] == 0


def test_what_is_rewarded_in_imagination_is_done_more_often() -> None:
    """A judge that calls every turn to the left an achievement makes the agent turn to the left."""
    trained, replay = fresh(), episodes()
    model, controller = trained.model, trained.controller

    class Judge(torch.nn.Module):
        def forward(self, outcome: torch.Tensor) -> torch.Tensor:
            turned = outcome[:, -len(SPEC.actions) - len(SPEC.skills) :][:, SPEC.actions.index("left")]
            return (turned[:, None] - 0.5) * 40

    controller.judge = Judge()  # type: ignore[assignment]
    batch = replay.sample(np.random.default_rng(0), 4, 16)
    _, belief = model.loss(batch)
    config = ImaginationConfig(futures=32, horizon=4)
    from gedanken.worldmodel.imagination import imagined

    step = batch.step.flatten(0, 1).long()
    rows = (step[:, 0] >= 0).nonzero().squeeze(1)

    def left() -> float:
        return controller.act(belief[rows], step[rows]).exp()[:, SPEC.actions.index("left")].mean().item()

    before = left()
    optimizer = torch.optim.Adam([*controller.policy.parameters(), *controller.worth.parameters()], lr=0.02)
    for _ in range(25):
        losses = imagined(controller, batch, belief, config)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert left() > max(0.6, 2 * before)
