"""Arithmetic over named variables, evaluated on NumPy arrays or torch tensors alike; no text is ever executed.

`cos(th1) + 0.5 * speed[0]` is a number, `abs(x) < 2 and not v > 1` a condition. Python's parser reads the text, and a
walk over its tree refuses all but the few kinds of node that are listed here.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LONGEST = 300
"""Most characters of an expression."""

NO_WORDS: Mapping[str, Sequence[str]] = {}

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FUNCTIONS = {
    "abs": ("abs", 1),
    "atan2": ("atan2", 2),
    "cos": ("cos", 1),
    "exp": ("exp", 1),
    "log": ("log", 1),
    "max": ("maximum", 2),
    "min": ("minimum", 2),
    "sin": ("sin", 1),
    "sqrt": ("sqrt", 1),
    "tan": ("tan", 1),
}
"""What may be called: the name that NumPy and torch share, and the number of arguments."""


class ExpressionError(ValueError):
    """A text is no expression over the variables there are; the message says what is wrong with it."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression; `text` is its canonical spelling, `condition` tells a truth from a number."""

    text: str
    condition: bool
    names: frozenset[str]
    _tree: ast.expr = field(compare=False, repr=False)

    def __call__(self, values: Mapping[str, Any], xp: Any = np) -> Any:
        """Evaluate on arrays of one shape by name; `xp` is the module they come from, numpy or torch.

        Impossible arithmetic (a division by zero, the root of a negative number) gives infinities and NaN.
        """
        with np.errstate(all="ignore"):
            return _evaluate(self._tree, values, xp)


def parse(text: str, names: Collection[str], words: Mapping[str, Sequence[str]] = NO_WORDS) -> Expression:
    """Read an expression over the variables `names`. Raises ExpressionError that names what is not understood.

    `words` are those that a variable may be compared with, ``message == door_open``: the first stands for 0.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"an expression has at most {LONGEST} characters, this one has {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ExpressionError(f"{text!r} is no expression; write, for example, 2 * x + abs(y)") from error
    used: set[str] = set()
    spelling = ast.unparse(tree)
    tree = _Coded(frozenset(names), words).visit(tree)
    condition = _check(tree, frozenset(names), used)
    if not used:
        raise ExpressionError(f"{text!r} names no variable; there are {', '.join(sorted(names))}")
    return Expression(spelling, condition, frozenset(used), tree)


class _Coded(ast.NodeTransformer):
    """Puts a category's number where a word that a variable may say is compared with it."""

    def __init__(self, names: frozenset[str], words: Mapping[str, Sequence[str]]) -> None:
        self.names, self.words = names, words

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """Read ``variable == word`` and ``variable != word``."""
        match node:
            case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[ast.Name(id=word)]) if (
                known := self.words.get(_path(left) or "")
            ) and word not in self.names:
                if word not in known:
                    raise ExpressionError(f"{_path(left)} never says {word!r}; it says {', '.join(known)}")
                return ast.Compare(left, node.ops, [ast.Constant(list(known).index(word))])
        return node


def is_name(text: str) -> bool:
    """Tell whether a text can name a variable: `x`, `arm.speed`, `obs[0]`, and no function."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return False
    return _path(tree) == text and text not in FUNCTIONS


def _path(node: ast.expr) -> str | None:
    """Return the variable's name that a node spells, None where it spells none."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute(value=inner, attr=name) if (stem := _path(inner)) is not None:
            return f"{stem}.{name}"
        case ast.Subscript(value=inner, slice=ast.Constant(value=int(index))) if (stem := _path(inner)) is not None:
            return f"{stem}[{index}]"
    return None


def _check(node: ast.expr, names: frozenset[str], used: set[str]) -> bool:
    """Refuse what is not arithmetic, collect the variables, and return whether the node is a condition."""

    def demand(condition: bool, *parts: ast.expr) -> bool:
        for part in parts:
            if _check(part, names, used) is not condition:
                want = "a condition, such as x > 1" if condition else "a number"
                raise ExpressionError(f"{ast.unparse(part)!r} in {ast.unparse(node)!r} should be {want}")
        return condition

    name = _path(node)
    if name is not None:
        if name not in names:
            raise ExpressionError(f"no variable {name!r}; there are {', '.join(sorted(names))}")
        used.add(name)
        return False
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and abs(value) < 1e30:
            return False
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=inner):
            return demand(False, inner)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return demand(True, inner)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=2 | 3 | 4)):
            return demand(False, left)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return demand(False, left, right)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARE for op in ops):
            demand(False, left, *others)
            return True
        case ast.BoolOp(values=parts):
            return demand(True, *parts)
        case ast.Call(func=ast.Name(id=called), args=arguments, keywords=[]) if called in FUNCTIONS:
            if len(arguments) != FUNCTIONS[called][1]:
                raise ExpressionError(f"{called} takes {FUNCTIONS[called][1]} argument(s): {ast.unparse(node)!r}")
            return demand(False, *arguments)
    known = f"numbers, + - * /, ** 2 to 4, < <= > >= == !=, and or not, {' '.join(FUNCTIONS)}"
    raise ExpressionError(f"{ast.unparse(node)!r} is not understood; there are {known}")


def _evaluate(node: ast.expr, values: Mapping[str, Any], xp: Any) -> Any:
    def of(part: ast.expr) -> Any:
        return _evaluate(part, values, xp)

    name = _path(node)
    if name is not None:
        return values[name]
    match node:
        case ast.Constant(value=number):
            return xp.asarray(number, dtype=xp.float64)
        case ast.UnaryOp(op=op, operand=inner):
            return ~of(inner) if isinstance(op, ast.Not) else -of(inner) if isinstance(op, ast.USub) else of(inner)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=power)):
            return of(left) ** power
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](of(left), of(right))
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [of(left), *map(of, others)]
            truths = [_COMPARE[type(op)](a, b) for op, a, b in zip(ops, sides[:-1], sides[1:], strict=True)]
            return _joined(operator.and_, truths)
        case ast.BoolOp(op=op, values=parts):
            return _joined(operator.and_ if isinstance(op, ast.And) else operator.or_, [of(part) for part in parts])
        case ast.Call(func=ast.Name(id=called), args=arguments):
            return getattr(xp, FUNCTIONS[called][0])(*map(of, arguments))
    raise AssertionError(f"checked, but not evaluated: {ast.dump(node)}")


def _joined(join: Callable[[Any, Any], Any], truths: list[Any]) -> Any:
    result = truths[0]
    for truth in truths[1:]:
        result = join(result, truth)
    return result
