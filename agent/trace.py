"""What machines read of a run: one JSON object at the end, or every event as a line. Knows no terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TextIO

from gedanken.agent.events import (
    Acted,
    Declined,
    Event,
    Judged,
    Learned,
    Outcome,
    Perceived,
    Proposed,
    Rehearsed,
    Replanning,
    Resumed,
    StepEnded,
    Stored,
    to_line,
)


class Trace:
    """Gathers a run's events into the object that `--json` prints; with a file, writes each event there too.

    Raises OSError for a file that can't be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file: TextIO | None = path.open("w", encoding="utf-8") if path else None
        self._scenes: list[str] = []
        self._rounds: list[dict[str, Any]] = []
        self._steps: list[dict[str, Any]] = []
        self._actions: list[str] = []
        self._replans: list[str] = []
        self._rest: dict[str, Any] = {}
        self._surprise = 0.0

    def __call__(self, event: Event) -> None:
        """Take one event in."""
        if self._file:
            self._file.write(to_line(event) + "\n")
            self._file.flush()
        if isinstance(event, Perceived):
            self._scenes.append(event.scene)
        elif isinstance(event, Proposed):
            self._rounds.append(event.model_dump(mode="json", exclude={"kind"}))
        elif isinstance(event, Rehearsed):
            rehearsal = event.model_dump(mode="json", include={"futures", "actions", "seconds"})
            self._rounds[-1]["rehearsal"] = rehearsal | {"actions_per_second": event.actions_per_second}
        elif isinstance(event, Judged):
            said = [v.model_dump(mode="json", exclude={"plan"}) | {"plan": str(v.plan)} for v in event.verdicts]
            self._rounds[-1]["verdicts"] = said
        elif isinstance(event, Acted):
            self._actions.append(event.action)
            self._surprise = max(self._surprise, event.surprise)
        elif isinstance(event, StepEnded):
            self._steps.append(event.model_dump(mode="json", include={"step", "result", "actions"}))
        elif isinstance(event, Replanning):
            self._replans.append(event.why)
        elif isinstance(event, Declined):
            self._rest["can"] = event.can
        elif isinstance(event, Stored):
            self._rest["stored"] = event.model_dump(mode="json", exclude={"kind"})
        elif isinstance(event, Learned):
            self._rest["learned"] = event.model_dump(mode="json", exclude={"kind"})
        elif isinstance(event, Resumed):
            self._rest["resumed"] = event.model_dump(mode="json", exclude={"kind"})

    def answer(self, outcome: Outcome) -> dict[str, Any]:
        """Return the run as one object."""
        verdict = outcome.verdict
        return {
            **outcome.model_dump(mode="json", exclude={"kind", "verdict"}),
            "success": outcome.success,
            "verdict": verdict.model_dump(mode="json", exclude={"plan"}) if verdict else None,
            "scene": self._scenes[0] if self._scenes else None,
            "proposals": self._rounds,
            "carried_out": self._steps,
            "actions": self._actions,
            "largest_surprise": self._surprise,
            "why_replanned": self._replans,
            **self._rest,
        }

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
