"""Every word that is sent to a language model, as files with strict templates; knows nothing of who sends them."""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

__all__ = ["LONGEST_LINE", "NO_GOAL", "STOP", "PromptError", "baseline", "facts", "render", "shorter"]

STOP = ("done",)
"""The line that closes every example's plan: what comes after it is not part of a plan."""

NO_GOAL = "do it"
"""A goal that says nothing, for baselines."""

LONGEST_LINE = 2000
"""Most characters of a line that something is told in."""

_NOTABLE = re.compile(r"\b(locked|blocked|stuck|jammed|broken)\b")
_HELD = re.compile(r"\b(carry|hold)\b")
_WHERE = re.compile(r" (ahead|behind|left|right|in front of you|behind you|on your left|on your right)$")
_WORD = re.compile(r"[a-z]+")
_EMPTY = frozenset(["a", "an", "and", "the", "to", "you", "your", "it", "is", "of", "in", "on"])


class PromptError(Exception):
    """A prompt does not exist, or a value that it needs was not given."""


def render(name: str, **values: Any) -> str:
    """The text of the prompt `name` (`propose`, `revise`, `plan`) with these values. Raises `PromptError`."""
    import jinja2

    try:
        return _environment().get_template(f"{name}.jinja").render(**values)
    except jinja2.TemplateNotFound as error:
        raise PromptError(f"There is no prompt {name!r}; there are {', '.join(_names())}.") from error
    except jinja2.UndefinedError as error:
        raise PromptError(f"The prompt {name!r} lacks a value: {error}.") from error


def baseline(name: str, **values: Any) -> str:
    """The same prompt without its goal and notes: what a model says to it, it says because of the examples.

    See `LanguageModel.complete`: the model is steered away from that.
    """
    return render(name, **values, without_goal=True)


def _names() -> list[str]:
    files = (entry.name for entry in resources.files("gedanken.prompts").iterdir())
    return sorted(name.removesuffix(".jinja") for name in files if name.endswith(".jinja") and name != "parts.jinja")


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gedanken.prompts", ""),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # plain text, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(line=_line, reasons=_reasons, tried=_tried)
    environment.globals.update(facts=facts, stop=STOP[0], no_goal=NO_GOAL)
    return environment


def facts(scene: str, goal: str) -> list[str]:
    """What a scene says that bears on how to reach the goal, without where it is: "locked red door".

    A small model is only distracted by the rest. It bears on the goal if it has a word in common with it.
    """
    found = []
    for part in re.split(r"[.,;:]| and ", _line(scene)):
        if (match := _NOTABLE.search(part)) and _akin(part, goal):
            found.append(_WHERE.sub("", part[match.start() :].strip()))
    return list(dict.fromkeys(found))


def shorter(scene: str, goal: str) -> str:
    """Half of what a scene says, for a model that has no room for more; of a scene that says one thing, nothing.

    What has most words in common with the goal stays longest, with what is carried and what bars a way.
    """
    parts = re.split(r"(?<=[.,;]) ", " ".join(scene.split()))
    weights = [len(_akin(part, goal)) + bool(_NOTABLE.search(part)) + 2 * bool(_HELD.search(part)) for part in parts]
    kept = sorted(range(len(parts)), key=lambda at: -weights[at])[: len(parts) // 2]
    return " ".join(parts[at] for at in sorted(kept))


def _akin(part: str, goal: str) -> set[str]:
    """The words that a part of a scene has in common with the goal."""
    return set(_WORD.findall(part.lower())) & set(_WORD.findall(goal.lower())) - _EMPTY


def _line(text: str) -> str:
    """One line, so that no goal can look like another part of the prompt."""
    return " ".join(str(text).split())[:LONGEST_LINE]


def _tried(attempt: Any) -> str:
    """The plan of an attempt, see `_reasons`, its steps one after the other."""
    return ", then ".join(str(attempt.plan if hasattr(attempt, "plan") else attempt[0]).strip().split("\n"))


def _reasons(attempt: Any) -> str:
    """The reasons of an attempt, which is a pair (plan, reasons) or has them as attributes."""
    return str(attempt.reasons if hasattr(attempt, "reasons") else attempt[1])
