import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gedanken.agent.critic import FEATURES, Calibration, Critic, Evidence, evidence_of, reasons
from gedanken.agent.goal_match import GoalMatch, GoalMatchConfig
from gedanken.agent.verdict import Verdict
from gedanken.worldmodel.checkpoint import CheckpointError
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.spec import Plan, WorldSpec

CONFIG = GoalMatchConfig(features=8, width=16, layers=1, heads=2)
TWO = SPEC.parse_plan("pick_up(red ball)\nopen(red door)")
ONE = SPEC.parse_plan("go_to(blue key)")
SHORT = SPEC.parse_plan("go_to(red ball)")
BALL = SPEC.observation.channels[0].categories.index("ball")
EMPTY = SPEC.observation.channels[0].categories.index("empty")


class Letters:
    """Embeds texts letter by letter."""

    def embed(self, texts: Sequence[str], *, layer: int) -> tuple[Tensor, Tensor]:
        longest = max(len(text) for text in texts)
        table = torch.randn(128, 8, generator=torch.Generator().manual_seed(layer))
        codes = torch.tensor([[ord(c) % 128 for c in text.ljust(longest)] for text in texts])
        return table[codes], torch.tensor([[i < len(text) for i in range(longest)] for text in texts])


class Certain(GoalMatch):
    """Believes that plans satisfy every goal with given probabilities."""

    def __init__(self, *satisfies: float) -> None:
        super().__init__(SPEC, CONFIG)
        self.satisfies = torch.tensor(satisfies)

    def probability(self, encoder: object, goal: str, plans: Sequence[Plan]) -> Tensor:
        return self.satisfies


def rehearsed() -> Rehearsal:
    """Return 3 plans × 4 futures: the first fails once at its second step, the second always, the third never."""
    ends = torch.zeros(3, 4, 7, 7, 3, dtype=torch.uint8)
    ends[..., 0] = EMPTY
    ends[1, :, 5, 3] = torch.tensor([BALL, 0, 0])  # before the agent: a ball
    ends[1, :, 2, 1] = torch.tensor([BALL, 1, 0])  # and another one, far away
    lengths = torch.tensor([[3, 3, 4, 6], [6, 6, 6, 6], [1, 1, 2, 2]])
    over = torch.arange(6) >= lengths[..., None]
    return Rehearsal(
        plans=(TWO, ONE, SHORT),
        reached=torch.tensor(
            [
                [[1, 3], [2, 3], [2, 4], [2, -1]],
                [[-1, -1]] * 4,
                [[1, -1], [1, -1], [2, -1], [2, -1]],
            ]
        ),
        actions=torch.where(over, -1, 2),
        expected=torch.zeros(3, 4, 6),
        disagreement=torch.where(over, 0.0, torch.tensor([0.02, 0.3, 0.0])[:, None, None]),
        ends=ends,
        views=None,
    )


# ---- evidence and verdicts -------------------------------------------------------------------------------------------


def test_evidence_is_what_the_rehearsal_says() -> None:
    evidence = evidence_of(rehearsed(), torch.tensor([0.9, 0.8, 0.1]))
    assert evidence.carried_out.tolist() == [0.75, 0, 1] and evidence.futures == 4
    assert evidence.actions[0] == pytest.approx(10 / 3) and evidence.actions[1].isnan() and evidence.actions[2] == 1.5
    assert evidence.disagreement.tolist() == pytest.approx([0.02, 0.3, 0])
    features = evidence.features()
    assert features.shape == (3, len(FEATURES)) and features.isfinite().all()
    assert features[0, 0] > features[1, 0] and features[0, 1] > features[2, 1]


def test_verdicts_say_how_often_where_and_in_what_state_a_plan_fails() -> None:
    critic = Critic(Certain(0.9, 0.9, 0.1), Letters())
    good, bad, beside = critic.judge("pick up the red ball", rehearsed(), BabyAIWorld("BabyAI-GoToLocal-v0").describe)
    assert [v.plan for v in (good, bad, beside)] == [TWO, ONE, SHORT]
    assert (good.carried_out, good.failing_step, good.failing_share, good.futures) == (0.75, 1, 0.25, 4)
    assert good.steps == pytest.approx(10 / 3)
    assert (bad.carried_out, bad.failing_step, bad.failing_share, bad.steps) == (0, 0, 1, None)
    assert (beside.carried_out, beside.failing_step, beside.failing_share) == (1, None, 0)
    assert "step 2 open(red door) fails in 1 of 4 futures" in good.reasons
    assert "step 1 go_to(blue key) fails in 4 of 4 futures" in bad.reasons
    assert bad.reasons.endswith("this: You see a red ball ahead. You carry nothing; the model is unsure here")
    assert beside.reasons == "its steps can be done, but they are not what the goal asks for"
    assert good.success > 0.4 > max(bad.success, beside.success)
    for verdict in (good, bad, beside):
        assert 0 <= verdict.low <= verdict.success <= verdict.high <= 1


def verdict(**changes: Any) -> Verdict:
    plain = {
        "plan": TWO, "success": 0.9, "low": 0.8, "high": 1, "satisfies": 0.9, "carried_out": 0.875, "steps": 7.4,
        "failing_step": 1, "failing_share": 0.125, "disagreement": 0, "reasons": "", "futures": 16,
    }  # fmt: skip
    return Verdict.model_validate(plain | changes)


def test_words_for_a_plan() -> None:
    assert reasons(verdict()) == "all steps achieved in 14 of 16 futures, in about 7 actions"
    unsure = reasons(verdict(disagreement=0.2))
    assert unsure == f"{reasons(verdict())}; the model is unsure here"
    failing = verdict(carried_out=0.25, failing_step=0, failing_share=0.75)
    assert reasons(failing, "You see a wall.") == (
        "step 1 pick_up(red ball) fails in 12 of 16 futures, for example like this: You see a wall"
    )


