"""What if an input that nobody controls were another? The same plan in the same futures, with the change and without.

Futures are compared one by one: each keeps to its member of the ensemble, and to the same chance until one ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from gedanken.agent.goals import check_goal
from gedanken.agent.llm.protocol import training_of
from gedanken.agent.spelling import mended
from gedanken.agent.verdict import Verdict
from gedanken.prompts import STOP, render
from gedanken.worlds.slots import LARK_AMOUNT
from gedanken.worlds.spec import Plan, SpecError, WorldSpec

if TYPE_CHECKING:
    from torch import Tensor

    from gedanken.agent.agent import Agent
    from gedanken.agent.llm.protocol import Completion, LanguageModel
    from gedanken.agent.session import Session
    from gedanken.worldmodel.rehearse import Rehearsal

Z95 = 1.959963984540054

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
_EXACT = re.compile(rf"(?P<name>[^\s=*+/-]+)\s*(?P<how>[=*+/-])\s*(?P<number>{_NUMBER})")
_SAID = re.compile(rf"(?P<name>\S+) (?P<how>up|down|to) (?P<number>{_NUMBER})(?P<share> %)?")

EXAMPLES = (
    ("gravity is 20 % stronger", "gravity up 20 %"),
    ("the price falls by 5", "price down 5"),
    ("what if the friction were 0.3", "friction to 0.3"),
    ("demand is 35 percent lower", "demand down 35 %"),
    ("the wind blows at 12", "wind to 12"),
    ("the load is 2.5 higher than now", "load up 2.5"),
)
"""Words, and the change that they mean; the number is always one that is in the words."""


class Supposed(BaseModel):
    """An exogenous variable as it is and as it is supposed to be, in its unit; `beyond` what was ever learned from."""

    model_config = ConfigDict(frozen=True)

    name: str
    now: float
    then: float
    beyond: bool


class Shift(BaseModel):
    """A number with and without the change; the difference with its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    name: str
    unit: str
    now: float
    then: float
    change: float
    low: float
    high: float


class Compared(BaseModel):
    """A plan's prospects as things are and as supposed: verdicts, the share carried out, numbers where futures end."""

    model_config = ConfigDict(frozen=True)

    supposed: list[Supposed]
    plan: str
    now: Verdict
    then: Verdict
    carried_out: Shift
    ends: list[Shift]


@dataclass(frozen=True)
class Grounding:
    """What a language model took words to mean: a change that `read` understands, and its log-probability in nats."""

    change: str
    log_probability: float


def read(spec: WorldSpec, text: str, now: Mapping[str, float]) -> list[Supposed] | None:
    """Read ``outside = 2``, ``outside * 0.8`` or ``outside down 20 %``; several are parted by commas.

    None for a text of another form. Raises SpecError for what is no exogenous variable, and no finite number.
    """
    found = [_EXACT.fullmatch(part.strip()) or _SAID.fullmatch(part.strip()) for part in text.split(",")]
    matches = [match for match in found if match]
    if len(matches) < len(found):
        return None
    supposed = [_supposed(spec, match, now) for match in matches]
    names = [one.name for one in supposed]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"{', '.join(twice)} can be supposed to be one thing only; leave the others out")
    return supposed


def _supposed(spec: WorldSpec, match: re.Match[str], now: Mapping[str, float]) -> Supposed:
    name, number = match["name"], float(match["number"])
    if name not in spec.exogenous:
        known = ", ".join(spec.exogenous) or "none"
        raise SpecError(f"{spec.name} has no exogenous variable {name!r}; it has {known}")
    value = now[name]
    amount = abs(value) * number / 100 if match.groupdict().get("share") else number
    if match["how"] == "/" and not number:
        raise SpecError(f"{match[0]!r} divides by zero")
    then = {
        "=": lambda: number,
        "to": lambda: number,
        "*": lambda: value * number,
        "/": lambda: value / number,
        "+": lambda: value + number,
        "-": lambda: value - number,
        "up": lambda: value + amount,
        "down": lambda: value - amount,
    }[match["how"]]()
    if not math.isfinite(then):
        raise SpecError(f"{match[0]!r} makes {name} {then}; it must be a finite number")
    [variable] = [v for v in spec.vector.variables if v.name == name]
    outside = (variable.low is not None and then < variable.low) or (variable.high is not None and then > variable.high)
    return Supposed(name=name, now=value, then=then, beyond=outside)


def grammar(names: Sequence[str]) -> str:
    """Return a Lark grammar of a change in words: which variable, up, down or to, how much, in per cent or not."""
    which = " | ".join(f'"{name}"' for name in names)
    return (
        f'start: name " " how " " number share? "\\n"\nname: {which}\nhow: "up" | "down" | "to"\n'
        f'number: /-?{LARK_AMOUNT}/\nshare: " %"\n'
    )


def ground(spec: WorldSpec, llm: LanguageModel, words: str, seed: int = 0) -> Grounding:
    """Have a language model say which change words mean. Raises SpecError for a world without inputs, and LLMError."""
    if not spec.exogenous:
        raise SpecError(f"{spec.name} has no exogenous variable, so nothing can be supposed; an adapter may name some")
    best = ask(spec.exogenous, llm, words, seed)
    return Grounding(best.text.strip(), best.log_probability)


def ask(inputs: Sequence[str], llm: LanguageModel, words: str, seed: int = 0) -> Completion:
    """Ask a language model which change of which input words mean. Raises LLMError."""
    training = training_of(llm)
    taught = training is not None and training.supposes
    prompt = whatif_prompt(inputs, words, () if taught else EXAMPLES)
    [[best, *_]] = llm.complete(
        [prompt], n=1, grammar=grammar(inputs), temperature=0.0, max_tokens=32, stop=STOP, seed=seed
    )
    return best


