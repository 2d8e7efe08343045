"""A run as a conversation tells it: what moves while it lasts, then a few lines in words. Reads events only."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gedanken.agent.chat import words
from gedanken.agent.events import (
    ApprovalAnswered,
    Chosen,
    Declined,
    Event,
    Failed,
    GoalReceived,
    Judged,
    Learned,
    Outcome,
    Perceived,
    Proposed,
    Rehearsed,
    Replanning,
    Resumed,
    Revising,
    StepEnded,
    Stored,
)
from gedanken.agent.telling.draw import picture, strip
from gedanken.agent.telling.teller import Teller, beside
from gedanken.worlds.spec import WorldSpec

COLOURS = {"reached": "green", "not_reached": "red"}
"""Of an outcome's first word; yellow otherwise."""


class Brief(Teller):
    """Tells what a person wants to know first; the verdicts are there when they ask."""

    indent = 2

    def __init__(self, spec: WorldSpec, console: Console) -> None:
        super().__init__(spec, console)
        self._seen: RenderableType | None = None
        self._interrupted = False
        self._frames: Rehearsed | None = None
        self.learning = False

    def __call__(self, event: Event) -> None:
        """Tell one event; `learning` says whether the goal is over and only learning from it is under way."""
        super().__call__(event)
        self.learning = isinstance(event, Stored) and not self._interrupted

    def _meanwhile(self) -> Sequence[RenderableType]:
        return () if self._seen is None else (self._seen,)

    # ---- thinking --------------------------------------------------------------------------------------------------

    def _goal(self, event: GoalReceived) -> None:
        self._seen = None

    def _resumed(self, event: Resumed) -> None:
        self._say(f"Resumes [bold]{escape(event.goal)}[/]: {escape(event.message)}.")

    def _perceived(self, event: Perceived) -> None:
        if self.console.is_terminal:
            self._seen = _row(picture(self.spec, event.view), Text(event.scene, style="dim"))

    def _proposed(self, event: Proposed) -> None:
        self._seen = Text("\n".join(f"· {_line(candidate.plan)}" for candidate in event.candidates), style="dim")

    def _rehearsed(self, event: Rehearsed) -> None:
        super()._rehearsed(event)
        self._frames = event
        if event.views:
            self._seen = self._imagined(event)

    def _judged(self, event: Judged) -> None:
        """/why shows them."""

    def _revising(self, event: Revising) -> None:
        self._say(f"[dim]Not good enough yet: {escape(event.why)}.[/]")

    def _chosen(self, event: Chosen) -> None:
        super()._chosen(event)
        verdict = event.verdict
        out_of = f"the best of {event.among} plans, each " if event.among > 1 else ""
        self._say(f"[bold]{escape(verdict.plan.line())}[/]  [dim]{out_of}imagined {verdict.futures} times[/]")
        frames = self._frames
        if self.console.is_terminal and frames and frames.views and frames.plans[0] == event.plan:
            self._put(strip(self.spec, frames.views, self.console.width - self.indent))
        self._say(escape(words.expectation(verdict)))

    def _declined(self, event: Declined) -> None:
        """The outcome says it."""

    # ---- acting ----------------------------------------------------------------------------------------------------

    def _approval_answered(self, event: ApprovalAnswered) -> None:
        """The person knows."""

    def _step_ended(self, event: StepEnded) -> None:
        super()._step_ended(event)
        if self._board and not self.console.is_terminal:  # where the list of the plan shows it
            imagined, really = self._board.imagined(event.index), self._board.really(event.index)
            mark = "✓" if event.result == "achieved" else "✗"
            self._say(f"{mark} {escape(event.step)} {really}{f'; imagined: {imagined}' if imagined else ''}")

    def _replanning(self, event: Replanning) -> None:
        self._seen = None
        self._say(f"[yellow]I plan anew: {escape(event.why)}.[/]")

    # ---- ending ----------------------------------------------------------------------------------------------------

    def _outcome(self, event: Outcome) -> None:
        self._seen = None
        self._interrupted = event.status == "interrupted"
        first, colon, rest = words.answer(event).partition(":")
        self._say(f"[bold {COLOURS.get(event.status, 'yellow')}]{escape(first)}[/]{colon}{escape(rest)}")
        if event.status == "declined":
            self._say(
                "[dim]/help says what plans can be made of, /why what I thought of, /edit tries a plan of yours.[/]"
            )

    def _stored(self, event: Stored) -> None:
        self._say(f"[dim]Kept as episode {event.episode}.[/]")

    def _learned(self, event: Learned) -> None:
        self._say(f"[dim]{escape(words.learnt(event))}[/]")

    def _error(self, event: Failed) -> None:
        self._say(f"[red]{escape(event.message)}[/]")

    # ---- layout ----------------------------------------------------------------------------------------------------

    def _imagined(self, event: Rehearsed) -> RenderableType:
        plan = event.plans[0]
        left = self.console.width - self.indent - max(len(step) for step in plan.split("\n")) - 3
        return beside(plan, strip(self.spec, event.views, left))

    def _say(self, markup: str) -> None:
        self._put(Text.from_markup(markup))

    def _put(self, thing: RenderableType) -> None:
        self.console.print(Padding(thing, (0, 0, 0, self.indent), expand=False))


def _row(*things: RenderableType) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(*things)
    return table


def _line(plan: str) -> str:
    return " → ".join(plan.split("\n"))
