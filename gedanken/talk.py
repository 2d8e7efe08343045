"""`gedanken chat`: a conversation in a terminal, or through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from gedanken.cli import REACHED
from gedanken.options import loop_options, seed_option, split, world_option, yes_option
from gedanken.pursue import PIPE_WIDTH


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

    from gedanken.agent.loading import open_agent

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print("[dim]Waking up: world model, critic and language model…[/]")
    with open_agent(last_world() if go_on else world, config) as agent:
        converse(agent, console, reader(), seed=seed, yes=yes, go_on=go_on)
    return REACHED


def converse(agent: Any, console: Any, ask: Callable[[str], str], *, seed: int, yes: bool, go_on: bool) -> None:
    """Talk until the end of the input; on Ctrl-C say how to come back, and let it pass."""
    from gedanken.agent.chat import Chat
    from gedanken.agent.loading import load_world
    from gedanken.agent.session import Session

    conversation = agent.journal.last() if go_on and agent.journal else None
    unfinished = agent.unfinished() if go_on else None
    if conversation:
        console.print(f"[dim]Replaying {conversation.world}, seed {conversation.seed}…[/]")
        session = Session.replay(agent.world, agent.trained, conversation, agent.journal)
    else:
        if go_on:
            console.print("There is no conversation to go on with; this is a new one.")
        session = agent.session(seed)
    chat = Chat(agent, session, console, ask, yes=yes, find_world=load_world)
    try:
        if unfinished:
            chat.resume(unfinished[1])
        chat.run()
    except KeyboardInterrupt:
        chat.story.close()
        console.print("[dim]`gedanken chat --continue` comes back here.[/]")
        raise
    finally:
        chat.session.close()


def last_world() -> str:
    """Return the world of the last conversation, or the default's."""
    from gedanken.agent.journal import Journal
    from gedanken.agent.loading import places

    with Journal(places().journal) as journal:
        last = journal.last()
    return last.world if last else "BabyAI-GoToLocal-v0"


def reader() -> Callable[[str], str]:
    """Return what reads a line: with editing and history in a terminal, plainly in a pipe."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):

        def plain(prompt: str) -> str:
            print(prompt, end="", flush=True)
            line = sys.stdin.readline()
            if not line:
                print()
                raise EOFError
            print(line.rstrip("\n"))
            return line

        return plain

    from prompt_toolkit import PromptSession

    talk: PromptSession[str] = PromptSession()
    return talk.prompt
