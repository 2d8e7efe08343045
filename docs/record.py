"""Record a real conversation as docs/session.svg: the lines below are typed, everything else is what Gedanken does.

`make record` runs it. What moves in a terminal is shown as it stood in the end.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from gedanken.agent import llm
from gedanken.agent.chat.conversation import Chat
from gedanken.agent.loading import load_world, open_agent
from gedanken.agent.telling.window import Window
from gedanken.worlds.babyai import level_ids

WORLD, SEED, WIDTH = "BabyAI-PutNextLocal-v0", 7, 104
TYPED = ["put the purple ball next to the yellow box", "y", "/why", "make me a coffee", "/quit"]
ELSEWHERE = re.compile(r',\s*url\("https:[^;]*(?=;)')
"""Fonts that a picture would fetch; those of the reader serve."""

PICTURE = Path(__file__).with_name("session.svg")


class Typist:
    """A person whose lines are known beforehand, and seen as they are typed."""

    stays = True

    def __init__(self, console: Console, lines: list[str]) -> None:
        self.console, self.lines = console, list(lines)

    def line(self) -> str:
        """Type the next line."""
        return self.answer("› ")

    def answer(self, question: str, text: str = "") -> str:
        """Type the next answer."""
        line = self.lines.pop(0)
        self.console.print(Text.assemble((question, "bold cyan"), line))
        return line


def still(console: Console) -> None:
    """Let what moves be drawn once, where it is to stay."""
    last: dict[int, tuple[RenderableType, ...]] = {}

    def show(window: Window, *parts: RenderableType) -> None:
        last[id(window)] = parts

    def close(window: Window, *, keep: bool = False) -> None:
        parts = last.pop(id(window), ())
        if keep and parts:
            console.print(Group(*parts))

    Window.show, Window.close = show, close  # type: ignore[method-assign]


def main() -> None:
    """Talk, and write the picture."""
    console = Console(record=True, force_terminal=True, width=WIDTH, file=io.StringIO(), highlight=False)
    still(console)
    with tempfile.TemporaryDirectory() as home:
        os.environ["GEDANKEN_HOME"] = home
        with open_agent(WORLD) as agent:
            places: Any = {"find_world": load_world, "find_llm": llm.load, "worlds": level_ids()}
            chat = Chat(agent, agent.session(SEED), console, Typist(console, TYPED), yes=False, **places)
            console.print(Text.assemble(("$ ", "dim"), f"gedanken chat --world {WORLD} --seed {SEED}"))
            chat.run()
            chat.session.close()
    picture = console.export_svg(title="gedanken chat", unique_id="session")
    PICTURE.write_text(ELSEWHERE.sub("", picture), encoding="utf-8")


if __name__ == "__main__":
    main()
