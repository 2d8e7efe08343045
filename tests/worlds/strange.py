"""Environments for tests: one of everything that is supported, and one for each thing that can go wrong."""

import sys
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Drift(gymnasium.Env[Any, Any]):
    """A cart that is pushed along a line; `wind` pushes, too."""

    observation_space: Any = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space: Any = spaces.Box(-1, 1, (1,), np.float32)
    wind = 0.0

    def __init__(self, render_mode: str | None = None, mass: float = 1.0) -> None:
        self.mass, self.render_mode = mass, render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.state = np.array([self.np_random.uniform(-1, 1), 0.0])
        return self.see(), {}

    def step(self, action: Any) -> Any:
        self.state[1] += 0.1 * (float(np.ravel(action)[0]) + self.wind) / self.mass
        self.state[0] += 0.1 * self.state[1]
        return self.see(), -abs(float(self.state[0])), bool(abs(self.state[0]) > 5), False, {}

    def see(self) -> Any:
        return self.state.copy()


class Everything(Drift):
    observation_space = spaces.Dict(
        {
            "arm": spaces.Dict({"angle": spaces.Box(-1, 1, (), np.float32), "force": spaces.Box(-9, 9, (2, 1))}),
            "gear": spaces.Discrete(3, start=1),
            "lamps": spaces.MultiBinary(2),
            "pair": spaces.Tuple((spaces.Discrete(2), spaces.MultiDiscrete([2, 3]))),
        }
    )
    action_space = spaces.Discrete(3, start=-1)

    def step(self, action: Any) -> Any:
        assert action in (-1, 0, 1)
        return super().step(action)

    def see(self) -> Any:
        return {
            "arm": {"angle": np.float32(0.5), "force": np.array([[1.0], [2.0]])},
            "gear": 3,
            "lamps": np.array([1, 0], np.int8),
            "pair": (1, np.array([1, 2])),
        }


class Image(Drift):
    observation_space = spaces.Dict({"eye": spaces.Box(0, 255, (8, 8, 4), np.uint8), "x": spaces.Discrete(2)})


class Written(Drift):
    observation_space = spaces.Dict({"note": spaces.Text(5)})


class Many(Drift):
    action_space = spaces.MultiDiscrete([2, 3], start=[0, -1])

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.taken = action
        return super().step(action)


class Switches(Many):
    action_space = spaces.MultiBinary(2)


class Wordy(Drift):
    action_space = spaces.Text(5)


class Myriad(Drift):
    action_space = spaces.MultiDiscrete([50, 50])


class Crowded(Drift):
    observation_space = spaces.Discrete(5000)


class Listed(Drift):
    observation_space = spaces.Tuple((spaces.Discrete(2), spaces.Sequence(spaces.Discrete(2))))


class Linked(Drift):
    observation_space = spaces.Dict({"parts": spaces.Graph(spaces.Discrete(2), None)})


class Varied(Drift):
    observation_space = spaces.OneOf((spaces.Discrete(2), spaces.Discrete(3)))


class Undecided(Drift):
    observation_space = None


class Block(Drift):
    observation_space = spaces.Box(-9, 9, (2, 2, 2))

    def see(self) -> Any:
        return np.full((2, 2, 2), 1.0)


class Boundless(Drift):
    action_space = spaces.Box(-np.inf, np.inf, (1,))


class Huge(Drift):
    observation_space = spaces.Box(-1, 1, (400,))


class NotANumber(Drift):
    def see(self) -> Any:
        return np.array([0.0, np.nan if self.state[1] else 0.0])


class Endless(Drift):
    def see(self) -> Any:
        return np.array([1e300, 0.0])


class WrongShape(Drift):
    def see(self) -> Any:
        return np.zeros(3)


class WrongCategory(Everything):
    def see(self) -> Any:
        return {**super().see(), "gear": 0}


class WrongKeys(Everything):
    def see(self) -> Any:
        return {"arm": 1}


class Raises(Drift):
    def step(self, action: Any) -> Any:
        raise ZeroDivisionError("the gearbox broke")


class Hangs(Drift):
    def step(self, action: Any) -> Any:
        time.sleep(3600)


class EndsAtOnce(Drift):
    def step(self, action: Any) -> Any:
        return self.see(), 0.0, True, False, {}


class Unseeded(Drift):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset()


class OldFashioned(Drift):
    def step(self, action: Any) -> Any:
        return super().step(action)[:4]


class Unpaid(Drift):
    def step(self, action: Any) -> Any:
        return self.see(), float("inf"), False, False, {}


class Unrewarded(Drift):
    def step(self, action: Any) -> Any:
        return self.see(), None, False, False, {}


class Torn(Drift):
    def step(self, action: Any) -> Any:
        return self.see(), 0.0, np.array([True, False]), False, {}


class Loses(Drift):
    def see(self) -> Any:
        return None


class Exits(Drift):
    def step(self, action: Any) -> Any:
        sys.exit(3)


class Late(Drift):
    """Does well for longer than anybody tries it, and then one of the things that can go wrong."""

    lived = 0

    def __init__(self, does: str = "", **more: Any) -> None:
        super().__init__(**more)
        self.does = does

    def step(self, action: Any) -> Any:
        self.lived += 1
        if self.lived > 260:
            match self.does:
                case "raises":
                    raise ZeroDivisionError("the gearbox broke")
                case "hangs":
                    time.sleep(3600)
                case "ends":
                    return self.see(), 0.0, True, False, {}
                case "turns":
                    return np.zeros(3), 0.0, False, False, {}
                case "drifts" | "flies":
                    return np.array([np.nan if self.does == "drifts" else np.inf, 0]), 0.0, False, False, {}
        return super().step(action)


class Prints(Drift):
    def step(self, action: Any) -> Any:
        print("noise")
        return super().step(action)


class Blind(Drift):
    def __init__(self, mass: float = 1.0) -> None:  # as who draws nothing writes it
        super().__init__(mass=mass)


class Gusty(Drift):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.wind = 0.5
        return super().reset(seed=seed)


class Wears(Drift):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.mass *= 1.1
        return super().reset(seed=seed)


class Breaks(Drift):
    def __init__(self, **_: Any) -> None:
        raise RuntimeError("no licence found")


KINDS = [kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, Drift)]


def register() -> None:
    """Register every kind as `Strange/<Name>-v0`."""
    for kind in KINDS:
        id = f"Strange/{kind.__name__}-v0"
        if id not in gymnasium.registry:
            gymnasium.register(id, entry_point=kind, max_episode_steps=None if kind is OldFashioned else 50)
