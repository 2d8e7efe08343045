"""The conversation: goal after goal in one environment, with a few commands. Knows no language model and no options."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from gedanken.agent.agent import Agent
from gedanken.agent.events import ApprovalAsked, Event, Judged, Outcome
from gedanken.agent.goals import GoalError, abilities
from gedanken.agent.journal import Turn
from gedanken.agent.llm.protocol import LLMError
from gedanken.agent.render import Story, verdicts
from gedanken.agent.session import Session, SessionError
from gedanken.worlds.protocol import World
from gedanken.worlds.spec import SpecError

Ask = Callable[[str], str]
"""Shows a prompt and returns a line; raises EOFError where there are no more."""


class Quit(Exception):
    """The person has had enough."""


class Chat:
    """One conversation; `ask` reads lines, `story` tells what happens."""

    def __init__(
        self,
        agent: Agent,
        session: Session,
        console: Console,
        ask: Ask,
        *,
        yes: bool,
        find_world: Callable[[str], World],
    ) -> None:
        self.agent, self.session, self.console, self.ask, self.yes = agent, session, console, ask, yes
        self.find_world = find_world
        self.story = Story(agent.world.spec, console)
        self.judged: list[Judged] = []
        self.last: Outcome | None = None

    def run(self) -> None:
        """Talk until `/quit` or the end of the input."""
        self._greet()
        while True:
            try:
                line = self.ask("› ").strip()
                if line.startswith("/"):
                    self._command(line)
                elif line:
                    self.goal(line)
            except EOFError:
                return
            except Quit:
                return
            except (GoalError, LLMError, SessionError, SpecError) as error:
                self.story.close()
                self.console.print(f"[red]{escape(str(error))}[/]")

    def goal(self, text: str) -> None:
        """Reach a goal."""
        if self.session.over:
            self.console.print("[dim]That episode is over; a new one begins.[/]")
            self._begin(self.session.seed + 1)
        self.judged = []
        self.last = self.agent.run(text, self.session, on_event=self._hear, approve=None if self.yes else self._approve)

    def resume(self, goal: str) -> None:
        """Go on with a goal that was cut off."""
        approve = None if self.yes else self._approve
        self.last = self.agent.resume(goal, self.session, on_event=self._hear, approve=approve)

    # ---- commands: each is a method whose docstring is its help ----------------------------------------------------

    def help(self, rest: str) -> None:
        """[COMMAND]: say what can be typed."""
        names = [rest.strip().removeprefix("/")] if rest.strip() else list(COMMANDS)
        for name in names:
            usage, _, what = _doc(_find(name)).partition(": ")
            self.console.print(f"  [bold]{escape(f'/{name} {usage}'.strip()):<24}[/] {escape(what)}", highlight=False)
        if not rest.strip():
            self.console.print("  Anything else is a goal. Plans are made of:")
            for line in abilities(self.agent.world.spec):
                self.console.print(f"    {escape(line)}", highlight=False)

    def world(self, rest: str) -> None:
        """[ID [SEED]]: show the surroundings, or begin anew in another world or with another seed."""
        words = rest.split()
        if len(words) > 2 or (len(words) == 2 and not words[1].isdigit()):
            raise SpecError("write /world, /world SEED, or /world ID SEED")
        if words:
            seed = int(words[-1]) if words[-1].isdigit() else self.session.seed
            if not words[0].isdigit():
                self.agent = self.agent.elsewhere(self.find_world(words[0]))
            self._begin(seed)
        scene = self.agent.world.describe(*self.session.known())
        self.console.print(
            f"[bold]{self.agent.world.id}[/], seed {self.session.seed}. {escape(scene)}", highlight=False
        )

    def plan(self, rest: str) -> None:
        """GOAL: imagine only; nothing is done."""
        self.judged = []
        self.last = self.agent.plan(rest, self.session, on_event=self._hear)

    def why(self, rest: str) -> None:
        """: show every plan that was judged for the last goal, and what was decided."""
        if self.last is None:
            self.console.print("Nothing has been decided yet.")
            return
        for event in self.judged:
            self.console.print(f"[dim]round {event.round + 1}[/]", highlight=False)
            self.console.print(Padding(verdicts(event.verdicts), (0, 0, 0, 2)))
        plan = " → ".join(self.last.plan.split("\n")) if self.last.plan else "no plan"
        self.console.print(f"{escape(self.last.goal)}: {escape(plan)}. {escape(self.last.message)}", highlight=False)

    def history(self, rest: str) -> None:
        """: list the goals of this conversation and how they ended."""
        turns: list[Turn] = []
        if self.session.journal and self.session.conversation:
            turns = self.session.journal.turns(self.session.conversation.id)
        for number, turn in enumerate(turns, 1):
            said = turn.outcome or {"status": "under way", "steps": self.session.spent}
            status = str(said["status"]).replace("_", " ")
            self.console.print(f"{number:>3}  {escape(turn.goal)}: {status}, {said['steps']} actions", highlight=False)
        if not turns:
            self.console.print("No goals yet.")

    def quit(self, rest: str) -> None:
        """: leave; `gedanken chat --continue` comes back."""
        raise Quit

    # ---- within ----------------------------------------------------------------------------------------------------

    def _command(self, line: str) -> None:
        name, _, rest = line[1:].partition(" ")
        _find(name)(self, rest)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Judged):
            self.judged.append(event)
        self.story(event)

    def _approve(self, asked: ApprovalAsked) -> bool:
        try:
            return self.ask(f"Do it? {asked.success:.0%} expected [y/n] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False

    def _begin(self, seed: int) -> None:
        self.session.close()
        self.session = self.agent.session(seed)
        self.story = Story(self.agent.world.spec, self.console)

    def _greet(self) -> None:
        self.console.print("Say a goal in plain words, or [bold]/help[/].")
        self.world("")


Command = Callable[[Chat, str], None]

COMMANDS: dict[str, Command] = {
    "help": Chat.help,
    "world": Chat.world,
    "plan": Chat.plan,
    "why": Chat.why,
    "history": Chat.history,
    "quit": Chat.quit,
}


def _find(name: str) -> Command:
    if name not in COMMANDS:
        raise SpecError(f"no command /{name}; there are {', '.join('/' + known for known in COMMANDS)}")
    return COMMANDS[name]


def _doc(command: Command) -> str:
    return inspect.getdoc(command) or ""
