from collections.abc import Hashable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gedanken.worldmodel.foresight import PAUSE, Foresight, foresee
from gedanken.worldmodel.protocol import Belief

BACK, ON = 0, 1
GOAL = 6


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

    def states(self, belief: Place) -> list[Hashable]:
        return list(belief.at.tolist())


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
    rng, model, belief = np.random.default_rng(0), controller.model, Place(torch.tensor([0]))
    for number in range(most):
        if belief.at == GOAL:
            return number
        said = controller.act(belief, torch.zeros(1, 1)).exp()[0].double().numpy()
        if foresight is None:
            action = int(rng.choice(2, p=said / said.sum()))
        else:
            action = foresight.decide(belief, int(belief.at), said, rng)
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
    assert foresight.looks == 2, "after 2 · PAUSE actions it looks again, and then after 4 · PAUSE"


def test_what_happens_otherwise_than_foreseen_is_left_to_the_controller() -> None:
    controller: Any = Dithering(Line())
    foresight, rng = Foresight(controller, (0,)), np.random.default_rng(0)
    said = np.array([0.5, 0.5])
    for state in (0, 1, 0):  # back again: it looks
        foresight.decide(Place(torch.tensor([state])), state, said, rng)
    assert foresight.looks == 1
    assert foresight.decide(Place(torch.tensor([1])), "elsewhere", np.array([1.0, 0.0]), rng) == BACK
    assert foresight.decide(Place(torch.tensor([1])), 1, np.array([1.0, 0.0]), rng) == ON, "as foreseen from here"
