"""How models that talk are asked and heard: their chat template around a prompt, their thoughts out of an answer.

Knows no backend.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gedanken.agent.llm.protocol import LLMError

_MARK = "\ue000"  # private use: no goal may hold it
_NAMES = r"(?:think|thinking|thought|reasoning|reflection)"
_THOUGHT = re.compile(rf".*(?:</{_NAMES}>|\[/THINK\])\s*", re.DOTALL | re.IGNORECASE)
_OPEN = re.compile(rf"(?:<{_NAMES}>|\[THINK\]).*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Frame:
    """What a chat template puts before and after the user's one message, as tokens."""

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.before) + len(self.after)


def frame(tokenizer: Any) -> Frame:
    """Return the frame of a tokenizer's chat template, an empty one where it has none. Raises LLMError.

    The message itself is put in between as plain text, so nothing in it becomes a control token. Templates that can
    let a model answer without thinking first, do.
    """
    if not getattr(tokenizer, "chat_template", None):
        return Frame()
    try:
        said = tokenizer.apply_chat_template(
            [{"role": "user", "content": _MARK}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except Exception as error:  # a template is a program of the model's own, and may raise anything
        raise LLMError(f"the model's chat template can't be used ({error}); serve it, or name another") from error
    before, mark, after = str(said).partition(_MARK)
    if not mark:
        raise LLMError("the model's chat template leaves the user's message out; serve the model, or name another")
    return Frame(*(tuple(tokenizer.encode(text, add_special_tokens=False)) for text in (before, after)))


def without_thoughts(text: str) -> str:
    """Return what a model says when it has thought, nothing where it was cut off before."""
    return _OPEN.sub("", _THOUGHT.sub("", text))
