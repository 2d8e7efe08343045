"""Dreams that callers live in: bounded in number, and each in how long nobody asks for it. Knows no protocol."""

from __future__ import annotations

import math
import secrets
import threading
import time
from dataclasses import dataclass

from gedanken.agent.dreaming import Dreaming, Moment
from gedanken.tools.answers import Dream
from gedanken.tools.refusals import Busy, Refused

MOST_DREAMS = 16
"""Dreams that are kept at a time."""

IDLE = 600.0
"""Seconds after which a dream that nobody asked for is over."""


class Unclear(Refused):
    """What a dream should hold names nothing here; that is known only when a language model was asked."""


class UnknownDream(Refused):
    """No dream has this id."""


@dataclass
class _Kept:
    dreaming: Dreaming
    used: float


class Dreams:
    """The dreams of a server, `most` at a time, each for `idle` seconds after it was last asked for."""

    def __init__(self, most: int = MOST_DREAMS, idle: float = IDLE) -> None:
        self._most, self._idle = most, idle
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def check_room(self) -> None:
        """Raise Busy where no further dream can be kept."""
        with self._lock:
            self._check_room()

    def keep(self, dreaming: Dreaming) -> str:
        """Keep a dream; return its id. Raises Busy."""
        with self._lock:
            self._check_room()
            id = secrets.token_hex(8)
            self._kept[id] = _Kept(dreaming, time.monotonic())
            return id

    def find(self, id: str) -> Dreaming:
        """Return a dream, which counts as asking for it. Raises UnknownDream."""
        with self._lock:
            kept = self._known(id)
            kept.used = time.monotonic()
            return kept.dreaming

    def end(self, id: str) -> Dreaming:
        """Forget a dream and return it. Raises UnknownDream."""
        with self._lock:
            kept = self._known(id)
            del self._kept[id]
            return kept.dreaming

    def _known(self, id: str) -> _Kept:
        self._forget()
        if id not in self._kept:
            raise UnknownDream(
                f"no dream has the id {id[:40]!r}; one that nobody asks for ends after {self._idle:.0f} s:"
                " begin another with generate"
            )
        return self._kept[id]

    def _check_room(self) -> None:
        self._forget()
        if len(self._kept) >= self._most:
            after = self._idle - time.monotonic() + min(kept.used for kept in self._kept.values())
            raise Busy(
                f"{self._most} dreams go on already; end one, or ask again when one has ended by itself",
                max(1, math.ceil(after)),
            )

    def _forget(self) -> None:
        oldest = time.monotonic() - self._idle
        self._kept = {id: kept for id, kept in self._kept.items() if kept.used > oldest}


def told(id: str | None, dreaming: Dreaming, moments: list[Moment] | None = None) -> Dream:
    """Return a dream in plain values, with its moments since the last answer, or just the present one."""
    return Dream(
        dream_id=id,
        world=dreaming.env.world.id,
        there=dreaming.there,
        actions=list(dreaming.spec.action_names),
        taken=dreaming.env.taken,
        moments=moments or [dreaming.now],
        over=dreaming.now.over,
    )
