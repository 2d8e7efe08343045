"""Episodes to store, each of its own seed, for tests of the experience store."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from gedanken.worldmodel.episode import Episode


def make(seed: int = 0, length: int = 5, steps: int = 2, **changes: Any) -> Episode:
    random = np.random.default_rng(seed)
    episode = Episode(
        world="BabyAI-GoToObj-v0",
        spec_hash="abc",
        seed=seed,
        source="expert",
        goal="go to the red ball",
        observations=random.integers(0, 11, (length + 1, 7, 7, 3), dtype=np.uint8),
        actions=random.integers(0, 7, length, dtype=np.uint8),
        rewards=random.random(length, dtype=np.float32),
        terminated=bool(random.integers(2)),
        steps=tuple(f"open(door {k})" for k in range(steps)),
        step_index=random.integers(-1, max(steps, 1), length).astype(np.int16),
        origin=random.integers(0, length + 1, steps).astype(np.int16),
        expert=random.integers(-1, 7, length).astype(np.int8),
        achieved=random.random(length) < 0.3,
        record={"outcome": {"success": True}, "plan": ["open(door 0)"]},
    )
    return replace(episode, **changes)


def assert_same(a: Episode, b: Episode) -> None:
    for field in fields(Episode):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype and x.shape == y.shape, field.name
            assert x.tobytes() == y.tobytes(), field.name
        else:
            assert x == y and type(x) is type(y), field.name
