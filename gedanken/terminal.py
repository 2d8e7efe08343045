"""Who types: a person in a terminal, with history and completion, or a pipe, line by line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

Suggest = Callable[[str], Sequence[tuple[str, str]]]
"""Returns what could end a line: each a text, and the end of the line that it takes the place of."""

STYLE = Style.from_dict({"prompt": "bold ansicyan", "bottom-toolbar": "noreverse ansibrightblack"})


class Terminal:
    """A person in a terminal: Enter says it, Alt-Enter begins another line, Ctrl-D quits, Ctrl-C clears the line."""

    stays = True

    def __init__(self, history: Path, suggest: Suggest, toolbar: Callable[[], str]) -> None:
        history.parent.mkdir(parents=True, exist_ok=True)
        self._session: PromptSession[str] = PromptSession(
            [("class:prompt", "› ")],
            history=FileHistory(str(history)),
            completer=Completions(suggest),
            complete_while_typing=Condition(lambda: get_app().current_buffer.text.startswith("/")),
            auto_suggest=AutoSuggestFromHistory(),
            key_bindings=_keys(),
            multiline=True,
            prompt_continuation="  ",
            bottom_toolbar=toolbar,
            reserve_space_for_menu=6,
            style=STYLE,
        )

    def line(self) -> str:
        """Return the next thing that is said."""
        return self._session.prompt()

    def answer(self, question: str, text: str = "") -> str:
        """Return the answer to a question; it does not go into the history."""
        asking: PromptSession[str] = PromptSession([("class:prompt", question)], style=STYLE)
        return asking.prompt(default=text)


class Pipe:
    """A pipe: a line is a line, and what was read is repeated, so that the output reads as a conversation."""

    stays = False

    def line(self) -> str:
        """Return the next line."""
        return self.answer("› ")

    def answer(self, question: str, text: str = "") -> str:
        """Return the next line."""
        print(question, end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            print()
            raise EOFError
        print(line.rstrip("\n"), flush=True)
        return line


class Completions(Completer):
    """What could stand at the end of a line, as prompt_toolkit asks for it."""

    def __init__(self, suggest: Suggest) -> None:
        self._suggest = suggest

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what could stand before the cursor."""
        for text, end in self._suggest(document.text_before_cursor):
            yield Completion(text, start_position=-len(end))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
