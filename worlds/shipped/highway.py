"""A motorway with other drivers: highway-env's straight road, told as named numbers that say what matters.

highway-env shows the five nearest vehicles, sorted by distance, so that a number's meaning changes whenever two swap
places. Here every lane has its own numbers: how far away two vehicles ahead or beside and one behind are, and how fast
each gets away.
"""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gedanken.worlds.protocol import WorldError

LANES, SIGHT = 4, 100.0
"""Lanes, and how far ahead and behind vehicles are seen, in metres."""

BESIDE = -15.0
"""How far behind a vehicle has to be, in metres, to count as behind: until then it may be in the way."""

TOP_SPEED = 30.0
"""Metres a second: the fastest cruising speed, and what the rule-based driver would like to drive."""

_CONFIG = {"duration": 1e9}  # how long an episode lasts, gymnasium's own limit says
_LIGHT = {"lanes_count": LANES, "vehicles_count": 25, "ego_spacing": 2}


class Highway(gymnasium.Env[dict[str, Any], np.int64]):
    """Forty seconds of a motorway with other drivers, an action a second; a crash ends it, and is all that it shows.

    Actions: to the left lane, nothing, to the right lane, faster, slower. The reward is highway-env's own, 0 to 1:
    driving fast and keeping right. The traffic is simulated as in `highway-fast-v0`, five times a second, with as many
    vehicles (25) as can be met in forty seconds; `thorough`, as in `highway-v0`: fifteen times, with 50, which takes
    eight times as long. With `rule_based` actions are ignored, and highway-env's own driver (IDM and MOBIL), who would
    like to drive at `TOP_SPEED`, drives in the agent's place.

    Raises WorldError where highway-env is not installed.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 5}  # noqa: RUF012
    action_space = spaces.Discrete(5)
    observation_space = spaces.Dict(
        {
            "car": spaces.Box(
                np.array([0.0, 0.5, 1, 20, -30, -100]),
                np.array([40.0, LANES + 0.5, LANES, 30, 30, 100]),
                dtype=np.float64,
            ),
            "crashed": spaces.Discrete(2),
            "lanes": spaces.Box(
                np.array([[BESIDE, -40.0, BESIDE, -40.0, -SIGHT, -40.0]] * LANES),
                np.array([[SIGHT, 40.0, SIGHT, 40.0, BESIDE, 40.0]] * LANES),
                dtype=np.float64,
            ),
        }
    )

    def __init__(self, render_mode: str | None = None, *, thorough: bool = False, rule_based: bool = False) -> None:
        try:
            self._behaviour: Any = importlib.import_module("highway_env.vehicle.behavior")
        except ImportError as error:
            raise WorldError(f"no highway-env ({error}); `pip install gedanken[highway]` adds it") from error
        self.render_mode, self.rule_based = render_mode, rule_based
        name, config = ("highway-v0", _CONFIG) if thorough else ("highway-fast-v0", _CONFIG | _LIGHT)
        self.inner: Any = gymnasium.make(name, render_mode=render_mode, config=config).unwrapped
        self.speed, self.overtaken = 0.0, 0
        self.ahead: set[int] = set()
        self.shown: dict[str, Any] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw the traffic anew."""
        super().reset(seed=seed)
        self.inner.reset(seed=seed)
        if self.rule_based:
            driver = self._behaviour.IDMVehicle.create_from(self.inner.vehicle)
            driver.target_speed = TOP_SPEED
            vehicles = self.inner.road.vehicles
            vehicles[vehicles.index(self.inner.vehicle)] = driver
            self.inner.vehicle = driver
        self.speed, self.overtaken, self.ahead = self.inner.vehicle.speed, 0, self._ahead()
        self.shown = self._seen()
        return self.shown, {}

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Drive for a second."""
        _, reward, terminated, truncated, _ = self.inner.step(int(action))
        ahead = self._ahead()
        self.overtaken += len(self.ahead - ahead) - len(ahead - self.ahead)
        self.ahead = ahead
        self.shown = self.shown | {"crashed": 1} if terminated else self._seen()
        self.speed = self.inner.vehicle.speed
        return self.shown, float(reward), bool(terminated), bool(truncated), {}

    def render(self) -> Any:
        """Draw the road as highway-env does."""
        return self.inner.render()

    def close(self) -> None:
        """Release highway-env."""
        self.inner.close()

    def _others(self) -> list[Any]:
        return [vehicle for vehicle in self.inner.road.vehicles if vehicle is not self.inner.vehicle]

    def _ahead(self) -> set[int]:
        place = self.inner.vehicle.position[0]
        return {id(vehicle) for vehicle in self._others() if vehicle.position[0] > place}

    def _seen(self) -> dict[str, Any]:
        own = self.inner.vehicle
        lane = self.inner.road.network.get_lane(own.lane_index)
        wide = lane.width_at(0)
        car = [
            own.speed,
            1 + own.position[1] / wide,
            1 + own.target_lane_index[2],
            own.target_speed,
            own.speed - self.speed,
            float(self.overtaken),
        ]
        return {
            "car": np.array(car),
            "crashed": int(own.crashed),
            "lanes": np.stack([self._lane(number * wide, wide) for number in range(LANES)]),
        }

    def _lane(self, centre: float, wide: float) -> NDArray[np.float64]:
        """Return how far two vehicles ahead or beside and the one behind are, centre to centre, and their speeds."""
        own = self.inner.vehicle
        ahead, behind = [(SIGHT, 0.0)] * 2, [(-SIGHT, 0.0)]
        for vehicle in self._others():
            if abs(vehicle.position[1] - centre) > wide * 0.6:  # who changes lanes is in both for a while
                continue
            far, faster = vehicle.position[0] - own.position[0], vehicle.velocity[0] - own.velocity[0]
            if abs(far) < SIGHT:
                (ahead if far > BESIDE else behind).append((far, faster))
        return np.array([*sorted(ahead)[:2], max(behind)]).ravel()


gymnasium.register("Highway-v0", f"{__name__}:Highway", max_episode_steps=40)
