"""What evaluations raise, and a guess at what was meant. Knows nothing else."""

import difflib
from collections.abc import Iterable


class EvalError(RuntimeError):
    """An evaluation can't be run as asked; the message says what to do."""


class RunError(EvalError):
    """A run folder can't be used; the message says what to do."""


def meant(word: str, known: Iterable[str]) -> str:
    """Return what was probably meant by a word that is not known, to be put behind an error; or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
