"""Classic control as worlds with names, and goals for them in words, each with a plan that says what it means.

Most goals are not what the environment pays for. A goal is met where the plan's objectives are, one after the other, on
real observations; what is to be avoided is looked at all the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gedanken.worlds.adapter import Adapter, Exogenous
from gedanken.worlds.objectives import Avoid, objective_of, outcome
from gedanken.worlds.shipped import shipped_adapters
from gedanken.worlds.spec import Plan, WorldSpec

_SHIPPED = shipped_adapters()

ADAPTERS: Mapping[str, Adapter] = {
    **_SHIPPED,
    "Pendulum-gravity": _SHIPPED["Pendulum-v1"].model_copy(
        update={"exogenous": {"gravity": Exogenous(attribute="g", low=5, high=15, unit="m/s²")}}
    ),
    "CartPole-force": _SHIPPED["CartPole-v1"].model_copy(
        update={"exogenous": {"force": Exogenous(attribute="force_mag", low=6, high=14, unit="N")}}
    ),
    "MountainCar-power": _SHIPPED["MountainCarContinuous-v0"].model_copy(
        update={"exogenous": {"power": Exogenous(attribute="power", low=0.001, high=0.002)}}
    ),
}
"""Those that ship, and some with an input that no plan controls."""

GOALS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "CartPole-v1": (
        ("make the reward as large as possible for 300 steps", "maximize(reward, for 300)"),
        ("keep the angle between -0.1 and 0.1 for 200 actions", "keep(angle, -0.1..0.1, for 200)"),
        ("bring the position to 1 give or take 0.1 within 150 steps", "reach(position, 1 ± 0.1, within 150)"),
        ("bring the position to -1 give or take 0.1 within 150 steps", "reach(position, -1 ± 0.1, within 150)"),
        ("keep the spin between -1 and 1 for 150 actions", "keep(spin, -1..1, for 150)"),
        ("keep the speed between -0.5 and 0.5 for 150 actions", "keep(speed, -0.5..0.5, for 150)"),
        ("get the speed to 1 give or take 0.2 in at most 60 actions", "reach(speed, 1 ± 0.2, within 60)"),
        (
            "don't let the position exceed 0.5. keep the angle between -0.15 and 0.15 for 150 steps",
            "avoid(position > 0.5)\nkeep(angle, -0.15..0.15, for 150)",
        ),
        (
            "keep the angle from -0.2 to 0.2 for 100 steps, but never let the position be under -0.3",
            "avoid(position < -0.3)\nkeep(angle, -0.2..0.2, for 100)",
        ),
        (
            "first bring the position to 0.8 give or take 0.2 within 150 steps, "
            "then keep the position between 0.4 and 1.4 for 80 steps",
            "reach(position, 0.8 ± 0.2, within 150)\nkeep(position, 0.4..1.4, for 80)",
        ),
    ),
    "Pendulum-v1": (
        (
            "bring the angle to 0 give or take 0.2 within 150 steps, "
            "then keep the angle between -0.3 and 0.3 for 50 steps",
            "reach(angle, 0 ± 0.2, within 150)\nkeep(angle, -0.3..0.3, for 50)",
        ),
        ("bring the angle to 0 give or take 0.2 within 150 steps", "reach(angle, 0 ± 0.2, within 150)"),
        ("keep the spin between -2 and 2 for 60 actions", "keep(spin, -2..2, for 60)"),
        ("bring the angle to 1.5 give or take 0.3 within 150 steps", "reach(angle, 1.5 ± 0.3, within 150)"),
        ("bring upright to -1 give or take 0.05 within 100 steps", "reach(upright, -1 ± 0.05, within 100)"),
        ("get the spin to 4 give or take 0.5 within 60 steps", "reach(spin, 4 ± 0.5, within 60)"),
        ("get the spin to -4 give or take 0.5 within 60 steps", "reach(spin, -4 ± 0.5, within 60)"),
        ("keep the spin between -4 and 4 for 100 actions", "keep(spin, -4..4, for 100)"),
        (
            "bring upright to 0 give or take 0.2 within 100 steps, but never let the spin be above 5",
            "avoid(spin > 5)\nreach(upright, 0 ± 0.2, within 100)",
        ),
        (
            "first get upright to -1 give or take 0.1 within 100 steps, "
            "then keep upright between -1 and -0.8 for 60 steps",
            "reach(upright, -1 ± 0.1, within 100)\nkeep(upright, -1..-0.8, for 60)",
        ),
    ),
    "Acrobot-v1": (
        ("bring the tip height to 1.2 give or take 0.2 within 300 steps", "reach(tip_height, 1.2 ± 0.2, within 300)"),
        ("keep the tip height between -2 and -1.5 for 100 steps", "keep(tip_height, -2..-1.5, for 100)"),
        ("bring the tip height to 0 give or take 0.1 within 200 steps", "reach(tip_height, 0 ± 0.1, within 200)"),
        ("bring the tip height to -1 give or take 0.1 within 150 steps", "reach(tip_height, -1 ± 0.1, within 150)"),
        ("get spin1 to 2 give or take 0.3 within 100 steps", "reach(spin1, 2 ± 0.3, within 100)"),
        ("get spin1 to -2 give or take 0.3 within 100 steps", "reach(spin1, -2 ± 0.3, within 100)"),
        ("get spin2 to 4 give or take 0.5 within 150 steps", "reach(spin2, 4 ± 0.5, within 150)"),
        ("keep spin2 between -3 and 3 for 100 actions", "keep(spin2, -3..3, for 100)"),
        (
            "bring the tip height to -1 give or take 0.1 within 200 steps, but never let spin1 exceed 1.5",
            "avoid(spin1 > 1.5)\nreach(tip_height, -1 ± 0.1, within 200)",
        ),
        (
            "don't let the tip height exceed -0.5. get spin1 to 1.5 give or take 0.2 within 100 steps",
            "avoid(tip_height > -0.5)\nreach(spin1, 1.5 ± 0.2, within 100)",
        ),
    ),
    "MountainCarContinuous-v0": (
        ("bring the position to 0.45 give or take 0.05 within 300 steps", "reach(position, 0.45 ± 0.05, within 300)"),
        ("bring the position to -1 give or take 0.05 within 200 steps", "reach(position, -1 ± 0.05, within 200)"),
        ("bring the position to 0 give or take 0.05 within 250 steps", "reach(position, 0 ± 0.05, within 250)"),
        ("keep the position between -0.7 and -0.3 for 100 steps", "keep(position, -0.7..-0.3, for 100)"),
        ("get the speed to 0.03 give or take 0.005 within 150 steps", "reach(speed, 0.03 ± 0.005, within 150)"),
        ("get the speed to -0.03 give or take 0.005 within 150 steps", "reach(speed, -0.03 ± 0.005, within 150)"),
        ("keep the speed between -0.01 and 0.01 for 100 steps", "keep(speed, -0.01..0.01, for 100)"),
        (
            "bring the position to -0.9 give or take 0.05 within 200 steps, but never let the position exceed 0",
            "avoid(position > 0)\nreach(position, -0.9 ± 0.05, within 200)",
        ),
        (
            "don't let the position be under -1. bring the position to 0.2 give or take 0.05 within 300 steps",
            "avoid(position < -1)\nreach(position, 0.2 ± 0.05, within 300)",
        ),
        (
            "first bring the position to -0.8 give or take 0.05 within 200 steps, "
            "then bring the position to 0 give or take 0.05 within 250 steps",
            "reach(position, -0.8 ± 0.05, within 200)\nreach(position, 0 ± 0.05, within 250)",
        ),
    ),
    "LunarLander-v3": (
        ("bring x to -0.5 give or take 0.1 within 300 steps", "reach(x, -0.5 ± 0.1, within 300)"),
        ("bring the height to 0.5 give or take 0.1 within 200 steps", "reach(height, 0.5 ± 0.1, within 200)"),
        ("keep the tilt between -0.2 and 0.2 for 100 actions", "keep(tilt, -0.2..0.2, for 100)"),
        ("get the climb to 0.3 give or take 0.1 within 150 steps", "reach(climb, 0.3 ± 0.1, within 150)"),
        ("get the drift to -0.3 give or take 0.1 within 150 steps", "reach(drift, -0.3 ± 0.1, within 150)"),
        ("bring the left leg to 1 give or take 0.5 within 400 steps", "reach(left_leg, 1 ± 0.5, within 400)"),
        ("keep the spin between -0.3 and 0.3 for 100 actions", "keep(spin, -0.3..0.3, for 100)"),
        (
            "don't let the tilt exceed 0.5. bring x to 0.5 give or take 0.1 within 300 steps",
            "avoid(tilt > 0.5)\nreach(x, 0.5 ± 0.1, within 300)",
        ),
        (
            "bring the height to 0.2 give or take 0.1 within 300 steps, but never let the climb be under -0.8",
            "avoid(climb < -0.8)\nreach(height, 0.2 ± 0.1, within 300)",
        ),
        (
            "first bring the height to 0.8 give or take 0.2 within 200 steps, "
            "then keep the height between 0.4 and 1.2 for 100 steps",
            "reach(height, 0.8 ± 0.2, within 200)\nkeep(height, 0.4..1.2, for 100)",
        ),
    ),
    "highway": (
        ("make the reward as large as possible for 30 seconds", "maximize(reward, for 30)"),
        ("bring the lane to 1 give or take 0.3 within 15 seconds", "reach(lane, 1 ± 0.3, within 15)"),
        ("bring the lane to 4 give or take 0.3 within 15 seconds", "reach(lane, 4 ± 0.3, within 15)"),
        ("get the speed to 29 give or take 1 within 20 seconds", "reach(speed, 29 ± 1, within 20)"),
        ("keep the speed between 19 and 26 for 25 seconds", "keep(speed, 19..26, for 25)"),
        ("keep the gap between 8 and 100 for 20 seconds", "keep(gap, 8..100, for 20)"),
        ("bring overtaken to 2 give or take 0.5 within 30 seconds", "reach(overtaken, 2 ± 0.5, within 30)"),
        (
            "don't let the acceleration be under -3. bring overtaken to 1 give or take 0.5 within 30 seconds",
            "avoid(acceleration < -3)\nreach(overtaken, 1 ± 0.5, within 30)",
        ),
        (
            "keep the speed from 18 to 31 for 30 seconds, but never let the gap be under 5",
            "avoid(gap < 5)\nkeep(speed, 18..31, for 30)",
        ),
        (
            "first bring overtaken to 1 give or take 0.5 within 30 seconds, "
            "then bring the lane to 4 give or take 0.3 within 15 seconds",
            "reach(overtaken, 1 ± 0.5, within 30)\nreach(lane, 4 ± 0.3, within 15)",
        ),
    ),
    "motor": (
        ("make the reward as large as possible for 2 seconds", "maximize(reward, for 200)"),
        ("bring the speed to 200 give or take 5 within 3 seconds", "reach(speed, 200 ± 5, within 300)"),
        ("bring the speed to 50 give or take 5 within 3 seconds", "reach(speed, 50 ± 5, within 300)"),
        ("get the torque to 10 give or take 0.5 within 1 second", "reach(torque, 10 ± 0.5, within 100)"),
        ("get the current to 60 give or take 2 within half a second", "reach(current, 60 ± 2, within 50)"),
        ("keep the current between 0 and 80 for 2 seconds", "keep(current, 0..80, for 200)"),
        ("bring the error to 0 give or take 5 within 3 seconds", "reach(error, 0 ± 5, within 300)"),
        (
            "don't let the current exceed 100. bring the speed to 180 give or take 5 within 3 seconds",
            "avoid(current > 100)\nreach(speed, 180 ± 5, within 300)",
        ),
        (
            "bring the power to 1000 give or take 100 within 2 seconds, but never let the torque be above 15",
            "avoid(torque > 15)\nreach(power, 1000 ± 100, within 200)",
        ),
        (
            "first bring the speed to 100 give or take 5 within 3 seconds, "
            "then keep the speed between 90 and 110 for 1 second",
            "reach(speed, 100 ± 5, within 300)\nkeep(speed, 90..110, for 100)",
        ),
    ),
}


@dataclass(frozen=True)
class Goal:
    """A goal in words and the plan that says what it means."""

    words: str
    plan: Plan


def goal_of(spec: WorldSpec, task: str, seed: int) -> Goal:
    """Return the goal of an episode: they take turns."""
    words, plan = GOALS[task][seed % len(GOALS[task])]
    return Goal(words, spec.parse_plan(plan))


def met(spec: WorldSpec, plan: Plan, observations: NDArray[Any], rewards: Sequence[float]) -> bool:
    """Tell whether real ``observations [T + 1, variables]`` and ``rewards [T]`` met a plan, whoever acted and why.

    Its objectives have to be achieved one after the other. What has to hold for a while may begin at any moment, what
    has to be reached has its time from the beginning on; what it asks to avoid must not be true at any moment that an
    action led to.
    """
    seen = spec.vector.values(observations[1:].astype(np.float64), np.asarray(rewards, np.float64))
    objectives = [objective_of(spec, step) for step in plan.steps]
    if not all(np.all(o.holds(seen)) for o in objectives if isinstance(o, Avoid)):
        return False
    asked = [o for o in objectives if not isinstance(o, Avoid)]
    moments = len(rewards)

    def achieved_from(start: int) -> bool:
        for objective in asked:
            for at in range(start, moments):
                now = {name: value[at] for name, value in seen.items()}
                done, failed = outcome(objective, at - start + 1, now)
                if done:
                    start = at + 1
                    break
                if failed:
                    return False
            else:
                return False
        return True

    starts = range(moments) if asked and asked[0].earliest > 1 else range(1)
    return moments > 0 and (not asked or any(achieved_from(start) for start in starts))
