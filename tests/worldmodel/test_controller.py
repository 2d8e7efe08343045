from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.protocol import Batch, Belief
from gedanken.worlds.babyai import SPEC

NOTHING = [-1] * len(SPEC.step_sizes)
STEP = list(SPEC.step_codes(SPEC.parse_step("go_to(red ball)")))


@dataclass(frozen=True)
class Marks(Belief):
    x: Tensor  # [B, 3]: a number of its own, whether a goal began, whether a step began


class Notebook:
    """A world model whose features are what its beliefs hold."""

    spec, embed_size, outcome_size = SPEC, 3, 3

    def begin_goal(self, belief: Marks, rows: Tensor) -> Marks:
        return Marks(belief.x + torch.tensor([0.0, 1.0, 0.0]) * rows[:, None])

    def begin_step(self, belief: Marks, rows: Tensor) -> Marks:
        return Marks(belief.x + torch.tensor([0.0, 0.0, 1.0]) * rows[:, None])

    def embed(self, belief: Marks, step: Tensor) -> Tensor:
        assert (step[:, 0] >= 0).all()
        return belief.x

    embed_outcome = embed


def frames() -> Batch:
    """Return one row of five frames: a step of two transitions, a frame without one, and a step never achieved."""
    column = torch.tensor
    return Batch(
        observation=torch.zeros(1, 5, 1, 1, 3, dtype=torch.uint8),
        action=column([[0, 2, 3, 1, 0]]),
        is_first=column([[True, False, False, False, True]]),
        reward=torch.zeros(1, 5),
        continues=torch.ones(1, 5),
        goal_begins=column([[True, False, False, False, True]]),
        step_begins=column([[True, False, False, False, True]]),
        step_before=column([[NOTHING, STEP, STEP, NOTHING, STEP]]),
        achieved=column([[False, False, True, True, True]]),
        step=column([[STEP, STEP, NOTHING, NOTHING, STEP]]),
        expert=column([[2, 3, 1, -1, -1]]),
        taken=column([[2, 3, 1, -1, 0]]),
        to_go=column([[2, 1, -1, -1, -1]]),
    )


@pytest.fixture
def controller() -> Controller:
    torch.manual_seed(0)
    return Controller(cast(Any, Notebook()), hidden=8)


BELIEF = Marks(torch.tensor([[float(i), 0, 0] for i in range(5)]))


def test_it_clones_advice_where_a_step_is_pursued_and_advice_was_asked(controller: Controller) -> None:
    losses = controller.loss(frames(), BELIEF)
    acting = torch.tensor([[0.0, 1, 1], [1, 0, 0]])  # features of the first frame tell that a goal and a step begin
    expected = F.cross_entropy(controller.policy(acting), torch.tensor([2, 3]))
    torch.testing.assert_close(losses["policy"], expected)


def test_value_is_the_discount_of_what_was_left_to_do(controller: Controller) -> None:
    losses = controller.loss(frames(), BELIEF)
    acting = torch.tensor([[0.0, 1, 1], [1, 0, 0], [4, 1, 1]])
    target = torch.tensor([Controller.discount**2, Controller.discount, 0])
    expected = F.binary_cross_entropy_with_logits(controller.worth(acting).squeeze(-1), target)
    torch.testing.assert_close(losses["value"], expected)


def test_achieved_is_judged_on_arrival_within_an_episode(controller: Controller) -> None:
    losses = controller.loss(frames(), BELIEF)
    arrived = torch.tensor([[1.0, 0, 0], [2, 0, 0]])
    expected = F.binary_cross_entropy_with_logits(controller.judge(arrived).squeeze(-1), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(losses["achieved"], expected)


def test_what_does_not_count_changes_nothing(controller: Controller) -> None:
    before, batch = controller.loss(frames(), BELIEF), frames()
    other = replace(batch, taken=batch.taken.flip(1), reward=batch.reward + 1, action=batch.action.flip(1))
    after = controller.loss(other, BELIEF)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_controller_holds_no_parameters_of_its_model_and_can_change_it(controller: Controller) -> None:
    assert {name.partition(".")[0] for name, _ in controller.named_parameters()} == {"policy", "worth", "judge"}
    other: Any = Notebook()
    controller.attach(other)
    assert controller.model is other
