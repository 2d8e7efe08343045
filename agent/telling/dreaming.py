"""A dream as people see it: the imagined view beside the map of it, unsure cells marked; and in words."""

from __future__ import annotations

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gedanken.agent.dreaming import Dreaming, Moment
from gedanken.agent.telling.draw import draw, draw_known

UNSURE = 0.1
"""Nats of disagreement on a cell from which it is marked."""


def picture(dreaming: Dreaming, below: str) -> RenderableType:
    """Return the view, the map of what has been seen in the dream, and a line below."""
    spec, now = dreaming.spec, dreaming.now
    both = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 4, 0, 0))
    both.add_column("imagined view", no_wrap=True)
    both.add_column("seen so far", no_wrap=True)
    both.add_row(draw(spec, now.view, unsure=np.array(now.doubts) > UNSURE), draw_known(spec, *dreaming.env.known()))
    whole = Table.grid()
    whole.add_row(both)
    whole.add_row(Text(said(now)))
    whole.add_row(Text(below, style="dim"))
    return whole


def said(now: Moment) -> str:
    """Say what is seen, and whether the model is unsure of it."""
    doubt = now.disagreement
    return f"{now.sees} The model is unsure of this ({doubt:.2f} nats)." if doubt > UNSURE else now.sees
