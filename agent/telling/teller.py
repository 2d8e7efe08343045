"""What all tellers of a run share: a method an event, the window that moves, the plan as a list. Reads events only."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gedanken.agent.events import (
    Acted,
    ApprovalAsked,
    Chosen,
    Event,
    Forecast,
    Imagining,
    Perceived,
    Practising,
    Rehearsed,
    StepEnded,
    StepStarted,
)
from gedanken.agent.telling.board import Board
from gedanken.agent.telling.draw import Seen, picture
from gedanken.agent.telling.window import Waiting, Window
from gedanken.worlds.spec import WorldSpec

NEXT = {
    "goal": "looking around",
    "resumed": "looking around",
    "replanning": "looking again",
    "perceived": "the language model writes plans",
    "proposed": "the world model imagines them",
    "rehearsed": "the critic judges",
    "revising": "the language model writes other plans",
    "stored": "learning from it",
}
"""What is under way after an event."""


class Teller:
    """Tells events on a console as they come; without a terminal nothing moves and nothing is drawn."""

    indent = 0

    def __init__(self, spec: WorldSpec, console: Console) -> None:
        self.spec, self.console = spec, console
        self._window = Window(console)
        self._waiting: Waiting | None = None
        self._forecasts: dict[str, list[Forecast]] = {}
        self._board: Board | None = None
        self._acting = False
        self._real: Seen | None = None

    def __call__(self, event: Event) -> None:
        """Tell one event."""
        if not isinstance(event, Acted | StepStarted | StepEnded | Imagining):
            self.close()
        if isinstance(event, Acted | Perceived):
            self._real = event.view
        getattr(self, f"_{event.kind}")(event)
        if what := NEXT.get(event.kind):
            self._waiting = Waiting(what)
            self._move(self._waiting, *self._meanwhile())

    def close(self) -> None:
        """End what moves, if anything does; the plan's list stays as it is."""
        if self._acting and self._board:
            self._move(self._board.table())
        self._window.close(keep=self._acting)
        self._acting = False

    # ---- what happens, for all -------------------------------------------------------------------------------------

    def _imagining(self, event: Imagining) -> None:
        if self._waiting:
            pictures = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
            seen = [("now", self._real), ("imagined", event.view)]
            shown = [(name, picture(self.spec, view)) for name, view in seen if view is not None]
            for name, _ in shown:
                pictures.add_column(name, no_wrap=True)
            pictures.add_row(*(drawn for _, drawn in shown))
            self._move(self._waiting, beside(event.plan, pictures))

    def _practising(self, event: Practising) -> None:
        self._waiting = Waiting(f"practising {event.step} in imagination")
        self._move(self._waiting, *self._meanwhile())

    def _rehearsed(self, event: Rehearsed) -> None:
        self._forecasts.update(zip(event.plans, event.forecasts, strict=False))

    def _chosen(self, event: Chosen) -> None:
        steps = event.plan.split("\n")
        self._board = Board(steps, self._forecasts.get(event.plan, ()))

    def _approval_asked(self, event: ApprovalAsked) -> None:
        """The one who asks shows the question."""

    def _step_started(self, event: StepStarted) -> None:
        if self._board is None or len(self._board) != event.of:  # a run that goes on chose its plan in another life
            self._board = Board(["…"] * event.of)
        self._board.start(event.index, event.step)
        self._acting = True
        self._move(self._board.table())

    def _acted(self, event: Acted) -> None:
        if self._board is None:
            return
        self._board.act()
        both = Table.grid(padding=(0, 2, 0, 0))
        both.add_row(self._board.table(), picture(self.spec, event.view))
        doing = Text(f"{event.action}, surprise {event.surprise:.1f} nats", style="dim")
        self._move(both, doing)

    def _step_ended(self, event: StepEnded) -> None:
        if self._board:
            self._board.end(event.result)
            self._move(self._board.table())

    # ---- layout ----------------------------------------------------------------------------------------------------

    def _meanwhile(self) -> Sequence[RenderableType]:
        """Return what is to be seen while something is waited for."""
        return ()

    def _move(self, *parts: RenderableType) -> None:
        self._window.show(*(Padding(part, (0, 0, 0, self.indent)) for part in parts))


def beside(plan: str, picture: RenderableType) -> Table:
    """Return a plan, a line for each step, with a picture to its right."""
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(Text(plan), picture)
    return table
