"""The story of a run for people: every step of it, live and in colour in a terminal, plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gedanken.agent.events import (
    Acted,
    ApprovalAnswered,
    Chosen,
    Declined,
    Failed,
    GoalReceived,
    Judged,
    Learned,
    Outcome,
    Perceived,
    Practising,
    Proposed,
    Rehearsed,
    Replanning,
    Resumed,
    Revising,
    StepEnded,
    StepStarted,
    Stored,
)
from gedanken.agent.telling.draw import picture, strip
from gedanken.agent.telling.teller import Teller, beside
from gedanken.agent.verdict import Verdict
from gedanken.worlds.spec import WorldSpec

INDENT = 10
LONGEST_PATH = 24
"""Actions of a step that are all told, those of one kind in a row counted as one."""


class Story(Teller):
    """Tells everything: what was seen, proposed, imagined, judged, chosen, done, stored and learnt."""

    indent = INDENT

    def __init__(self, spec: WorldSpec, console: Console) -> None:
        super().__init__(spec, console)
        self._path: list[str] = []

    # ---- thinking --------------------------------------------------------------------------------------------------

    def _goal(self, event: GoalReceived) -> None:
        self._say("Goal", f"[bold]{escape(event.goal)}[/]")
        whose = ", its own mission" if event.own else ""
        self._more(f"[dim]{event.world}, seed {event.seed}{whose}[/]")

    def _perceived(self, event: Perceived) -> None:
        self._say("Sees", escape(event.scene))
        if self.console.is_terminal:
            self._put(picture(self.spec, event.view))

    def _proposed(self, event: Proposed) -> None:
        merged = f", {event.merged} merged as duplicates" if event.merged else ""
        bad = f", {event.unreadable} unreadable" if event.unreadable else ""
        bad += ", of a shortened scene" if event.shortened else ""
        shown = [] if event.holds else event.candidates
        plans = f"{len(shown)} plan{'s' * (len(shown) != 1)}"
        if event.declined or event.holds:
            plans = "none, for no plan will do," if event.declined else "nothing better than it did,"
        self._say(
            "Proposes", f"{plans} in {event.seconds:.1f} s, {event.tokens} tokens{merged}{bad} [dim]({event.model})[/]"
        )
        for candidate in shown:
            said = "" if candidate.log_probability is None else f"  [dim]{candidate.log_probability:.1f} nats[/]"
            self._more(f"· {escape(_line(candidate.plan))}{said}")

    def _practising(self, event: Practising) -> None:
        self._say("Practises", f"{escape(event.step)} [dim]in imagination: nobody has asked for it before[/]")
        super()._practising(event)

    def _rehearsed(self, event: Rehearsed) -> None:
        what = f"{len(event.plans)} × {event.futures} futures, {event.actions:,} actions"
        self._say("Imagines", f"{what} in {event.seconds:.1f} s ({event.actions_per_second:,.0f}/s)")
        super()._rehearsed(event)
        if self.console.is_terminal and event.views:
            plan = event.plans[0]
            left = self.console.width - INDENT - max(len(step) for step in plan.split("\n")) - 3
            self._put(beside(plan, strip(self.spec, event.views, left)))

    def _judged(self, event: Judged) -> None:
        self._say("Judges", f"[dim]round {event.round + 1}, in {event.seconds:.1f} s[/]")
        self._put(verdicts(event.verdicts))

    def _revising(self, event: Revising) -> None:
        self._say("Revises", f"[yellow]round {event.round + 1}: {escape(event.why)}[/]")

    def _chosen(self, event: Chosen) -> None:
        super()._chosen(event)
        verdict = event.verdict
        self._say("Chooses", f"[bold]{escape(verdict.plan.line())}[/]")
        self._more(
            f"predicts {_percent(verdict.success)} ({_percent(verdict.low)} to {_percent(verdict.high)});"
            f" out of {event.among} plans, from round {event.round + 1}"
        )

    def _declined(self, event: Declined) -> None:
        self._say("Declines", f"[yellow]{escape(event.why.rstrip('.'))}.[/] Nothing was done.")
        if event.sees:
            self._more(escape(event.sees))
        self._more("What I can do:")
        for line in event.can:
            self._more(f"· {escape(line)}")

    # ---- acting ----------------------------------------------------------------------------------------------------

    def _approval_answered(self, event: ApprovalAnswered) -> None:
        self._say("Approved" if event.approved else "Refused", "")

    def _step_started(self, event: StepStarted) -> None:
        super()._step_started(event)
        self._path = []

    def _acted(self, event: Acted) -> None:
        super()._acted(event)
        self._path.append(event.action)

    def _step_ended(self, event: StepEnded) -> None:
        super()._step_ended(event)
        if not self.console.is_terminal:  # where the list of the plan shows it
            mark = "[green]✓[/]" if event.result == "achieved" else f"[red]✗ {event.result}[/]"
            self._say("Acts", f"{escape(event.step)} {mark} [dim]{_counted(event.actions)}: {runs_of(self._path)}[/]")

    def _replanning(self, event: Replanning) -> None:
        self._say("Replans", f"[yellow]{escape(event.why)}[/]")

    def _resumed(self, event: Resumed) -> None:
        self._say("Resumes", f"[bold]{escape(event.goal)}[/]")
        self._more(escape(event.message))

    # ---- ending ----------------------------------------------------------------------------------------------------

    def _outcome(self, event: Outcome) -> None:
        colour = {"reached": "green", "not_reached": "red"}.get(event.status, "yellow")
        self._say("Outcome", f"[bold {colour}]{event.status.replace('_', ' ')}[/]: {escape(event.message)}")
        if event.predicted is not None and event.status in ("reached", "not_reached"):
            self._more(f"predicted {_percent(event.predicted)}, happened {'100' if event.success else '0'} %")
        numbers = [f"{event.rounds} round{'s' * (event.rounds != 1)}"]
        numbers += [f"{event.replans} replanning{'s' * (event.replans != 1)}"] if event.replans else []
        numbers += [f"reward {event.reward:.2f}"] if event.reward else []
        numbers += [f"{event.prompt_tokens:,} tokens read, {event.tokens:,} written"]
        numbers += [f"${event.dollars:.4f}"] if event.dollars is not None else []
        self._more(f"[dim]{', '.join(numbers)}, {event.seconds:.1f} s[/]")

    def _stored(self, event: Stored) -> None:
        self._say("Stores", f"episode {event.episode}, {_counted(event.steps)}")

    def _learned(self, event: Learned) -> None:
        before, after = sum(event.before.values()), sum(event.after.values())
        self._say("Learns", f"{event.steps} gradient steps in {event.seconds:.1f} s: loss {before:.3f} → {after:.3f}")
        if event.checkpoint:
            self._more(f"[dim]new checkpoint {escape(event.checkpoint)}[/]")

    def _error(self, event: Failed) -> None:
        self._say("Error", f"[red]{escape(event.message)}[/]")

    # ---- layout ----------------------------------------------------------------------------------------------------

    def _say(self, label: str, markup: str) -> None:
        table = Table.grid(padding=0)
        table.add_column(width=INDENT, style="bold cyan", no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row(label, Text.from_markup(markup))
        self.console.print(table)

    def _more(self, markup: str) -> None:
        self._say("", markup)

    def _put(self, thing: object) -> None:
        self.console.print(Padding(thing, (0, 0, 0, INDENT)))  # type: ignore[arg-type]


def verdicts(said: Sequence[Verdict], chosen: str | None = None, *, whole: bool = False) -> Table:
    """Return verdicts side by side, the likeliest success first, each plan with its reasons below it.

    `whole` adds how often the plan worked out in imagination, and how unsure the world model was (in nats an action).
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    numbers = ["success", "90 %", "means it", *(["works out", "unsure"] if whole else []), "actions"]
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("plan, and why", overflow="fold")
    for verdict in sorted(said, key=lambda v: -v.success):
        colour = "green" if verdict.success >= 0.75 else "yellow" if verdict.success >= 0.3 else "red"
        plan = Text(verdict.plan.line(), style="bold" if str(verdict.plan) == chosen else "")
        more = [_percent(verdict.carried_out), f"{verdict.disagreement:.2f}"] if whole else []
        table.add_row(
            Text(_percent(verdict.success), style=colour),
            Text(f"{100 * verdict.low:.0f}–{100 * verdict.high:.0f}", style="dim"),
            "–" if verdict.satisfies is None else _percent(verdict.satisfies),
            *more,
            "–" if verdict.steps is None else f"{verdict.steps:.0f}",
            plan.append(f"\n{verdict.reasons}", style="not bold dim"),
        )
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _line(plan: str) -> str:
    return " → ".join(plan.split("\n"))


def _counted(actions: int) -> str:
    return f"{actions} action{'s' * (actions != 1)}"


def runs_of(actions: Sequence[str]) -> str:
    """Shorten a path: forward ×3, left, pickup; of a very long one the middle is left out."""
    runs: list[tuple[str, int]] = []
    for action in actions:
        if runs and runs[-1][0] == action:
            runs[-1] = (action, runs[-1][1] + 1)
        else:
            runs.append((action, 1))
    words = [action if count == 1 else f"{action} ×{count}" for action, count in runs]
    return ", ".join(words if len(words) <= LONGEST_PATH else [*words[: LONGEST_PATH // 2], "…", *words[-3:]])
