"""`gedanken dream`: live inside the learned model, with the arrow keys, or with actions read from a pipe."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import sys
import termios
import tty
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gedanken.cli import REACHED
from gedanken.options import json_option, seed_option, world_option
from gedanken.pursue import PIPE_WIDTH

if TYPE_CHECKING:
    from rich.console import Console

    from gedanken.agent.dreaming import Dreaming, Moment
    from gedanken.agent.llm.protocol import LanguageModel

KEYS = {"\x1b[A": "forward", "\x1b[D": "left", "\x1b[C": "right", " ": "act", "r": "again", "q": "quit"}
KEYS |= {"\x1bOA": "forward", "\x1bOD": "left", "\x1bOC": "right", "\x1b": "quit", "\x04": "quit"}
"""What a key asks for: an action, or to act on what is there, dream anew, end."""

MOVES = ("forward", "left", "right")
HELP = "arrows move · space acts on what is ahead · e lets something happen · r dreams anew · q ends"
ASK = "What happens? {}▏ (for example: the door opens) · Enter lets it happen · Escape lets it be"


@dataclass(frozen=True)
class Happening:
    """An event in words; one that is still being typed is not `said` yet."""

    text: str
    said: bool = True


Asked = str | Happening
"""An action, to act on what is there, to dream anew, to end; or an event."""


@click.command(name="dream")
@click.argument("words", required=False)
@world_option
@seed_option
@click.option("--dream", "number", type=click.IntRange(0), default=0, show_default=True, help="Seed of the dream.")
@click.option("--checkpoint", help="World model: a name, or a folder. Left out: the one that ships for the world.")
@click.option("--llm", "model", default="embedded:planner", show_default=True, help="Reads words that the world lacks.")
@json_option
def dream_command(
    words: str | None, world: str, seed: int, number: int, checkpoint: str | None, model: str, as_json: bool
) -> int:
    """Live inside the learned model; WORDS say what must be there: "a red ball and a locked blue door".

    It begins with what a real environment shows first (--world, --seed); the rest is imagined. In a terminal the arrow
    keys move, space acts, and e lets something happen that is said in words: "the door opens". From a pipe actions are
    read, parted by white space: forward, left, right, act, again, or an action's own name; "an event" stands in quotes.
    """
    from rich.console import Console

    from gedanken.agent.telling.window import waiting

    typed = sys.stdin.isatty() and sys.stdout.isatty()
    console = Console(highlight=False, stderr=as_json, width=None if typed else PIPE_WIDTH)
    asleep = waiting(console, "Falling asleep: the world model is loaded")
    with asleep if typed else contextlib.nullcontext(lambda what: None) as say:
        from gedanken.agent import llm
        from gedanken.agent.dreaming import Dreaming
        from gedanken.agent.grounding import ground, reading
        from gedanken.agent.loading import load_world
        from gedanken.worldmodel.checkpoint import shipped
        from gedanken.worldmodel.imagined import ImaginedEnv

        @functools.cache
        def language_model() -> LanguageModel:
            say(f"Reading the words: {model} is loaded")
            return llm.load(model)

        start = load_world(world)
        there = ground(start.spec, words, reading(start, language_model)) if words is not None else []
        env = ImaginedEnv(checkpoint or shipped(start.spec, world), start, start_seed=seed, there=there)
    with contextlib.closing(keys() if typed else words_of_a_pipe()) as asked:
        moments = live(Dreaming(env, number), number, asked, console, typed)
    if as_json:
        click.echo(json.dumps({"world": world, "seed": seed, "there": there, "moments": moments}))
    return REACHED


def live(dreaming: Dreaming, seed: int, asked: Iterator[Asked], console: Console, typed: bool) -> list[dict[str, Any]]:
    """Dream, begun with a seed, until nothing more is asked for; return every moment.

    Raises GoalError or CheckpointError for an event that can't be, unless somebody typed it and can read why.
    """
    from gedanken.agent.goals import GoalError
    from gedanken.agent.telling.dreaming import picture, said
    from gedanken.agent.telling.window import Window
    from gedanken.worldmodel.checkpoint import CheckpointError

    window = Window(console)

    def show(news: str) -> None:
        if typed:
            window.show(picture(dreaming, f"{news}\n{HELP}"))
        else:
            console.print(f"{news} {said(dreaming.now)}", markup=False)

    def begun() -> str:
        missing = dreaming.now.missing
        lacks = f"; this dream has no {', no '.join(missing)}" if missing else ""
        return f"There is to be: {', '.join(dreaming.there)}{lacks}." if dreaming.there else "A dream."

    def note(kind: str, what: str, now: Moment) -> None:
        moments.append({kind: what, "seen": now.sees, "disagreement": now.disagreement, "reward": now.reward})

    def happen(event: Happening) -> None:
        if not event.said or not event.text.strip():
            show("Nothing happens." if event.said else ASK.format(event.text))
            return
        try:
            note("event", event.text, dreaming.happen(event.text))
        except (CheckpointError, GoalError) as error:
            if not typed:
                raise
            show(f"{error}.")
        else:
            show(f"It happens: {dreaming.now.what}.")

    moments: list[dict[str, Any]] = []
    try:
        show(begun())
        for word in asked:
            if isinstance(word, Happening):
                happen(word)
                continue
            if word == "quit":
                break
            if word == "again":
                seed += 1
                dreaming.begin(seed)
                show(begun())
                continue
            action = choose(dreaming, word)
            if action is None:
                show("Nothing to act on.")
                continue
            note("action", action, dreaming.act(action))
            show(f"{dreaming.env.taken}: {action}.")
            if dreaming.now.over:
                seed += 1
                dreaming.begin(seed)
                show(f"The dream is over. {begun()}")
    finally:
        window.close(keep=True)
    return moments


def choose(dreaming: Dreaming, word: str) -> str | None:
    """Return the action of a word; to act is the first action, none of the moves, that the model says does something.

    Raises click.UsageError for a word that is none.
    """
    names = dreaming.spec.action_names
    if word == "act":
        return next((name for i, name in enumerate(names) if name not in MOVES and dreaming.env.changes(i)), None)
    if word not in names:
        raise click.UsageError(f"{word!r} is no action; there are {', '.join(names)}, act, again and quit")
    return word


def keys(terminal: int = 0) -> Generator[Asked]:
    """Yield what keys ask for, as they are pressed, until the end of the input; the terminal is left as it was."""
    before, text = termios.tcgetattr(terminal), None
    tty.setcbreak(terminal, termios.TCSANOW)  # keys pressed before this moment count, too
    try:
        while typed := os.read(terminal, 64).decode(errors="replace"):
            for key in re.findall(r"\x1b[\[O].|.", typed, re.DOTALL):
                if text is not None:
                    text, asked = _typed(text, key)
                    yield asked
                elif key == "e":
                    text = ""
                    yield Happening(text, said=False)
                elif key in KEYS:
                    yield KEYS[key]
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _typed(text: str, key: str) -> tuple[str | None, Happening]:
    """Return what a key makes of an event's words, None where they are no longer typed, and what is asked for then."""
    if key in ("\r", "\n"):
        return None, Happening(text)
    if key == "\x1b":
        return None, Happening("")
    text = text[:-1] if key in ("\x7f", "\b") else text + key if key.isprintable() else text
    return text, Happening(text, said=False)


def words_of_a_pipe() -> Generator[Asked]:
    """Yield the words of a pipe; what stands in quotes is an event."""
    for line in sys.stdin:
        for event, word in re.findall(r'"([^"]*)"|(\S+)', line):
            yield word or Happening(event)
