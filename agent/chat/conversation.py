"""The conversation: goal after goal in one environment. Knows no language model, no terminal and no options."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from rich.console import Console
from rich.markup import escape

from gedanken.agent.agent import Agent
from gedanken.agent.chat.brief import Brief
from gedanken.agent.chat.commands import Quit, obey, show_world
from gedanken.agent.events import ApprovalAsked, Event, Judged, Outcome
from gedanken.agent.goals import GoalError
from gedanken.agent.interrupts import Interrupts
from gedanken.agent.journal import Conversation, Journal, Turn
from gedanken.agent.llm.protocol import LanguageModel, LLMError
from gedanken.agent.session import Session, SessionError
from gedanken.agent.telling.window import waiting
from gedanken.worldmodel.checkpoint import CheckpointError
from gedanken.worldmodel.train import TrainingError
from gedanken.worlds.protocol import World
from gedanken.worlds.spec import Plan, SpecError

EXPLAINED = (CheckpointError, GoalError, LLMError, SessionError, SpecError, TrainingError)
"""Errors whose message says what to do: the conversation goes on after them."""


class Person(Protocol):
    """Who types. Both methods raise EOFError where there is nothing more, and KeyboardInterrupt on Ctrl-C."""

    stays: bool
    """Whether Ctrl-C comes back to the prompt, and does not end the conversation."""

    def line(self) -> str:
        """Return the next thing that is said."""
        ...

    def answer(self, question: str, text: str = "") -> str:
        """Return the answer to a question; `text` is there to be changed, where the terminal can do that."""
        ...


class Chat:
    """One conversation of a person with an agent; `last` is how the last goal ended, `judged` all that was judged."""

    def __init__(
        self,
        agent: Agent,
        session: Session,
        console: Console,
        person: Person,
        *,
        yes: bool,
        find_world: Callable[[str], World],
        find_llm: Callable[[str], LanguageModel],
        worlds: Sequence[str],
    ) -> None:
        self.agent, self.session, self.console, self.person, self.yes = agent, session, console, person, yes
        self.find_world, self.find_llm = find_world, find_llm
        self.worlds: Sequence[str] = worlds
        self.judged: list[Judged] = []
        self.last: Outcome | None = None
        self.settle(session)

    def run(self, unfinished: str | None = None) -> None:
        """Go on with a goal that was cut off, then talk until `/quit` or the end of the input.

        Raises KeyboardInterrupt where the person does not stay.
        """
        self.console.print("Say a goal in plain words, or [bold]/help[/].", highlight=False)
        show_world(self)
        if unfinished:
            self._take(lambda: self._resume(unfinished))
        while self._take(self._listen):
            pass

    def pursue(self, goal: str, given: Plan | None = None) -> None:
        """Reach a goal, with the person's own plan where one is given."""
        if self.session.over:
            self.console.print("[dim]That episode is over; a new one begins.[/]")
            self.begin(self.session.seed + 1)
        self.judged = []
        with self._running():
            self.agent.run(goal, self.session, on_event=self._hear, approve=self._approver(given), given=given)

    def imagine(self, goal: str, given: Plan | None = None) -> None:
        """Imagine only; nothing is done."""
        self.judged = []
        with self._running():
            self.agent.plan(goal, self.session, on_event=self._hear, given=given)

    # ---- the conversation and what is kept of it -------------------------------------------------------------------

    def begin(self, seed: int) -> None:
        """Begin anew with another seed."""
        with Interrupts(), waiting(self.console, f"Preparing {self.agent.world.id}, seed {seed}"):
            session = self.agent.session(seed)
        self.session.close()
        self.settle(session)

    def go_back(self, conversation: Conversation, turns: int) -> None:
        """Go on from a conversation as it was after its first `turns` goals; it stays in the journal as it is."""
        journal, _ = self.kept()
        agent = self.agent
        if conversation.world != agent.world.id:
            agent = agent.elsewhere(self.find_world(conversation.world))
        with Interrupts(), waiting(self.console, f"Replaying {conversation.world}, seed {conversation.seed}"):
            fork = journal.fork(conversation, turns)
            try:
                session = Session.replay(agent.world, agent.trained, fork, journal)
            except BaseException:  # the conversation under way stays the last one
                journal.forget(fork.id)
                raise
        self.session.close()
        self.agent = agent
        self.settle(session)

    def settle(self, session: Session) -> None:
        """Talk about this session from now on; its last goal, if it has one, is the one that is spoken of."""
        self.session, self.judged, self.last = session, [], None
        self.story = Brief(self.agent.world.spec, self.console)
        turns = self.turns()
        if turns and turns[-1].outcome:
            self.last = Outcome.model_validate(turns[-1].outcome)

    def kept(self) -> tuple[Journal, Conversation]:
        """Return where the conversation is kept. Raises SessionError where it is not."""
        if self.session.journal is None or self.session.conversation is None:
            raise SessionError("this conversation is kept nowhere, so there is nothing to go back to")
        return self.session.journal, self.session.conversation

    def turns(self) -> list[Turn]:
        """Return the goals so far."""
        if self.session.journal is None or self.session.conversation is None:
            return []
        return self.session.journal.turns(self.session.conversation.id)

    # ---- within ----------------------------------------------------------------------------------------------------

    def _take(self, turn: Callable[[], None]) -> bool:
        """Take a turn and return whether the conversation goes on."""
        try:
            turn()
        except (EOFError, Quit):
            return False
        except KeyboardInterrupt:
            if not self.person.stays:
                raise
        except EXPLAINED as error:
            self.console.print(f"[red]{escape(str(error))}[/]", highlight=False)
        return True

    def _listen(self) -> None:
        line = self.person.line().strip()
        if line.startswith("/"):
            obey(self, line)
        elif line:
            self.pursue(line)

    def _resume(self, goal: str) -> None:
        with self._running():
            self.agent.resume(goal, self.session, on_event=self._hear, approve=self._approver(None))

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        try:
            with Interrupts() as self._interrupts:
                yield
        except KeyboardInterrupt:
            learning = self.story.learning
            self.story.close()
            if learning:
                self.console.print("  [dim]Learning was stopped, nothing of it was kept.[/]")
            raise
        finally:
            self.story.close()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Judged):
            self.judged.append(event)
        elif isinstance(event, Outcome):
            self.last = event
        self.story(event)
        self._interrupts(event)

    def _approver(self, given: Plan | None) -> Callable[[ApprovalAsked], bool] | None:
        """Ask always, or never but for a plan of the person's that hardly ever works out."""
        if not self.yes:
            return self._ask
        if given is None:
            return None
        return lambda asked: asked.success >= self.agent.config.decline or self._ask(asked)

    def _ask(self, asked: ApprovalAsked) -> bool:
        while True:
            try:
                said = self.person.answer(f"Do it? {100 * asked.success:.0f} % expected [y/n] ").strip().lower()
            except EOFError:
                return False
            if said in ("y", "yes", "n", "no", "") or not self.person.stays:
                return said in ("y", "yes")
            self.console.print("Please answer y or n.")
