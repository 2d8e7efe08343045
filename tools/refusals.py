"""Why something that was asked is not done, in words for the caller. Knows no protocol and no run."""

from __future__ import annotations

import logging

RETRY_AFTER = 5
"""Seconds after which a caller who was sent away may ask again."""

log = logging.getLogger("gedanken.runs")


class Refused(RuntimeError):
    """Something that was asked can't be done; the message says what to do instead."""


class Busy(Refused):
    """Too much goes on or waits already; `after` so many seconds there may be room."""

    def __init__(self, message: str, after: int = RETRY_AFTER) -> None:
        super().__init__(message)
        self.after = after


class Full(Busy):
    """Too many runs wait already: who stands in line may find room."""


class Asleep(Refused):
    """The agent is not there: it is still being loaded, or could not be."""


class UnknownRun(Refused):
    """No run has this id."""


def explained(error: BaseException) -> str:
    """Say an error to a caller: in its own words where they are meant for people, otherwise where to look."""
    if isinstance(error, Refused):
        return str(error)
    log.error("unexpected error", exc_info=error)
    return f"an unexpected error ({type(error).__name__}); the server's stderr says where it happened"
