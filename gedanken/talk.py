"""`gedanken chat`: a conversation in a terminal, or through a pipe."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from gedanken.cli import REACHED
from gedanken.options import loop_options, seed_option, split, world_option, yes_option
from gedanken.pursue import PIPE_WIDTH

if TYPE_CHECKING:
    from rich.console import Console

    from gedanken.agent.agent import Agent
    from gedanken.agent.chat.conversation import Chat
    from gedanken.agent.session import Session


@click.command(name="chat")
@world_option
@seed_option
@yes_option
@click.option("--continue", "go_on", is_flag=True, help="Go on with the last conversation, even if it was killed.")
@loop_options
def chat_command(world: str, seed: int, yes: bool, go_on: bool, **options: Any) -> int:
    """Talk to the agent: goal after goal in one environment. `/help` says what else can be typed."""
    config = split(options)
    from rich.console import Console

    from gedanken.agent.telling.window import waiting
    from gedanken.upkeep import language_model

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    fetched = config.llm.partition(":")[0] != "embedded" or language_model()["here"]
    first = "" if fetched else " (which is fetched first, this once)"
    with contextlib.ExitStack() as stack:
        with waiting(console, f"Waking up world model, critic and language model{first}"):
            from gedanken.agent.loading import open_agent  # takes seconds

            agent = stack.enter_context(open_agent(last_world() if go_on else world, config))
        converse(agent, console, seed=seed, yes=yes, go_on=go_on)
    return REACHED


def converse(agent: Agent, console: Console, *, seed: int, yes: bool, go_on: bool) -> None:
    """Talk until the end of the input; in a pipe say on Ctrl-C how to come back, and let it pass."""
    from gedanken.agent import llm
    from gedanken.agent.chat.completion import suggestions
    from gedanken.agent.chat.conversation import Chat, Person
    from gedanken.agent.loading import load_world
    from gedanken.terminal import Pipe, Terminal
    from gedanken.worldmodel.checkpoint import home
    from gedanken.worlds.babyai import level_ids

    unfinished = agent.unfinished() if go_on else None
    session = begin(agent, console, seed, go_on=go_on)
    person: Person = Pipe()
    if sys.stdin.isatty() and sys.stdout.isatty():
        person = Terminal(home() / "chat_history", lambda line: suggestions(line, chat), lambda: standing(chat))
    levels = level_ids()
    alike = levels if agent.world.id in levels else [agent.world.id]
    chat = Chat(agent, session, console, person, yes=yes, find_world=load_world, find_llm=llm.load, worlds=alike)
    try:
        chat.run(unfinished[1] if unfinished else None)
    except KeyboardInterrupt:
        console.print("[dim]`gedanken chat --continue` comes back here.[/]")
        raise
    finally:
        chat.session.close()


def begin(agent: Agent, console: Console, seed: int, *, go_on: bool) -> Session:
    """Begin a session, or replay the last conversation's."""
    from gedanken.agent.interrupts import whole
    from gedanken.agent.session import Session
    from gedanken.agent.telling.window import waiting

    last = agent.journal.last() if go_on and agent.journal else None
    if last and agent.journal:
        with waiting(console, f"Replaying {last.world}, seed {last.seed}"):
            return Session.replay(agent.world, agent.trained, last, agent.journal)
    if go_on:
        console.print("There is no conversation to go on with; this is a new one.")
    with waiting(console, f"Preparing {agent.world.id}, seed {seed}"), whole():
        return agent.session(seed)


def standing(chat: Chat) -> str:
    """Say in a line where the conversation stands."""
    asks = "acts without asking" if chat.yes else "asks before it acts"
    actions = f"{len(chat.session.actions)} actions"
    return f" {chat.agent.world.id}, seed {chat.session.seed} · {actions} · {asks} · {chat.agent.llm.name}"


def last_world() -> str:
    """Return the world of the last conversation, or the default's."""
    from gedanken.agent.journal import Journal
    from gedanken.agent.loading import places

    with Journal(places().journal) as journal:
        last = journal.last()
    return last.world if last else "BabyAI-GoToLocal-v0"
