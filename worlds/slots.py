"""The arguments of objective skills as text: read into one canonical spelling, and as rules of a Lark grammar.

A form is what an argument looks like: `target` is ``0.5 ± 0.1``, `range` is ``-1..1``, `within` is ``within 50``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

from gedanken.worlds.expressions import NO_WORDS, ExpressionError, parse

Form = Literal["variable", "target", "range", "within", "for", "expression", "condition"]
FORMS: tuple[Form, ...] = get_args(Form)

LONGEST_WHILE = 9999
"""Most actions that a step may take or last."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
_LARK_COUNT = "/[1-9][0-9]{0,3}/"
LARK_AMOUNT = r"(0|[1-9][0-9]{0,4})(\.[0-9]{1,4})?"
"""What a number without its sign looks like in a grammar."""


def number_text(value: float) -> str:
    """Return the shortest spelling of a number that reads back as the same one."""
    return repr(float(value) + 0.0).removesuffix(".0")


def read_numbers(form: Form, text: str) -> tuple[float, ...]:
    """Read what a numeric form holds: (target, tolerance), (low, high), (actions,). Raises ExpressionError."""
    patterns = {
        "target": rf"({_NUMBER})\s*(?:±|\+-|\+/-)\s*({_NUMBER})",
        "range": rf"({_NUMBER})\s*\.\.\s*({_NUMBER})",
        "within": r"within (\d+)",
        "for": r"for (\d+)",
    }
    examples = {"target": "0.5 ± 0.1", "range": "-0.2..0.2", "within": "within 50", "for": "for 300"}
    found = re.fullmatch(patterns[form], text.strip())
    numbers = tuple(float(part) for part in found.groups()) if found else ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ExpressionError(f"{text!r} should look like {examples[form]!r}")
    if form == "target" and numbers[1] < 0:
        raise ExpressionError(f"the tolerance in {text!r} is negative")
    if form in ("within", "for") and not 1 <= numbers[0] <= LONGEST_WHILE:
        raise ExpressionError(f"{text!r}: choose from 1 to {LONGEST_WHILE} actions")
    return (min(numbers), max(numbers)) if form == "range" else numbers


def read(form: Form, text: str, names: Collection[str], words: Mapping[str, Sequence[str]] = NO_WORDS) -> str:
    """Return the canonical spelling of an argument over the variables `names`. Raises ExpressionError.

    `words` are what variables may be compared with, see `expressions.parse`.
    """
    if form == "variable":
        if text.strip() not in names:
            raise ExpressionError(f"no variable {text.strip()!r}; there are {', '.join(sorted(names))}")
        return text.strip()
    if form in ("expression", "condition"):
        expression = parse(text, names, words)
        if expression.condition is not (form == "condition"):
            example = "x > 2 or abs(y) > 1" if form == "condition" else "2 * x - abs(y)"
            raise ExpressionError(f"{text!r} is no {form}; write, for example, {example}")
        return expression.text
    numbers = [number_text(number) for number in read_numbers(form, text)]
    return {"target": " ± ".join(numbers), "range": "..".join(numbers)}.get(form) or f"{form} {numbers[0]}"


def rules(names: Sequence[str], words: Mapping[str, Sequence[str]] = NO_WORDS) -> list[str]:
    """Return Lark rules, one for each form, over the variables `names`; numbers and expressions are bounded."""
    quoted = " | ".join(f'"{name}"' for name in names)
    said = [f'"{name}" (" == " | " != ") ({" | ".join(map(_quoted, own))})' for name, own in words.items()]
    return [
        f"variable: {quoted}",
        f"amount: /{LARK_AMOUNT}/",
        f"number: /-?{LARK_AMOUNT}/",
        f"count: {_LARK_COUNT}",
        'target: number " ± " amount',
        rf"range: /-?{LARK_AMOUNT}\.\.-?{LARK_AMOUNT}/",  # one terminal: in "1..2" a lexer would read on after "1."
        'within: "within " count',
        'for: "for " count',
        'factor: variable | "abs(" variable ")"',
        'term: "-"? (amount " * ")? factor',
        'expression: term ((" + " | " - ") (amount " * ")? factor){0,2}',
        " | ".join(['comparison: factor (" < " | " <= " | " > " | " >= ") number', *said]),
        'condition: comparison ((" and " | " or ") comparison){0,2}',
    ]


def _quoted(word: str) -> str:
    return f'"{word}"'
