"""The plan as a list: what was imagined of each step beside what really happened. Knows no console and no events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from gedanken.agent.events import Forecast

MARKS = {"to do": ("·", "dim"), "doing": ("▸", "bold cyan"), "achieved": ("✓", "green"), "before": ("✓", "dim green")}


@dataclass
class _Row:
    step: str
    forecast: Forecast | None
    state: str = "to do"
    actions: int = 0


class Board:
    """A plan under way; `state` of a step is what marks it, or the word for how it failed."""

    def __init__(self, steps: Sequence[str], forecasts: Sequence[Forecast] = ()) -> None:
        told = [*forecasts, *[None] * (len(steps) - len(forecasts))]
        self._rows = [_Row(step, forecast) for step, forecast in zip(steps, told, strict=True)]
        self._now = 0

    def __len__(self) -> int:
        return len(self._rows)

    def start(self, index: int, step: str) -> None:
        """A step is begun; those before it that never were begun had been achieved before."""
        for row in self._rows[:index]:
            row.state = "before" if row.state == "to do" else row.state
        self._now = index
        self._rows[index].step, self._rows[index].state = step, "doing"

    def act(self) -> None:
        """One more action of the step under way."""
        self._rows[self._now].actions += 1

    def end(self, result: str) -> None:
        """The step under way ended."""
        self._rows[self._now].state = result

    def table(self) -> Table:
        """Return the list as it stands."""
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
        for heading in ("  plan", "imagined", "really"):
            table.add_column(heading, no_wrap=True)
        for index, row in enumerate(self._rows):
            mark, style = MARKS.get(row.state, ("✗", "red"))
            table.add_row(
                Text(f"{mark} {row.step}", style=style), Text(self.imagined(index), style="dim"), self.really(index)
            )
        return table

    def imagined(self, index: int) -> str:
        """Say what was imagined of a step."""
        forecast = self._rows[index].forecast
        if forecast is None:
            return ""
        when = "" if forecast.actions is None else f" by action {forecast.actions:.0f}"
        return f"{100 * forecast.achieved:.0f} %{when}"

    def really(self, index: int) -> str:
        """Say what happened to a step."""
        row = self._rows[index]
        spent = sum(other.actions for other in self._rows[: index + 1])
        match row.state:
            case "to do":
                return ""
            case "before":
                return "before"
            case "doing":
                return f"action {spent} …"
            case "achieved":
                return f"at action {spent}"
            case failed:
                return f"{failed} at action {spent}"