def test_satisfies_is_asked_of_the_goals_head() -> None:
    assert Critic(Certain(0.5, 0.25), Letters()).satisfies("go", [ONE, TWO]) == [0.5, 0.25]


# ---- calibration -----------------------------------------------------------------------------------------------------


def experience(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return features and outcomes of a world in which rehearsals promise too much."""
    rng = np.random.default_rng(seed)
    carried, satisfies = rng.uniform(0, 1, n), rng.choice([0.05, 0.95], n)
    doubt = rng.uniform(0, 0.5, n)
    happened = rng.uniform(size=n) < 0.6 * carried * satisfies * (1 - doubt)
    values = (torch.tensor(x, dtype=torch.float) for x in (carried, satisfies, np.full(n, 9.0), doubt))
    return Evidence(*values, futures=16).features(), torch.tensor(happened, dtype=torch.float)


def log_loss(calibration: Calibration, features: Tensor, happened: Tensor) -> float:
    with torch.no_grad():
        return float(torch.nn.functional.binary_cross_entropy_with_logits(calibration(features), happened))


def test_calibration_reduces_the_loss_also_on_what_it_has_not_seen() -> None:
    calibration, unseen = Calibration(), experience(4000, 1)
    features, happened = experience(2000, 0)
    before, before_unseen = log_loss(calibration, features, happened), log_loss(calibration, *unseen)
    after = calibration.fit(features, happened)
    assert after == pytest.approx(log_loss(calibration, features, happened))
    assert after < before - 0.03 and log_loss(calibration, *unseen) < before_unseen - 0.03
    with torch.no_grad():
        said = calibration(unseen[0]).sigmoid()
    assert float(said.mean()) == pytest.approx(float(unseen[1].mean()), abs=0.03)
    likely = said > said.quantile(0.8)
    assert float(said[likely].mean()) == pytest.approx(float(unseen[1][likely].mean()), abs=0.06)


def test_before_it_is_fitted_the_joint_probability_stands() -> None:
    evidence = Evidence(*(torch.tensor([x]) for x in (0.5, 0.5, 9.0, 0.0)), futures=10_000)
    with torch.no_grad():
        assert Calibration()(evidence.features()).sigmoid().item() == pytest.approx(0.25, abs=0.01)


def test_more_evidence_for_a_plan_never_lowers_it_and_both_factors_are_needed() -> None:
    calibration = Calibration()
    calibration.fit(*experience(1000, 0))

    def said(carried: float, satisfies: float, doubt: float = 0.0) -> float:
        values = (torch.tensor([x]) for x in (carried, satisfies, 9.0, doubt))
        return float(calibration(Evidence(*values, futures=16).features()).sigmoid())

    with torch.no_grad():
        assert said(0.2, 0.9) <= said(0.5, 0.9) <= said(1.0, 0.9) >= said(1.0, 0.9, doubt=0.5)
        assert said(1.0, 0.01) < 0.1 and said(0.0, 0.95) < 0.1 < 0.4 < said(1.0, 0.95)


# ---- storage ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def critic() -> Critic:
    torch.manual_seed(0)
    made = Critic(GoalMatch(SPEC, CONFIG), Letters())
    made.calibration.fit(*experience(300, 0))
    return made


def test_a_critic_is_saved_with_its_calibration_and_loaded(critic: Critic, tmp_path: Path) -> None:
    critic.save(tmp_path, {"pairs": 300})
    again = Critic.load(tmp_path, SPEC, Letters())
    fresh = Critic(GoalMatch(SPEC, CONFIG), Letters())
    said, kept, new = ([v.success for v in c.judge("open a door", rehearsed())] for c in (critic, again, fresh))
    assert kept == pytest.approx(said, abs=2e-3) and max(abs(a - b) for a, b in zip(said, new, strict=True)) > 0.02
    assert json.loads((tmp_path / "critic.json").read_text())["card"] == {"pairs": 300}


def test_a_critic_of_another_world_is_refused(critic: Critic, tmp_path: Path) -> None:
    critic.save(tmp_path)
    other = WorldSpec.model_validate({**SPEC.model_dump(), "exogenous": ("friction",)})
    with pytest.raises(CheckpointError, match="trained for another world; train the checkpoint again"):
        Critic.load(tmp_path, other, Letters())


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "list"])
def test_a_damaged_critic_is_one_clear_error(critic: Critic, tmp_path: Path, damage: str) -> None:
    critic.save(tmp_path)
    config, tensors = tmp_path / "critic.json", tmp_path / "critic.safetensors"
    if damage == "missing":
        tensors.unlink()
    elif damage == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    else:
        config.write_text("{}" if damage == "empty" else "[]")
    with pytest.raises(CheckpointError, match="no usable critic.*fetch or train"):
        Critic.load(tmp_path, SPEC, Letters())


@pytest.mark.parametrize("change", [{"format": 0}, {"features": ["carried_out"]}, {"config": {"width": "wide"}}, {}])
def test_a_critic_of_another_version_is_told_from_a_damaged_one(
    critic: Critic, tmp_path: Path, change: dict[str, object]
) -> None:
    critic.save(tmp_path)
    text = json.loads((tmp_path / "critic.json").read_text())
    sizes = {"config": {**text["config"], "width": 32}}  # not those of its weights
    (tmp_path / "critic.json").write_text(json.dumps({**text, **(change or sizes)}))
    with pytest.raises(CheckpointError, match="made by another version.*make it anew"):
        Critic.load(tmp_path, SPEC, Letters())
