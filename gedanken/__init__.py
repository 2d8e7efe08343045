"""Gedanken: a planning agent that rehearses its plans in a learned world model before it acts.

The public names are loaded when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Agent": "gedanken.agent.agent",
    "ImaginedEnv": "gedanken.worldmodel.imagined",
    "LoopConfig": "gedanken.agent.config",
    "Outcome": "gedanken.agent.events",
    "gedanken_graph": "gedanken.tools.langchain",
    "gedanken_tool": "gedanken.tools.langchain",
    "load_world": "gedanken.agent.loading",
    "open_agent": "gedanken.agent.loading",
}
__all__ = [  # noqa: F822
    "Agent",
    "ImaginedEnv",
    "LoopConfig",
    "Outcome",
    "gedanken_graph",
    "gedanken_tool",
    "load_world",
    "open_agent",
]


def __getattr__(name: str) -> Any:
    """Load a public name. Raises AttributeError for any other."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
