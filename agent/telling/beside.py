"""Imagination beside reality in a terminal: a strip of frames, what was imagined above what happened."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gedanken.agent.beside import Beside
from gedanken.agent.telling.draw import draw

FILES = "gedanken.agent.telling.pictures"
"""The module that draws it in files, and needs pillow for that."""

RIGHT, WRONG = "green3", "dark_orange3"


def strips(beside: Beside, width: int) -> Iterator[RenderableType]:
    """Yield rows of frames, as many beside each other as fit into `width` columns; wrong cells are marked."""
    spec = beside.world.spec
    fitting = max(1, (width - 10) // (2 * spec.grid.width + 2))
    for begin in range(0, len(beside.real), fitting):
        frames = range(begin, min(begin + fitting, len(beside.real)))
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_row("", *(Text(beside.caption(frame), style="bold") for frame in frames))
        wrong = beside.wrong
        for name, views in (("imagined", beside.imagined), ("really", beside.real)):
            drawn = (draw(spec, views[frame].tolist(), unsure=wrong[frame]) for frame in frames)
            row.add_row(Text(name, style="dim"), *drawn)
        row.add_row("", *(_count(int(wrong[frame].sum())) for frame in frames))
        yield row


def head(beside: Beside) -> RenderableType:
    """Say what is shown."""
    lines = [Text.assemble((beside.world.id, "bold"), f", seed {beside.seed}: {beside.mission}")]
    lines.append(Text.assemble("Actions of ", (beside.source, "cyan")))
    return Group(*lines)


def foot(beside: Beside) -> RenderableType:
    """Say how well it was imagined, and which steps were achieved."""
    lines = [Text(beside.summary())]
    for step, imagined, really in beside.reached:
        said = "" if imagined is None and beside.source == "the demonstrator" else f"imagined {_after(imagined)}, "
        lines.append(Text(f"{step}: {said}really {_after(really)}"))
    return Group(*lines)


def _after(actions: int | None) -> str:
    return "not achieved" if actions is None else f"achieved after {actions}"


def _count(wrong: int) -> Text:
    return Text(f"{wrong} wrong", style=WRONG) if wrong else Text("as imagined", style=RIGHT)
