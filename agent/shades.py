"""What colour a shade is ("viridian": green), told to the planner beside the word: small models know few shades.

The names and what people meant by them are those of the survey of xkcd.com. A shade counts as one of the eleven basic
colours of English (Berlin and Kay, 1969) where most of the named shades next to it do, such as "dark sea green".
"""

from __future__ import annotations

import functools
import re
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from gedanken.worlds.spec import WorldSpec

BASIC = ("black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
NEIGHBOURS, MOST, NEAR = 5, 3, 18.0
"""Shades next to one that are asked, how many of them have to agree, and how far off they may lie in CIELAB."""


def explained(text: str, spec: WorldSpec) -> str:
    """Return a text with its shades called by their basic colours, too: "the viridian green key".

    Words that are the world's own stay as they are, and so do all where the world has no colours.
    """
    own = {value for attribute in spec.attributes for value in attribute.values}
    if not own & set(BASIC):
        return text

    def name(match: re.Match[str]) -> str:
        said = match.group()
        return said if said.lower() in own else f"{said} {shades()[said.lower()]}"

    return _names().sub(name, text)


@functools.cache
def shades() -> dict[str, str]:
    """Return the basic colour of every shade in whose own name none is, where there is one."""
    names, places = _survey()
    basic = np.array([_basic(name) for name in names])
    told = np.flatnonzero(basic != "")
    found = {}
    for name, place in zip(names, places, strict=True):
        if any(word in name for word in BASIC):
            continue
        far = np.linalg.norm(places[told] - place, axis=1)
        nearest = far.argsort(kind="stable")[:NEIGHBOURS]
        said, votes = np.unique(basic[told[nearest[far[nearest] <= NEAR]]], return_counts=True)
        if votes.max(initial=0) >= MOST:
            found[name] = str(said[votes.argmax()])
    return found


def _basic(name: str) -> str:
    """Return the colour that a name ends in ("dark sea green"), or nothing."""
    last = name.split()[-1]
    return last if last in BASIC else ""


@functools.cache
def _names() -> re.Pattern[str]:
    """Match a shade, the longest name that fits, unless a basic colour comes right after it."""
    longest_first = sorted(shades(), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})\b(?![ -](?:{'|'.join(BASIC)}))", re.I)


def _survey() -> tuple[list[str], NDArray[np.float64]]:
    """Return the names of the survey and their places in CIELAB [N, 3]."""
    text = resources.files("gedanken.agent").joinpath("colour_names.txt").read_text(encoding="utf-8")
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    colours = np.array([[int(code[at : at + 2], 16) for at in (1, 3, 5)] for _, code in rows]) / 255
    return [name for name, _ in rows], _cielab(colours)


def _cielab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the places in CIELAB (D65) of colours in sRGB, `[N, 3]` in 0..1 (IEC 61966-2-1; CIE 15:2004)."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = linear @ np.array(matrix).T / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


__all__ = ["explained", "shades"]
