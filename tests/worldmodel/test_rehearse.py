from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from gedanken.worldmodel.checkpoint import build
from gedanken.worldmodel.protocol import Belief, Readout
from gedanken.worldmodel.rehearse import Rehearsal, rehearse
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC
from gedanken.worlds.spec import Plan

NEEDED = {"go_to": 2, "pick_up": 3, "open": 1, "put_next_to": 4, "drop": 10_000}
"""Actions after which a step is achieved in the clockwork world; `drop` never is."""


@dataclass(frozen=True)
class Clock(Belief):
    total: Tensor  # [B] actions since the beginning
    since: Tensor  # [B] actions since the step began
    plan: Tensor  # [B] a number that tells the plans apart


class Clockwork:
    """A world model in which a step is achieved after a number of actions; what it shows is how many there were."""

    spec = SPEC

    def suppose(self, belief: Clock, steps: Tensor) -> Clock:
        return Clock(belief.total, belief.since, steps[:, 0].sum(1))

    def begin_step(self, belief: Clock, rows: Tensor) -> Clock:
        return Clock(belief.total, torch.where(rows, 0, belief.since), belief.plan)

    def imagine(self, belief: Clock, action: Tensor) -> Clock:
        return Clock(belief.total + 1, belief.since + 1, belief.plan)

    def same(self, belief: Clock, other: Clock) -> Tensor:
        return other.since > 2  # the hands turn twice in a step, then they stand still

    def readout(self, belief: Clock) -> Readout:
        view = torch.stack([belief.total, belief.plan], 1).to(torch.uint8)
        ones = torch.ones(len(view))
        return Readout(view.view(-1, 1, 1, 2), ones, ones)

    def disagreement(self, belief: Clock, action: Tensor) -> Tensor:
        return torch.full((len(action),), 0.5)


