"""Objective skills of worlds that show numbers: what each asks for, by one definition for reality and imagination.

Every function takes arrays of one shape by variable name (`VectorField.values`), of NumPy or of torch; a real moment is
an array of no dimensions, an imagined one a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gedanken.worlds.expressions import Expression, parse
from gedanken.worlds.fields import REWARD, VectorField
from gedanken.worlds.slots import read_numbers
from gedanken.worlds.spec import Skill, Slot, SpecError, Step, WorldSpec

_FOR = Slot(name="for actions", form="for")

OBJECTIVES = (
    Skill(
        name="reach",
        doc="bring a variable to a target, give or take a tolerance, within so many actions",
        parameters=(
            Slot(name="variable", form="variable"),
            Slot(name="target ± tolerance", form="target"),
            Slot(name="within actions", form="within"),
        ),
    ),
    Skill(
        name="keep",
        doc="keep a variable in a range for so many actions",
        parameters=(Slot(name="variable", form="variable"), Slot(name="low..high", form="range"), _FOR),
    ),
    Skill(
        name="maximize",
        doc="make an expression as large as possible for so many actions",
        parameters=(Slot(name="expression", form="expression"), _FOR),
    ),
    Skill(
        name="minimize",
        doc="make an expression as small as possible for so many actions",
        parameters=(Slot(name="expression", form="expression"), _FOR),
    ),
    Skill(
        name="avoid",
        doc="from here on never let a condition become true, whatever else the plan does",
        parameters=(Slot(name="condition", form="condition"),),
    ),
)
"""The skills of every world that shows numbers."""

Values = Mapping[str, Any]


class Objective(Protocol):
    """What a step asks for, moment by moment.

    It has failed when it does not hold after the `grace`-th action or a later one, and is achieved when it holds after
    the `earliest`-th or a later one; what comes first counts. A variable that is no number is neither near a target nor
    in a range, and a comparison with it is false.
    """

    @property
    def names(self) -> frozenset[str]:
        """Return the variables that it looks at."""
        ...

    @property
    def earliest(self) -> int:
        """Return after how many actions it can be achieved at the soonest."""
        ...

    @property
    def grace(self) -> int:
        """Return after how many actions it has failed where it does not hold."""
        ...

    def holds(self, values: Values, xp: Any = np) -> Any:
        """Tell where it holds, an array of truths."""
        ...

    def loss(self, values: Values, xp: Any = np) -> Any:
        """Say how far the moment is from what is asked for, for a search to make small."""
        ...


def outcome(objective: Objective, spent: Any, values: Values, xp: Any = np, most: int | None = None) -> tuple[Any, Any]:
    """Tell where an objective is achieved and where it has failed, `spent` actions after it began.

    With `most`, what would take or last longer is judged after so many actions.
    """
    earliest, grace = (n if most is None else min(n, most) for n in (objective.earliest, objective.grace))
    holds = objective.holds(values, xp)
    return holds & (spent >= earliest), ~holds & (spent >= grace)


@dataclass(frozen=True)
class Reach:
    """Bring a variable to `target`, give or take `tolerance`, in at most `within` actions."""

    variable: str
    target: float
    tolerance: float
    within: int

    earliest = 1

    @property
    def names(self) -> frozenset[str]:
        """Return the variable."""
        return frozenset([self.variable])

    @property
    def grace(self) -> int:
        """Return `within`: it may take that long."""
        return self.within

    def holds(self, values: Values, xp: Any = np) -> Any:
        """Tell where the variable is near enough."""
        return abs(values[self.variable] - self.target) <= self.tolerance

    def loss(self, values: Values, xp: Any = np) -> Any:
        """Return the distance to the target."""
        return abs(values[self.variable] - self.target)


@dataclass(frozen=True)
class Keep:
    """Keep a variable from `low` to `high`, both included, after each of `duration` actions."""

    variable: str
    low: float
    high: float
    duration: int

    grace = 1

    @property
    def names(self) -> frozenset[str]:
        """Return the variable."""
        return frozenset([self.variable])

    @property
    def earliest(self) -> int:
        """Return `duration`: it takes that long."""
        return self.duration

    def holds(self, values: Values, xp: Any = np) -> Any:
        """Tell where the variable is in the range."""
        return (values[self.variable] >= self.low) & (values[self.variable] <= self.high)

    def loss(self, values: Values, xp: Any = np) -> Any:
        """Return the distance to the range, and a tenth of that to its inner nine tenths: the brink is no good place.

        Within those all is equal: a search that prefers one place there would risk everything else for it.
        """
        half = (self.high - self.low) / 2
        off = abs(values[self.variable] - (self.low + self.high) / 2)
        outside, brink = off - half, off - 0.9 * half
        return (outside + abs(outside)) / 2 + 0.1 * (brink + abs(brink)) / 2


def attainable(objective: Objective, field: VectorField) -> bool:
    """Tell whether acting can bring an objective about.

    A target or range beyond a variable's bounds is never met, and an input that no plan controls is met or not.
    """
    variable = next((v for v in field.variables if v.name == getattr(objective, "variable", None)), None)
    if variable is None:
        return True
    if variable.exogenous:
        return False
    low, high = variable.low, variable.high
    if isinstance(objective, Reach):
        least, most = objective.target - objective.tolerance, objective.target + objective.tolerance
    else:
        assert isinstance(objective, Keep)
        least, most = objective.low, objective.high
    return (low is None or most >= low) and (high is None or least <= high)


@dataclass(frozen=True)
class Optimize:
    """Make an expression large (`sign` 1) or small (-1) during `duration` actions; it holds whatever happens."""

    expression: Expression
    sign: int
    duration: int

    grace = 1

    @property
    def earliest(self) -> int:
        """Return `duration`: it takes that long."""
        return self.duration

    @property
    def names(self) -> frozenset[str]:
        """Return the variables of the expression."""
        return self.expression.names

    @property
    def paid(self) -> bool:
        """Tell whether it asks for the world's own reward, which an episode's end does not spoil."""
        return self.expression.names == {REWARD}

    def holds(self, values: Values, xp: Any = np) -> Any:
        """Return true wherever the expression is a number."""
        value = self.expression(values, xp)
        return value == value

    def loss(self, values: Values, xp: Any = np) -> Any:
        """Return the expression, negative where it should be large."""
        return -self.sign * self.expression(values, xp)


@dataclass(frozen=True)
class Avoid:
    """Never let a condition become true, from here to the end of the plan; as a step of its own it takes one action."""

    condition: Expression

    earliest = grace = 1

    @property
    def names(self) -> frozenset[str]:
        """Return the variables of the condition."""
        return self.condition.names

    def holds(self, values: Values, xp: Any = np) -> Any:
        """Tell where the condition is false."""
        return ~self.condition(values, xp)

    def loss(self, values: Values, xp: Any = np) -> Any:
        """Return 1 where the condition is true, else 0."""
        return xp.where(self.condition(values, xp), 1.0, 0.0)


def objective_of(spec: WorldSpec, step: Step) -> Reach | Keep | Optimize | Avoid:
    """Return what a step asks for. Raises SpecError for a step that is no objective of this world."""
    words = [str(phrase[0]) for phrase in spec.parse_step(str(step)).arguments]
    names, own = spec.vector.names, spec.vector.words
    match step.skill:
        case "reach":
            (target, tolerance), (within,) = read_numbers("target", words[1]), read_numbers("within", words[2])
            return Reach(words[0], target, tolerance, int(within))
        case "keep":
            (low, high), (duration,) = read_numbers("range", words[1]), read_numbers("for", words[2])
            return Keep(words[0], low, high, int(duration))
        case "maximize" | "minimize":
            sign = 1 if step.skill == "maximize" else -1
            return Optimize(parse(words[0], names, own), sign, int(read_numbers("for", words[1])[0]))
        case "avoid":
            return Avoid(parse(words[0], names, own))
    raise SpecError(f"{step} is no objective; they are {', '.join(skill.name for skill in OBJECTIVES)}")


def standing(spec: WorldSpec, steps: Sequence[Step]) -> tuple[Avoid, ...]:
    """Return what the steps before the last ask never to happen again."""
    earlier = [objective_of(spec, step) for step in steps[:-1]]
    return tuple(objective for objective in earlier if isinstance(objective, Avoid))


def shortfall(field: VectorField, objective: Objective, standing: Sequence[Avoid], values: Values) -> str:
    """Say in units what is as an objective, or what stands beside it, does not want it; empty where all is well."""
    for condition in standing:
        if not bool(condition.holds(values)):
            return f"{_said(field, sorted(condition.names), values)}, and that was to be avoided"
    if bool(objective.holds(values)):
        return ""
    return _said(field, sorted(objective.names), values)


def _said(field: VectorField, names: Sequence[str], values: Values) -> str:
    """Say values as ``room is 18.2 °C``."""
    units = {variable.name: variable.unit for variable in field.variables}
    return " and ".join(
        f"{name} is {field.spelled(name, values[name])} {units.get(name, '')}".strip() for name in names
    )
