"""Goals for made-up worlds of numbers, in words of one list, each with the one plan that says it in objectives.

Words are drawn for what is asked, and never read. Every name of the plan is in the scene; every number in the goal, but
for what goes without saying: a step with no number of actions takes `USUAL`; a target without a tolerance is meant to
be rounded to what was said, 3 is ``3 ± 0.5`` and 0.25 is ``0.25 ± 0.005``. What must not happen, and ranges to be kept
meanwhile, come first, as `avoid`, which holds to the plan's end.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from gedanken.worlds.babyai_wordings import mistyped
from gedanken.worlds.fields import REWARD
from gedanken.worlds.schemas import Named, Schema, Split, draw, made_up, units, vocabulary
from gedanken.worlds.slots import number_text
from gedanken.worlds.spec import Plan, WorldSpec

USUAL = 100
"""Actions that a step may take, or lasts, where the goal does not say."""

WHILES = (5, 8, 10, 12, 15, 20, 24, 25, 30, 40, 50, 60, 75, 80, 90, 100, 120, 150, 200, 250, 300, 400, 500, 1000)
CHANCES = {"while": 0.7, "tolerance": 0.4, "number word": 0.15, "unit": 0.4, "polite": 0.2, "aside": 0.08, "typo": 0.1}
"""How often a number of actions and a tolerance are said, numbers are spelled out, and what else words have."""

COMMAS = 0.2
"""Share of large numbers that are written as 1,000."""

SHAPES = {"one": 0.45, "then": 0.2, "beside": 0.25, "rule": 0.06, "thrice": 0.04}
TURNED = 0.3
"""Share of two steps that are said in the other order, beside those that are by chance."""

EXAMPLES = 6
"""Goals that a language model is shown that was not trained."""

SHARE = 0.5
"""Share of the changes that are said in per cent, of those that are no new value."""

SHARES = (5, 8, 10, 12, 15, 20, 25, 30, 33, 40, 50, 60, 75, 80, 90, 100, 150, 200)
PER_CENT = (" %", "%", " percent", " per cent")

KINDS = {"reach": 0.4, "keep": 0.35, "optimize": 0.25}

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@dataclass(frozen=True)
class SchemaGoal:
    """A goal in words for a made-up world; implements `SpokenGoal`, and the scene shows all that it rests on."""

    schema: Schema
    text: str
    traits: tuple[str, ...]
    plan: Plan

    facts: tuple[str, ...] = ()

    @property
    def spec(self) -> WorldSpec:
        """Return what plans for the made-up world may say."""
        return self.schema.spec

    @property
    def scene(self) -> str:
        """Return what the made-up world shows."""
        return self.schema.scene

    @property
    def examples(self) -> tuple[tuple[str, str, str], ...]:
        """Few-shot examples for a language model that was not trained: (scene, goal, plan text), about other worlds."""
        return examples()

    def within(self, seen: Collection[str], met: Collection[str] = ()) -> SchemaGoal:
        """Return the goal: nothing is hidden."""
        return self

    def right(self, plan: Plan) -> bool:
        """Return whether a plan is the one that is meant, number for number."""
        return plan == self.plan


@dataclass(frozen=True)
class SchemaChange:
    """A change of one input of a made-up world in words, and as `agent.whatif` reads it: ``fuel_price up 20 %``."""

    inputs: tuple[str, ...]
    text: str
    change: str


def schema_change(split: Split, rng: np.random.Generator) -> SchemaChange:
    """Draw a world, a few of its variables as inputs that nobody controls, and a change of one of them."""
    return _Speaker(made_up(split, rng), rng).change()


def schema_goal(split: Split, rng: np.random.Generator, *, practice: bool = False) -> SchemaGoal:
    """Draw a world and a goal for it; for practice names are mixed, and what comes first is more often said last."""
    schema = made_up(split, rng, mix=practice)
    return _Speaker(schema, rng, turned=TURNED if practice else 0.0).goal()


def other_goal(goal: SchemaGoal, rng: np.random.Generator) -> SchemaGoal:
    """Draw another goal for the made-up world of one."""
    return _Speaker(goal.schema, rng).goal()


@functools.cache
def examples() -> tuple[tuple[str, str, str], ...]:
    """Return few-shot examples: (scene, goal, plan text)."""
    goals = [schema_goal("training", np.random.default_rng(seed)) for seed in range(EXAMPLES)]
    return tuple((goal.scene, goal.text, str(goal.plan)) for goal in goals)


def in_words(number: float) -> str | None:
    """Spell out a number that people would, else None: small ones, tens, hundreds, thousands, a half and a quarter."""
    if number < 0:
        return f"minus {said}" if (said := in_words(-number)) else None
    if number in (0.5, 0.25):
        return "half" if number == 0.5 else "a quarter"
    whole = int(number)
    if whole != number:
        return None
    if whole < 20:
        return _SMALL[whole]
    if whole < 100:
        return _TENS[whole // 10 - 2] + (f"-{_SMALL[whole % 10]}" if whole % 10 else "")
    if whole % 1000 == 0 and whole < 20_000:
        return f"{_SMALL[whole // 1000]} thousand"
    return f"{_SMALL[whole // 100]} hundred" if whole % 100 == 0 and whole < 1000 else None


class _Speaker:
    """Draws what is asked and says it."""

    def __init__(self, schema: Schema, rng: np.random.Generator, turned: float = 0.0) -> None:
        self.schema, self.rng, self.words, self.turned = schema, rng, vocabulary(schema.split), turned
        self.traits: set[str] = set()
        self._called: list[str] = []

    def goal(self) -> SchemaGoal:
        shape = self._pick(SHAPES)
        left = [self.schema.variables[i] for i in self.rng.permutation(len(self.schema.variables))]
        if shape == "thrice" and len(left) < 3:
            shape = "then"
        steps: list[str] = []
        if shape == "rule":
            step, text = self._rule(left[0])
            steps = [step]
        elif shape == "beside":
            asked, goal = self._asked(left[:-1])
            step, text = self._beside(left[-1], goal)
            steps = [step, asked]
            self.traits.add("beside")
        else:
            count = {"one": 1, "then": 2, "thrice": 3}[shape]
            parts = [self._asked(left if shape == "one" else [left[i]]) for i in range(count)]
            steps = [step for step, _ in parts]
            text = parts[0][1]
            if count > 1:
                texts = dict(zip("abc", (said for _, said in parts), strict=False))
                patterns = self.words[shape]
                if shape == "then" and self.turned and self.rng.random() < self.turned:
                    patterns = [p for p in patterns if p.index("{b}") < p.index("{a}")]
                text = draw(self.rng, patterns).format(**texts)
                self.traits.add("order")
        for trait in ("polite", "aside"):
            if self._has(trait):
                patterns = [
                    p for p in self.words[trait] if trait != "polite" or p.startswith("{g}") or self._commands(text)
                ]
                text = draw(self.rng, patterns).format(g=text)
                self.traits.add(trait)
        if self._has("typo"):
            text = mistyped(text, self.schema.split, self.rng)
            self.traits.add("typo")
        plan = self.schema.spec.parse_plan("\n".join(steps))
        return SchemaGoal(self.schema, text, tuple(sorted(self.traits)), plan)

    def change(self) -> SchemaChange:
        count = int(self.rng.integers(1, min(4, len(self.schema.variables)) + 1))
        inputs = [self.schema.variables[i] for i in self.rng.permutation(len(self.schema.variables))[:count]]
        named, how = draw(self.rng, inputs), draw(self.rng, ["up", "down", "to"])
        if how != "to" and self.rng.random() < SHARE:
            number = float(draw(self.rng, SHARES))
            amount, said = f"{_text(number)} %", f"{_text(number)}{draw(self.rng, PER_CENT)}"
        else:
            number = abs(self._number(named)) if how != "to" else self._number(named)
            amount, said = _text(number), self._amount(number, named)
        text = self._say(f"change_{how}", v=self._call(named), n=said)
        text = text if self._commands(text) else self._say("suppose", g=text)  # "what if set it to 3" nobody says
        return SchemaChange(tuple(n.name for n in inputs), text, f"{named.name} {how} {amount}")

    # ---- what is asked ---------------------------------------------------------------------------------------------

    def _asked(self, free: list[Named]) -> tuple[str, str]:
        """Return a step that is done at some time, and its words."""
        kind = self._pick(KINDS)
        return {"reach": self._reach, "keep": self._keep, "optimize": self._optimize}[kind](free)

    def _reach(self, free: list[Named]) -> tuple[str, str]:
        named = free[0]
        target = self._number(named)
        up = "up" if target > named.value else "down"
        form = up if target != named.value and self.rng.random() < 0.4 else "reach"
        text = self._say(form, v=self._call(named), n=self._amount(target, named))
        tolerance = 0.5 * 10.0 ** -_decimals(target)
        if self._has("tolerance"):
            tolerance = float(draw(self.rng, [1, 2, 3, 5])) * 10.0 ** -_decimals(target)
            text += self._say("tolerance", e=self._amount(tolerance, named))
        within, said = self._while("within")
        return f"reach({named.name}, {_text(target)} ± {_text(tolerance)}, within {within})", text + said

    def _keep(self, free: list[Named]) -> tuple[str, str]:
        named = free[0]
        if named.low < 0 < named.high and self.rng.random() < 0.4:
            high = self._number(named, below=min(-named.low, named.high))
            low, text = -high, self._say("centre", v=self._call(named), h=self._amount(high, named))
        else:
            low, high = self._range(named)
            text = self._between("keep", named, low, high)
        during, said = self._while("for")
        return f"keep({named.name}, {_text(low)}..{_text(high)}, for {during})", text + said

    def _optimize(self, free: list[Named]) -> tuple[str, str]:
        skill = draw(self.rng, ["maximize", "minimize"])
        names = [named.name for named in free]
        form = self._pick({"one": 0.6, "sum": 0.1, "difference": 0.1, "size": 0.1, "reward": 0.1})
        if form == "reward":
            skill, expression, words = "maximize", REWARD, REWARD
        elif form == "size" and free[0].low < 0:
            expression, words = f"abs({names[0]})", self._say("size", a=self._call(free[0]))
        elif form in ("sum", "difference") and len(free) > 1:
            expression = f"{names[0]} {'+' if form == 'sum' else '-'} {names[1]}"
            words = self._say(form, a=self._call(free[0]), b=self._call(free[1]))
        else:
            expression, words = names[0], self._call(free[0])
        during, said = self._while("for")
        return f"{skill}({expression}, for {during})", self._say(
            skill, v=words, w=re.sub("^(the|our|that) ", "", words)
        ) + said

    def _rule(self, named: Named) -> tuple[str, str]:
        """Return something to be avoided, said as a sentence."""
        form = self._pick({"over": 0.4, "under": 0.3, "outside": 0.2, "beyond": 0.1})
        if form == "beyond" and named.low < 0 < named.high:
            number = self._number(named, below=min(-named.low, named.high))
            text = self._say("beyond", v=self._call(named), n=self._amount(number, named))
            return f"avoid(abs({named.name}) > {_text(number)})", text
        if form == "outside":
            low, high = self._range(named)
            return _outside(named, low, high), self._between("outside", named, low, high)
        return self._limit(form if form == "under" else "over", "", named)

    def _beside(self, named: Named, goal: str) -> tuple[str, str]:
        """Return something to be avoided while a goal is pursued, said together with that."""
        form = self._pick({"rule": 0.5, "over": 0.2, "under": 0.1, "while": 0.2})
        if form == "rule":
            step, said = self._rule(named)
            return step, self._say("beside", g=goal, c=said)
        if form == "while":
            low, high = self._range(named)
            return _outside(named, low, high), f"{goal} {self._between('while', named, low, high)}"
        step, said = self._limit(form, "without_", named)
        return step, f"{goal} {said}"

    def _limit(self, side: str, prefix: str, named: Named) -> tuple[str, str]:
        number = self._number(named)
        text = self._say(prefix + side, v=self._call(named), n=self._amount(number, named))
        return f"avoid({named.name} {'>' if side == 'over' else '<'} {_text(number)})", text

    # ---- words and numbers -----------------------------------------------------------------------------------------

    def _say(self, pattern: str, **values: str) -> str:
        return str(draw(self.rng, self.words[pattern])).format(**values)

    def _between(self, pattern: str, named: Named, low: float, high: float) -> str:
        ends = {"l": self._amount(low, None), "h": self._amount(high, named)}
        return self._say(pattern, v=self._call(named), **ends)

    def _call(self, named: Named) -> str:
        words, trait = self.schema.call(named, self.rng)
        self._called.append(words)
        self.traits |= {trait} if trait else set()
        return words

    def _amount(self, number: float, named: Named | None) -> str:
        """Say a number, with the variable's unit now and then."""
        spelled = in_words(number) if self._has("number word") else None
        self.traits |= {"number word"} if spelled else set()
        unit = units().get(named.variable.unit) if named else None
        text = spelled or (f"{number:,.0f}" if number >= 1000 and self.rng.random() < COMMAS else _text(number))
        return f"{text} {draw(self.rng, unit)}" if unit and self.rng.random() < CHANCES["unit"] else text

    def _commands(self, text: str) -> bool:
        """Tell whether a text begins with a verb, so that "please" can stand before it."""
        return not text.startswith(tuple(self._called))

    def _while(self, pattern: str) -> tuple[int, str]:
        """Draw a number of actions; it is not said where it is the usual one."""
        if not self._has("while"):
            self.traits.add("default")
            return USUAL, ""
        number = int(draw(self.rng, WHILES))
        return number, self._say(pattern, k=self._amount(number, None))

    def _number(self, named: Named, below: float | None = None) -> float:
        """Draw a number of a variable's range, or a positive one below a bound, with as few digits as people say."""
        low, high = (0.0, below) if below is not None else (named.low, named.high)
        span = high - low
        grain = 10.0 ** np.floor(np.log10(span / 20)) * (5 if self.rng.random() < 0.3 else 1)
        steps = int(span // grain)
        return _rounded(low + grain * int(self.rng.integers(1, max(2, steps))))

    def _range(self, named: Named) -> tuple[float, float]:
        one, other = self._number(named), self._number(named)
        while one == other:
            other = self._number(named)
        return min(one, other), max(one, other)

    def _has(self, trait: str) -> bool:
        return bool(self.rng.random() < CHANCES[trait])

    def _pick(self, chances: dict[str, float]) -> str:
        return str(self.rng.choice(list(chances), p=list(chances.values())))


def _outside(named: Named, low: float, high: float) -> str:
    return f"avoid({named.name} < {_text(low)} or {named.name} > {_text(high)})"


def _rounded(number: float) -> float:
    return float(f"{number:.4f}")


def _text(number: float) -> str:
    return number_text(_rounded(number))


def _decimals(number: float) -> int:
    return len(_text(number).partition(".")[2])