def whatif_prompt(inputs: Sequence[str], words: str, examples: Sequence[tuple[str, str]] = ()) -> str:
    """Return the prompt that asks which change of which input words mean; one that was taught needs no examples.

    Its slips are mended, as in goals.
    """
    words = words if examples else mended(words, " ".join(inputs))
    return render("whatif", examples=examples, inputs=inputs, words=words)


def understand(
    spec: WorldSpec, llm: LanguageModel, words: str, now: Mapping[str, float], seed: int = 0
) -> tuple[str, list[Supposed]]:
    """Return the change that is meant, as `read` takes it, and what it supposes; words go to the language model.

    Raises GoalError for words that are too many, SpecError for what can't be supposed, and LLMError.
    """
    if (supposed := read(spec, words, now)) is not None:
        return words, supposed
    meant = ground(spec, llm, check_goal(words), seed).change
    if (supposed := read(spec, meant, now)) is None:
        raise SpecError(f"{words!r} was taken as {meant!r}, which says nothing; write it as `{spec.exogenous[0]} = 2`")
    return meant, supposed


def inputs_now(session: Session) -> dict[str, float]:
    """Return the exogenous variables as they are."""
    field = session.world.spec.vector
    return {v.name: float(x) for v, x in zip(field.variables, session.view, strict=True) if v.exogenous}


def compare(
    agent: Agent,
    session: Session,
    plan: Plan,
    supposed: Sequence[Supposed],
    watch: Callable[[Tensor], None] | None = None,
    practising: Callable[[str], None] | None = None,
) -> Compared:
    """Rehearse a plan as things are and as supposed, from here; `watch` sees both.

    `practising` hears of every step that has to be practised first. Raises SpecError for one future.
    """
    inputs = {one.name: one.then for one in supposed}
    config, actor = agent.config, agent.trained.actor
    if config.samples < 2:
        raise SpecError("a comparison needs 2 futures at least; raise --samples")
    session.imagine_goal()
    for step in actor.prepare([plan]):
        if practising:
            practising(step)

    def rehearse(inputs: Mapping[str, float] | None) -> Rehearsal:
        return actor.rehearse(
            session.belief,
            [plan],
            [0],
            samples=config.samples,
            horizon=config.horizon,
            standstill=config.standstill,
            seed=config.seed,
            inputs=inputs,
            watch=watch,
        )

    rehearsals = rehearse(None), rehearse(inputs)
    now, then = (agent.critic.judge("", rehearsal, agent.world.describe)[0] for rehearsal in rehearsals)
    done = [rehearsal.success[0].numpy().astype(np.float64) for rehearsal in rehearsals]
    field = agent.world.spec.vector
    ends = [field.values(rehearsal.ends[0].double().numpy(), np.zeros(len(done[0]))) for rehearsal in rehearsals]
    units = {variable.name: variable.unit for variable in field.variables}
    shown = [name for name in field.names[:-1] if name not in inputs]
    return Compared(
        supposed=list(supposed),
        plan=str(plan),
        now=now,
        then=then,
        carried_out=_share(*done),
        ends=[_mean(name, units.get(name, ""), *(np.asarray(end[name], np.float64) for end in ends)) for name in shown],
    )


def _share(now: NDArray[np.float64], then: NDArray[np.float64]) -> Shift:
    """Compare shares of the same futures: Bonett and Price's adjusted Wald interval for paired proportions (2012)."""
    n = len(now)
    lost, won = (float(((one == 1) & (other == 0)).sum()) for one, other in ((now, then), (then, now)))
    up, down = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    half = Z95 * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(-1.0, up - down - half), min(1.0, up - down + half)
    change = (won - lost) / n
    return Shift(name="carried out", unit="", now=now.mean(), then=then.mean(), change=change, low=low, high=high)


def _mean(name: str, unit: str, now: NDArray[np.float64], then: NDArray[np.float64]) -> Shift:
    """Compare means over the same futures, by the normal interval of their differences."""
    difference = then - now
    change, half = float(difference.mean()), Z95 * float(difference.std(ddof=1)) / math.sqrt(len(now))
    return Shift(
        name=name,
        unit=unit,
        now=float(now.mean()),
        then=float(then.mean()),
        change=change,
        low=change - half,
        high=change + half,
    )


def told(compared: Compared) -> list[str]:
    """Say a comparison in lines."""
    lines = []
    for one in compared.supposed:
        lines.append(f"{one.name} {one.now:.4g} → {one.then:.4g}")
        if one.beyond:
            lines[-1] += " (beyond the range that was learned from: the world model can only guess)"
    share = compared.carried_out
    lines.append(f"plan: {' → '.join(compared.plan.split(chr(10)))}")
    lines.append(
        f"carried out in {share.now:.0%} of {compared.now.futures} futures → {share.then:.0%}"
        f" ({100 * share.change:+.0f} points, 95 % interval {100 * share.low:+.0f} to {100 * share.high:+.0f})"
    )
    lines.append(f"success {compared.now.success:.0%} → {compared.then.success:.0%}; then: {compared.then.reasons}")
    for shift in compared.ends:
        unit = f" {shift.unit}" if shift.unit else ""
        lines.append(
            f"{shift.name} in the end {shift.now:.4g} → {shift.then:.4g}{unit}"
            f" ({shift.change:+.3g}, {shift.low:+.3g} to {shift.high:+.3g})"
        )
    return lines
