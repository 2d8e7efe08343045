"""Imagined pictures beside real ones: in a terminal, two pixels a character, and as image files, which need pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gedanken.agent.footage import Footage
from gedanken.worlds.pictures import resized

if TYPE_CHECKING:
    from PIL import Image

WIDE = 24
"""Columns of a picture in a terminal."""

FILES = "gedanken.agent.telling.footage"
"""The module that draws it in files."""

FRAME_MS, LAST_MS = 200, 2000
ACROSS = 12
"""Most frames beside each other on a sheet."""


def head(footage: Footage) -> RenderableType:
    """Say what is shown."""
    about = Text.assemble((footage.world.id, "bold"), f", seed {footage.seed}")
    return Group(about, Text.assemble("Actions of ", (footage.plan.line(), "cyan")))


def foot(footage: Footage) -> RenderableType:
    """Say how well it was imagined, and which steps were achieved."""
    lines = [Text(footage.summary())]
    for step, imagined, really in footage.reached:
        lines.append(Text(f"{step}: imagined {_after(imagined)}, really {_after(really)}"))
    return Group(*lines)


def strips(footage: Footage, width: int) -> Iterator[RenderableType]:
    """Yield rows of frames, as many as fit into `width` columns; of many those that are as far apart as can be."""
    fitting = max(1, (width - 10) // (WIDE + 2))
    last = len(footage.real) - 1
    frames = sorted({round(last * part / max(1, 2 * fitting - 1)) for part in range(2 * fitting)})
    for begin in range(0, len(frames), fitting):
        row, shown = Table.grid(padding=(0, 2, 0, 0)), frames[begin : begin + fitting]
        row.add_row("", *(Text(footage.caption(frame), style="bold") for frame in shown))
        for name, pictures in (("imagined", footage.imagined), ("really", footage.real)):
            row.add_row(Text(name, style="dim"), *(blocks(pictures[frame]) for frame in shown))
        row.add_row("", *(Text(f"off by {footage.off[frame]:.2f}", style="dim") for frame in shown))
        yield row


def blocks(picture: NDArray[np.uint8]) -> Text:
    """Return a picture ``[size, size, 3]`` in half blocks, `WIDE` columns."""
    small, text = resized(picture, WIDE), Text()
    for upper, lower in zip(small[::2].tolist(), small[1::2].tolist(), strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", style=f"rgb({','.join(map(str, above))}) on rgb({','.join(map(str, below))})")
        text.append("\n")
    text.right_crop(1)
    return text


def sheet(footage: Footage, size: int = 96) -> bytes:
    """Return all frames as a PNG, each imagined one above the real one, `size` pixels wide."""
    from PIL import Image

    count, gap = len(footage.real), 4
    across, rows = min(count, ACROSS), -(-count // ACROSS)
    paper = Image.new("RGB", (across * (size + gap) + gap, rows * (2 * size + 4 * gap) + gap), "#14171a")
    for frame in range(count):
        x, y = gap + frame % across * (size + gap), gap + frame // across * (2 * size + 4 * gap)
        paper.paste(_image(footage.imagined[frame], size), (x, y))
        paper.paste(_image(footage.real[frame], size), (x, y + size + gap))
    return _bytes([paper], "PNG")


def film(footage: Footage, size: int = 192) -> bytes:
    """Return the frames one after the other as a GIF, the imagined one on the left, the real one on the right."""
    from PIL import Image

    pictures = []
    for imagined, real in zip(footage.imagined, footage.real, strict=True):
        both = Image.new("RGB", (2 * size + 8, size), "#14171a")
        both.paste(_image(imagined, size), (0, 0))
        both.paste(_image(real, size), (size + 8, 0))
        pictures.append(both)
    return _bytes(pictures, "GIF")


def _image(picture: NDArray[np.uint8], size: int) -> Image.Image:
    from PIL import Image

    return Image.fromarray(picture).resize((size, size), Image.Resampling.NEAREST)


def _bytes(pictures: list[Image.Image], kind: str) -> bytes:
    buffer, (first, *others) = io.BytesIO(), pictures
    if kind == "PNG":
        first.save(buffer, kind, optimize=True)
    else:
        times = [*[FRAME_MS] * len(others), LAST_MS]
        first.save(buffer, kind, save_all=True, append_images=others, duration=times, loop=0)
    return buffer.getvalue()


def _after(actions: int | None) -> str:
    return "not achieved" if actions is None else f"achieved after {actions}"
