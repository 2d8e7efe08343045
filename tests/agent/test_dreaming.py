"""A dream as it is lived through: actions, events, and how people see it."""

import io

import pytest
import torch
from rich.console import Console

from gedanken.agent.dreaming import Dreaming
from gedanken.agent.telling.dreaming import picture
from gedanken.worldmodel.checkpoint import Trained, build
from gedanken.worldmodel.imagined import ImaginedEnv
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.spec import SpecError


@pytest.fixture(scope="module")
def dreaming() -> Dreaming:
    torch.manual_seed(1)
    model, controller = build(SPEC, "spatial", SIZES["debug"].model_dump())
    trained = Trained(model, controller.eval(), "tiny")
    return Dreaming(ImaginedEnv(trained, BabyAIWorld("BabyAI-GoToLocal-v0"), start_seed=3, there=["red ball"]), 7)


def test_every_moment_says_what_it_is_of(dreaming: Dreaming) -> None:
    begun = dreaming.begin(7)
    assert begun.what == "" and begun.disagreement == 0.0 and dreaming.there == ["red ball"]
    assert dreaming.act("left") == dreaming.now and dreaming.now.what == "left"
    assert dreaming.happen("a blue ball appears").what == "blue ball" and dreaming.env.taken == 1
    assert dreaming.begin(7) == begun
    with pytest.raises(SpecError, match="'fly' is no action; there are left"):
        dreaming.act("fly")


def test_it_is_drawn(dreaming: Dreaming) -> None:
    dreaming.begin(7)
    console = Console(file=io.StringIO(), width=100)
    console.print(picture(dreaming, "below"))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "imagined view" in said and dreaming.now.sees.split(",")[0] in said and "below" in said
