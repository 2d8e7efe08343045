from typing import Any

import pytest

from gedanken.agent import loading
from gedanken.worlds.babyai import BabyAIWorld
from gedanken.worlds.protocol import DemonstratedWorld, PracticeWorld
from gedanken.worlds.spec import SpecError


class Plain:
    """What every world has, and nothing for training."""

    def __getattr__(self, name: str) -> Any:
        if name in ("expert", "sample_steps", "prerequisites", "mission_steps", "practice_goals", "unmet_goal"):
            raise AttributeError(name)
        return lambda *_: None


def test_only_a_world_with_a_demonstrator_is_practised_in(monkeypatch: pytest.MonkeyPatch) -> None:
    world = loading.load_practice("BabyAI-GoToLocal-v0")
    assert isinstance(world, BabyAIWorld) and isinstance(world, DemonstratedWorld) and isinstance(world, PracticeWorld)
    assert not isinstance(Plain(), DemonstratedWorld)
    monkeypatch.setattr(loading, "load_world", lambda _: Plain())
    with pytest.raises(SpecError, match="nobody demonstrates 'Mine-v0'; `gedanken learn Mine-v0`"):
        loading.load_practice("Mine-v0")
