"""A dream as people see it: the imagined view beside the map of it, unsure cells marked; and in words."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gedanken.agent.telling.draw import draw, draw_known
from gedanken.worldmodel.imagined import ImaginedEnv
from gedanken.worlds.protocol import Observation

UNSURE = 0.1
"""Nats of disagreement on a cell from which it is marked."""


def picture(env: ImaginedEnv, view: Observation, info: dict[str, Any], below: str) -> RenderableType:
    """Return the view, the map of what has been seen in the dream, and a line below."""
    spec = env.world.spec
    both = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 4, 0, 0))
    both.add_column("imagined view", no_wrap=True)
    both.add_column("seen so far", no_wrap=True)
    both.add_row(draw(spec, view.tolist(), unsure=info["doubts"] > UNSURE), draw_known(spec, *env.known()))
    whole = Table.grid()
    whole.add_row(both)
    whole.add_row(Text(said(env, view, info)))
    whole.add_row(Text(below, style="dim"))
    return whole


def said(env: ImaginedEnv, view: Observation, info: dict[str, Any]) -> str:
    """Say what is seen, and whether the model is unsure of it."""
    scene = env.world.describe(view, env.world.spec.grid.agent)
    doubt = info["disagreement"]
    return f"{scene} The model is unsure of this ({doubt:.2f} nats)." if doubt > UNSURE else scene