class Hand(nn.Module):
    """Acts at random and sees when a step is achieved."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.weight = Clockwork(), nn.Parameter(torch.zeros(1))

    def act(self, belief: Clock, step: Tensor) -> Tensor:
        return torch.zeros(len(step), len(SPEC.actions)).log_softmax(-1)

    def achieved(self, belief: Clock, step: Tensor) -> Tensor:
        needed = torch.tensor([NEEDED[skill.name] for skill in SPEC.skills])
        return (belief.since >= needed[step[:, 0]]).float()


def plan(*steps: str) -> Plan:
    return SPEC.parse_plan("\n".join(steps))


GO, TAKE, OPEN, DROP = plan("go_to(red ball)"), plan("pick_up(red ball)"), plan("open(door)"), plan("drop()")
LONG = plan("go_to(red ball)", "pick_up(red ball)", "open(door)")


def run(*plans: Plan, **options: Any) -> Rehearsal:
    zero = torch.zeros(1, dtype=torch.long)
    return rehearse(cast(Any, Hand()), Clock(zero, zero, zero), plans, **options)


def test_rows_go_from_step_to_step_each_on_its_own() -> None:
    result = run(GO, LONG, OPEN, samples=4, horizon=5)
    assert result.reached[:, 0].tolist() == [[2, -1, -1], [2, 5, 6], [1, -1, -1]]
    assert result.length[:, 0].tolist() == [2, 6, 1]
    assert result.success.all()
    assert (result.reached == result.reached[:, :1]).all()


def test_shapes_are_plans_by_samples_by_actions() -> None:
    result = run(GO, LONG, OPEN, samples=4, horizon=5, views=True)
    assert result.plans == (GO, LONG, OPEN)
    assert result.reached.shape == (3, 4, 3) and result.success.shape == result.length.shape == (3, 4)
    assert result.actions.shape == result.expected.shape == result.disagreement.shape == (3, 4, 6)
    assert result.ends.shape == (3, 4, 1, 1, 2)
    assert result.views is not None and result.views.shape == (3, 7, 1, 1, 2)
    assert run(GO).views is None


def test_a_future_ends_with_its_plan() -> None:
    result = run(GO, LONG, OPEN, samples=4, horizon=5, views=True)
    over = torch.arange(6) >= result.length[..., None]
    assert torch.equal(result.actions == -1, over)
    assert (result.actions[~over] >= 0).all() and (result.actions < len(SPEC.actions)).all()
    assert torch.equal(result.disagreement, torch.where(over, 0.0, 0.5))
    assert result.expected[1, 0].tolist() == [0, 1, 0, 0, 1, 1] and result.expected[2, 0].tolist() == [1] + [0] * 5
    assert result.ends[:, 2, 0, 0, 0].tolist() == [2, 6, 1]  # what was to be seen after the last action, not later
    assert result.views is not None
    assert result.views[:, :, 0, 0, 0].tolist() == [[0, 1, 2, 2, 2, 2, 2], [0, 1, 2, 3, 4, 5, 6], [0, 1, 1, 1, 1, 1, 1]]
    names = [sum(SPEC.step_codes(p.steps[0])) for p in (GO, LONG, OPEN)]
    assert result.ends[:, 0, 0, 0, 1].tolist() == names


def test_a_step_that_takes_too_long_ends_its_future() -> None:
    result = run(DROP, LONG, plan("open(door)", "drop()", "open(door)"), samples=2, horizon=4)
    assert result.success.tolist() == [[False, False], [True, True], [False, False]]
    assert result.length[:, 0].tolist() == [4, 6, 5]
    assert result.reached[2, 0].tolist() == [1, -1, -1]
    assert result.ends[:, 1, 0, 0, 0].tolist() == [4, 6, 5]


def test_a_future_in_which_nothing_changes_any_more_ends() -> None:
    result = run(DROP, LONG, plan("open(door)", "drop()"), samples=2, standstill=3)
    assert result.success.tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert result.length[:, 0].tolist() == [5, 6, 6]


def test_plans_can_be_picked_from_a_rehearsal() -> None:
    result = run(GO, LONG, DROP, samples=2, horizon=4, views=True)
    some = result[[2, 0]]
    assert some.plans == (DROP, GO) and some.success.tolist() == [[False, False], [True, True]]
    assert some.views is not None and result.views is not None and torch.equal(some.views, result.views[[2, 0]])


def test_all_plans_may_run_out_of_time() -> None:
    result = run(DROP, DROP, samples=3, horizon=4)
    assert not result.success.any() and (result.length == 4).all() and (result.reached == -1).all()
    assert (result.ends[..., 0] == 4).all()


def test_a_seed_repeats_a_rehearsal_and_leaves_other_randomness_alone() -> None:
    torch.manual_seed(5)
    first, after = run(LONG, TAKE, samples=8, seed=3), torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)
    second, other = run(LONG, TAKE, samples=8, seed=3), run(LONG, TAKE, samples=8, seed=4)
    assert torch.equal(first.actions, second.actions) and not torch.equal(first.actions, other.actions)


def test_nothing_to_rehearse_and_unknown_interventions_are_refused() -> None:
    with pytest.raises(ValueError, match="no plans"):
        run()
    with pytest.raises(ValueError, match="babyai has no exogenous variable friction, weather"):
        run(GO, intervention={"weather": 1.0, "friction": 0.5})


def test_a_real_model_is_rehearsed_and_repeats_with_its_seed() -> None:
    torch.manual_seed(0)
    model, controller = build(SPEC, "spatial", SIZES["debug"].model_dump())
    controller.eval()
    plans = [plan("go_to(red ball)"), plan("pick_up(blue key behind you)", "open(blue door)")]
    first, second = (
        rehearse(controller, model.initial(1), plans, samples=3, horizon=3, seed=1, views=True) for _ in range(2)
    )
    length = first.actions.shape[2]
    assert first.ends.shape == (2, 3, 7, 7, 3) and first.views is not None
    assert first.views.shape == (2, length + 1, 7, 7, 3)
    assert torch.equal(first.actions, second.actions) and torch.equal(first.ends, second.ends)
    assert (first.disagreement >= 0).all() and first.expected.ge(0).all() and first.expected.le(1).all()
