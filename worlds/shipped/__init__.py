"""Worlds that are known already: adapters by name, for Gymnasium's own environments and for two that lie here.

Whoever adds CartPole-v1 gets its numbers by name. `highway` and `motor` have checkpoints, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from gedanken.worlds.adapter import Adapter, read_adapter

_FOLDER = Path(__file__).parent


@cache
def shipped_adapters() -> Mapping[str, Adapter]:
    """Return the adapters that ship, by the worlds' ids."""
    return {path.stem: read_adapter(path) for path in sorted(_FOLDER.glob("*.toml"))}
