from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gedanken.worldmodel.foresight import FIRST, PAUSE, Foresight, foresee
from gedanken.worldmodel.protocol import Belief

BACK, ON = 0, 1
GOAL = 6


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gedanken.worldmodel.foresight.FIRST", 0)


@dataclass(frozen=True)
class Place(Belief):
    at: Tensor


class Line:
    """Places in a row; the goal lies at the end. Where `torn`, nobody gets beyond the third."""

    spec: Any = SimpleNamespace(actions=("back", "on"))

    def __init__(self, torn: bool = False) -> None:
        self.last = 3 if torn else GOAL

    def suppose(self, belief: Place, steps: Tensor) -> Place:
        return belief

    def imagine(self, belief: Place, action: Tensor) -> Place:
        return Place((belief.at + torch.where(action == ON, 1, -1)).clamp(0, self.last))

    def states(self, belief: Place) -> Tensor:
        return belief.at


class Dithering:
    """Sure to go to and fro between the first two places; farther on it knows the way."""

    def __init__(self, model: Line) -> None:
        self.model = model

    def parameters(self) -> Any:
        return iter([torch.zeros(1)])

    def act(self, belief: Place, step: Tensor) -> Tensor:
        back = torch.where(belief.at == 1, 0.999, 0.1)
        return torch.stack([back, 1 - back], 1).log()

    def achieved(self, belief: Place, step: Tensor) -> Tensor:
        return (belief.at == GOAL).float()


def carried_out(controller: Any, foresight: Foresight | None, most: int) -> int:
    """Act from the first place; return the number of actions until the goal, `most` if it is not reached."""
    torch.manual_seed(0)
    rng, model, belief = np.random.default_rng(0), controller.model, Place(torch.tensor([0]))
    for number in range(most):
        if belief.at == GOAL:
            return number
        said = controller.act(belief, torch.zeros(1, 1)).exp()
        if foresight is None:
            action = int(torch.multinomial(said, 1))
        else:
            action = foresight.decide(belief, belief.at, said, rng)
        belief = model.imagine(belief, torch.tensor([action]))
    return most


def test_who_comes_back_looks_ahead_and_gets_there() -> None:
    controller: Any = Dithering(Line())
    foresight = Foresight(controller, (0,))
    assert carried_out(controller, None, 400) == 400
    assert carried_out(controller, foresight, 400) < 20
    assert foresight.looks == 1, "one look was enough"


def test_the_way_has_no_detours() -> None:
    controller: Any = Dithering(Line())
    way = foresee(controller, Place(torch.tensor([0])), (0,), seed=0)
    assert way == dict.fromkeys(range(GOAL), ON)
    assert way == foresee(controller, Place(torch.tensor([0])), (0,), seed=0)


def test_where_no_future_gets_there_it_goes_on_and_looks_again_later() -> None:
    controller: Any = Dithering(Line(torn=True))
    foresight = Foresight(controller, (0,))
    assert foresee(controller, Place(torch.tensor([0])), (0,), seed=0) == {}
    assert carried_out(controller, foresight, 6 * PAUSE) == 6 * PAUSE
    assert foresight.looks == 3, "at once, after PAUSE actions, and after 2 · PAUSE more"


def test_many_circles_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    controller: Any = Dithering(Line())
    foresight = Foresight(controller, (0,))
    assert carried_out(controller, foresight, 400) < FIRST and foresight.looks == 0


def test_what_happens_otherwise_than_foreseen_is_left_to_the_controller() -> None:
    controller: Any = Dithering(Line())
    foresight, rng = Foresight(controller, (0,)), np.random.default_rng(0)

    def decided(at: int, name: int, back: float) -> int:
        said = torch.tensor([[back, 1 - back]])
        return foresight.decide(Place(torch.tensor([at])), torch.tensor([name]), said, rng)

    for at in (0, 1, 0):  # back again: it looks
        decided(at, at, 0.5)
    assert foresight.looks == 1
    assert decided(1, 99, 1.0) == BACK
    assert decided(1, 1, 1.0) == ON, "as foreseen from here"
