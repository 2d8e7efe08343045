"""Suites of one's own, named by their file: `my_suite.toml`, `my_suite.py` or `my_suite.py:Name`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from gedanken.evals.errors import EvalError
from gedanken.evals.suite import Suite
from gedanken.evals.suite_file import read_suite

Make = Callable[..., Suite]
"""Makes a suite of all its tasks, or of those given."""

METHODS = ("count", "measure", "summarise", "tables")
ATTRIBUTES = ("name", "default_limit", "arms", "tasks", "clocks", "measures")


def is_file(reference: str) -> bool:
    """Tell whether a suite's name is a file's."""
    return split(reference)[0].suffix in (".toml", ".py")


def split(reference: str) -> tuple[Path, str]:
    """Return a reference's file, and the name after the colon or nothing."""
    path, colon, name = reference.rpartition(":")
    return (Path(path), name) if colon and path.endswith(".py") else (Path(reference), "")


def own_suite(reference: str) -> Make:
    """Return how to make the suite of a file. Raises EvalError for what is none, naming what it lacks.

    A Python file is executed, as any program that one starts.
    """
    path, name = split(reference)
    if path.suffix == ".toml":
        return read_suite(path)
    found = _suites(_module(path))
    if name and name not in found:
        raise EvalError(f"{path} has no suite {name!r}; there are {', '.join(found) or 'none'}")
    if not name and len(found) != 1:
        what = f"several suites; name one, as in {path}:{next(iter(found))}" if found else _none()
        raise EvalError(f"{path} has {what}" + (f" (there are {', '.join(found)})" if found else ""))
    kind = found[name or next(iter(found))]

    def make(tasks: Sequence[str] | None = None) -> Suite:
        try:
            suite: Suite = kind() if tasks is None else kind(tasks)
        except TypeError as error:
            raise EvalError(f"{path}: {kind.__name__} must take no argument, or its tasks ({error})") from error
        if missing := [attribute for attribute in ATTRIBUTES if not hasattr(suite, attribute)]:
            raise EvalError(f"{path}: {kind.__name__} has no {', '.join(missing)}; see docs/evals.md")
        return suite

    return make


def _module(path: Path) -> ModuleType:
    name = f"gedanken_suite_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise EvalError(f"{path}: no such file; name a suite, or a file that describes one")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever somebody's file does wrong, it is said where
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        where = f", line {line}" if line else ""
        alone = "; a run keeps this file alone, so put what it imports into it, or into a package that is installed"
        why = alone if isinstance(error, ModuleNotFoundError) else ""
        raise EvalError(f"{path}{where}: {type(error).__name__}: {error}{why}") from error
    return module


def _suites(module: ModuleType) -> dict[str, type]:
    kinds = inspect.getmembers(module, inspect.isclass)
    own = {name: kind for name, kind in kinds if kind.__module__ == module.__name__ and not name.startswith("_")}
    return {name: kind for name, kind in own.items() if all(hasattr(kind, method) for method in METHODS)}


def _none() -> str:
    return f"no suite: a class with {', '.join((*ATTRIBUTES, *METHODS))}; see docs/evals.md"
