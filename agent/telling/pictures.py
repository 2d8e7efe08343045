"""Imagination beside reality as pictures: all frames on one sheet, or one after the other. Needs pillow."""

from __future__ import annotations

import io
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gedanken.agent.beside import Beside
from gedanken.worlds.protocol import Observation
from gedanken.worlds.spec import SpecError, WorldSpec

PAPER, INK, QUIET, RULE = "#14171a", "#e6e8ea", "#9aa4ae", "#30363c"
HIDDEN, WRONG, RIGHT = (30, 34, 38), "#ff8a3d", "#5fb878"
FRAME_MS, FIRST_MS, LAST_MS = 450, 1200, 2500
COLUMNS = 8
"""Most frames beside each other on a sheet."""


@runtime_checkable
class Tiled(Protocol):
    """A world that draws its cells."""

    def tile(self, cell: NDArray[np.uint8], size: int, *, agent: bool = False) -> NDArray[np.uint8]:
        """Draw one cell of a view, ``[size, size, 3]``."""
        ...


def sheet(beside: Beside, size: int = 18) -> bytes:
    """Return all frames as a PNG, what was imagined above what happened; cells are `size` pixels, wrong ones framed.

    Raises SpecError for a world that does not draw its cells.
    """
    spec, count = beside.world.spec, len(beside.real)
    wide, high = spec.grid.width * size, spec.grid.height * size
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    left, top, across, down = 96, 110, wide + 16, 2 * high + 64
    picture = Image.new("RGB", (max(left + columns * across + 8, 760), top + rows * down + 8), PAPER)
    pen = ImageDraw.Draw(picture)
    _head(pen, beside, 20)
    _write(pen, (20, 72), _plain(beside.summary()), 15, QUIET, picture.width - 40)
    for frame in range(count):
        x, y = left + frame % columns * across, top + frame // columns * down
        if frame % columns == 0:
            for name, middle in (("imagined", y + 22 + high // 2), ("really", y + 28 + high + high // 2)):
                pen.text((left - 14, middle), name, INK if name == "really" else QUIET, _font(14), anchor="rm")
        wrong = int(beside.wrong[frame].sum())
        pen.text((x, y + 2), beside.caption(frame), INK, _font(14))
        for views, at in ((beside.imagined, y + 22), (beside.real, y + 28 + high)):
            picture.paste(_view(beside, views[frame], frame, size), (x, at))
        words = f"{wrong} wrong" if wrong else "as imagined"
        pen.text((x, y + 32 + 2 * high), words, WRONG if wrong else RIGHT, _font(13))
    return _bytes(picture, "PNG")


def film(beside: Beside, size: int = 44) -> bytes:
    """Return the frames one after the other as a GIF, imagined and real beside each other, the errors so far below.

    Raises SpecError for a world that does not draw its cells.
    """
    count = len(beside.real)
    times = [FIRST_MS, *[FRAME_MS] * (count - 2), LAST_MS][:count]
    pictures = [_moment(beside, frame, size).quantize(128) for frame in range(count)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0, optimize=False)
    return buffer.getvalue()


def _moment(beside: Beside, frame: int, size: int) -> Image.Image:
    """Draw one frame of a film."""
    spec, margin, gap, top = beside.world.spec, 24, 28, 128
    wide, high = spec.grid.width * size, spec.grid.height * size
    picture = Image.new("RGB", (2 * wide + gap + 2 * margin, top + high + 116), PAPER)
    pen = ImageDraw.Draw(picture)
    _head(pen, beside, margin)
    step = beside.steps[frame - 1] if frame else beside.steps[0] if beside.steps else ""
    _write(pen, (margin, 70), step, 17, INK, picture.width - 2 * margin)
    for name, views, x in (("imagined", beside.imagined, margin), ("really", beside.real, margin + wide + gap)):
        pen.text((x, top - 8), name, QUIET, _font(16), anchor="ls")
        picture.paste(_view(beside, views[frame], frame, size), (x, top))
    y = top + high + 14
    wrong, visible = (int(cells[frame].sum()) for cells in (beside.wrong, beside.visible))
    pen.text((margin, y), beside.caption(frame), INK, _font(18))
    said = f"{wrong} of {visible} cells in sight are wrong" if wrong else f"all {visible} cells in sight as imagined"
    pen.text((picture.width - margin, y), said, WRONG if wrong else RIGHT, _font(18), anchor="ra")
    _progress(pen, beside, frame, (margin, y + 36, picture.width - margin, y + 86))
    return picture


def _progress(pen: ImageDraw.ImageDraw, beside: Beside, now: int, box: tuple[int, int, int, int]) -> None:
    """Draw a bar for each frame up to now: how many of its cells are wrong; a green dot where none is."""
    left, top, right, bottom = box
    share = beside.wrong.sum((1, 2)) / np.maximum(beside.visible.sum((1, 2)), 1)
    each = (right - left) / len(share)
    pen.line((left, bottom, right, bottom), RULE, 2)
    for frame, wrong in enumerate(share[: now + 1].tolist()):
        x1, x2 = left + frame * each, left + (frame + 1) * each - max(1.0, each * 0.15)
        if wrong:
            pen.rectangle((x1, bottom - max(3, wrong * (bottom - top)), x2, bottom), WRONG)
        else:
            pen.rectangle((x1, bottom - 2, x2, bottom), RIGHT)
    x = left + (now + 0.5) * each
    pen.polygon((x - 5, bottom + 10, x + 5, bottom + 10, x, bottom + 3), INK)


def _view(beside: Beside, view: Observation, frame: int, size: int) -> Image.Image:
    """Draw a view, what is out of sight blank, and frame the cells that were imagined wrong."""
    world, spec = beside.world, beside.world.spec
    if not isinstance(world, Tiled):
        raise SpecError(f"world {world.id!r} does not draw its cells (`tile`), so there is no picture of it")
    tiles = [
        [_tile(world, spec, view, (row, column), size) for column in range(spec.grid.width)]
        for row in range(spec.grid.height)
    ]
    drawn = Image.fromarray(np.concatenate([np.concatenate(line, 1) for line in tiles], 0))
    pen, thick = ImageDraw.Draw(drawn), max(2, size // 12)
    for row, column in np.argwhere(beside.wrong[frame]).tolist():
        x, y = column * size, row * size
        pen.rectangle((x, y, x + size - 1, y + size - 1), outline=WRONG, width=thick)
    return drawn


def _tile(world: Tiled, spec: WorldSpec, view: Observation, place: tuple[int, int], size: int) -> NDArray[np.uint8]:
    agent = place == spec.grid.agent
    if view[place][0] == spec.grid.hidden and not agent:
        return np.full((size, size, 3), HIDDEN, np.uint8)
    return world.tile(view[place], size, agent=agent)


def _head(pen: ImageDraw.ImageDraw, beside: Beside, x: int) -> None:
    width = pen.im.size[0] - 2 * x
    _write(pen, (x, 14), f"{beside.world.id}, seed {beside.seed}: {beside.mission}", 20, INK, width)
    _write(pen, (x, 44), f"actions of {_plain(beside.source)}", 15, QUIET, width)


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], words: str, size: int, colour: str, width: int) -> None:
    """Write a line, cut off with … where it is too long."""
    font = _font(size)
    if pen.textlength(words, font) > width:
        while words and pen.textlength(f"{words}…", font) > width:
            words = words[:-1]
        words = f"{words.rstrip()}…"
    pen.text(at, words, colour, font)


def _plain(words: str) -> str:
    """Say without arrows what the font has no arrows for."""
    return words.replace(" → ", ", then ")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _bytes(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, optimize=True)
    return buffer.getvalue()
