"""A series-wound DC motor, as it pulls trams and hoists, under a load and from a supply that no plan controls.

gym-electric-motor simulates motor, converter and load (Balakrishna et al., "gym-electric-motor", 2021). Its numbers are
told in their units here, and the motor is asked for a speed that keeps its value for an episode.
"""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gedanken.worlds.protocol import WorldError

TICK = 0.01
"""Seconds an action lasts."""

INERTIA = 0.14
"""Of what the motor turns, in kg m²."""

_SLOW = 100.0  # rad/s off the wanted speed at which nothing is paid any more


class Motor(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """Three seconds of a motor: the share of the supply's voltage that it gets is set every 10 ms.

    It shows speed (rad/s) and current (A), which says the torque, too. More than 210 A switch it off, which ends the
    episode. The reward of an action is 1 at the `wanted` speed, and falls to 0 at 100 rad/s beside it. `load` is a
    constant torque against the motion, `supply` a voltage.

    Raises WorldError where gym-electric-motor is not installed.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = spaces.Box(np.array([0.0, 0.0]), np.array([400.0, 300.0]), dtype=np.float64)
    action_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    load, supply, wanted = 4.0, 60.0, 150.0

    def __init__(self, render_mode: str | None = None) -> None:
        try:
            gym_electric_motor: Any = importlib.import_module("gym_electric_motor")
            loads: Any = importlib.import_module("gym_electric_motor.physical_systems.mechanical_loads")
        except ImportError as error:
            raise WorldError(f"no gym-electric-motor ({error}); `pip install gedanken[motor]` adds it") from error
        self.render_mode = render_mode
        self._load = loads.PolynomialStaticLoad({"a": self.load, "b": 0.0, "c": 0.0, "j_load": INERTIA})
        self.inner: Any = gym_electric_motor.make(
            "Cont-SC-SeriesDc-v0", tau=TICK, load=self._load, supply={"u_nominal": 60.0}, visualization=None
        ).unwrapped

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Begin at some speed, without a current."""
        super().reset(seed=seed)
        self._load._a = self.load
        self._load.set_j_rotor(0.0)  # it adds to the inertia, and works out anew what depends on the load
        self.inner.physical_system.supply._u_nominal = self.supply
        self._load.initializer["states"]["omega"] = float(self.np_random.uniform(0, 200))
        (shown, _), _ = self.inner.reset(seed=seed)
        return self._seen(shown), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Apply a share of the supply's voltage for 10 ms."""
        (shown, _), _, terminated, _, _ = self.inner.step(np.clip(action, 0.0, 1.0).astype(np.float64))
        seen = self._seen(shown)
        return seen, max(0.0, 1 - abs(seen[0] - self.wanted) / _SLOW), bool(terminated), False, {}

    def close(self) -> None:
        """Release the simulation."""
        self.inner.close()

    def _seen(self, shown: NDArray[np.float64]) -> NDArray[np.float64]:
        system = self.inner.physical_system
        numbers = dict(zip(system.state_names, shown * system.limits, strict=True))
        return np.array([numbers["omega"], numbers["i"]])


gymnasium.register("Motor-v0", f"{__name__}:Motor", max_episode_steps=300)
