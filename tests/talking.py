"""A person whose lines are known beforehand, and chats with it, for tests of the conversation."""

import io
from collections.abc import Sequence
from typing import Any

from doubles import Stage
from rich.console import Console

from gedanken.agent.agent import Agent
from gedanken.agent.chat.conversation import Chat
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.worlds.babyai import level_ids


class Typed:
    """A person whose lines are known beforehand; where one is an exception, it is raised."""

    def __init__(self, lines: Sequence[str | BaseException], *, stays: bool = True) -> None:
        self.lines, self.stays = list(lines), stays
        self.asked: list[tuple[str, str]] = []

    def line(self) -> str:
        if not self.lines:
            raise EOFError
        said = self.lines.pop(0)
        if isinstance(said, BaseException):
            raise said
        return said

    def answer(self, question: str, text: str = "") -> str:
        self.asked.append((question, text))
        return self.line()


def begin(agent: Agent, *lines: str | BaseException, yes: bool = True, terminal: bool = False) -> Chat:
    """A chat to which these lines will be typed, in a level with a red key, a grey ball and a blue one."""
    find: Any = Stage
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal)
    return Chat(
        agent,
        agent.session(3),
        console,
        Typed(lines),
        yes=yes,
        find_world=find,
        find_llm=lambda name: ScriptedModel([[f"{name}\n"]], name=name),
        worlds=level_ids(),
    )


def heard(chat: Chat) -> str:
    """What a chat answers, when all has been typed."""
    chat.run()
    screen: Any = chat.console.file
    return str(screen.getvalue())


def talk(agent: Agent, *lines: str | BaseException, yes: bool = True) -> str:
    """What a chat answers to lines typed."""
    return heard(begin(agent, *lines, yes=yes))
