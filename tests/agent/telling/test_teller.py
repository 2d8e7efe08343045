"""What moves while a run lasts."""

import io
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from gedanken.agent.chat.brief import Brief
from gedanken.agent.events import Candidate, Imagining, Perceived, Proposed
from gedanken.agent.telling.story import Story
from gedanken.agent.telling.window import Stages, Window
from gedanken.worlds.babyai import SPEC


def view(kind: str) -> Any:
    """A view with one thing in it."""
    cells = np.zeros((SPEC.grid.height, SPEC.grid.width, 3), np.uint8)
    cells[0, 0, 0] = SPEC.grid.channels[0].categories.index(kind)
    return cells.tolist()


def test_that_no_plan_will_do_is_said() -> None:
    console = Console(file=io.StringIO(), width=100)
    numbers: Any = {"merged": 0, "unreadable": 0, "prompt_tokens": 9, "tokens": 2, "seconds": 0.1, "model": "double"}
    Story(SPEC, console)(Proposed(round=0, candidates=[], declined=True, **numbers))
    candidate = Candidate(plan="go_to(ball)", log_probability=-3.0, round=1)
    Story(SPEC, console)(Proposed(round=1, candidates=[candidate], holds=True, **numbers))
    file: Any = console.file
    assert "none, for no plan will do" in file.getvalue() and "nothing better than it did" in file.getvalue()
    assert "go_to(ball)" not in file.getvalue()


def test_what_is_imagined_is_beside_what_is() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    tell = Brief(SPEC, console)
    tell(Perceived(scene="You see a ball.", view=view("ball")))
    candidate = Candidate(plan="go_to(ball)", log_probability=None, round=0)
    numbers: Any = {"merged": 0, "unreadable": 0, "prompt_tokens": 0, "tokens": 0, "seconds": 0.0, "model": "double"}
    tell(Proposed(round=0, candidates=[candidate], **numbers))
    tell(Imagining(round=0, plan="go_to(ball)", view=view("key")))
    tell.close()
    file: Any = console.file
    frames = file.getvalue()
    row, *_ = [line for line in frames.splitlines() if "●" in line and "⚷" in line]
    assert row.index("●") < row.index("⚷") and "now" in frames and "imagined" in frames


def test_what_is_higher_than_the_terminal_leaves_nothing_behind() -> None:
    for keep in (False, True):
        console = Console(file=io.StringIO(), width=40, height=8, force_terminal=True)
        window = Window(console)
        window.show(*(Text(f"line {number}") for number in range(12)))
        window.close(keep=keep)
        file: Any = console.file
        assert ("line 11" in file.getvalue()) is keep, "what scrolls out above can't be taken back"


def test_stages_say_what_is_waited_for_and_for_how_long_it_was() -> None:
    for terminal in (False, True):
        console = Console(file=io.StringIO(), width=60, force_terminal=terminal)
        with Stages(console) as stages:
            stages.begin("fitting")
            stages.note("one fit")
            stages.begin("practising")
        file: Any = console.file
        said = file.getvalue()
        assert ("fitting: 0 s" in said and "practising: 0 s" in said) is terminal and "one fit" in said
        assert (said == "fitting …\none fit\npractising …\n") is not terminal
