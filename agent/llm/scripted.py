"""A language model that says what it was told to say: the test double, for these tests and for users' own.

It is held to the same contract as the real ones: what does not match the grammar is an error. Needs no model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gedanken.agent.llm.protocol import Completion, LLMError

Answers = Callable[[str], Sequence[str]]


class ScriptExhausted(LLMError):
    """The script has no answer left, or none for this prompt."""


class ScriptedModel:
    """Answers from a script; `prompts` holds every prompt that was asked, in order.

    The script is one of: a function from a prompt to its candidates, best first; a mapping from a part of the prompt to
    the candidates (the first part that occurs in the prompt counts); or a list with the candidates of the first prompt,
    of the second, and so on. Asked for more candidates than there are, it gives those there are.
    """

    def __init__(
        self,
        script: Answers | Mapping[str, Sequence[str]] | Sequence[Sequence[str]],
        *,
        name: str = "scripted",
    ) -> None:
        self.name = name
        self.prompts: list[str] = []
        self._answers = _answers(script)

    @classmethod
    def from_file(cls, path: Path) -> ScriptedModel:
        """Read a script from JSON: an object of lists of texts by prompt part, or a list of lists of texts."""
        try:
            script = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LLMError(f"The script {path} cannot be read: {error}. Give a JSON file.") from error
        groups = list(script.values()) if isinstance(script, dict) else script
        if not isinstance(groups, list) or not all(_is_texts(group) for group in groups):
            raise LLMError(
                f'The script {path} must look like {{"part of a prompt": ["a plan", …]}} or [["a plan"], …].'
            )
        return cls(script, name=f"scripted:{path.name}")

    def complete(
        self,
        prompts: Sequence[str],
        *,
        n: int,
        grammar: str | None,
        temperature: float,
        max_tokens: int,
        stop: Sequence[str] = (),
        seed: int,
        baseline: str | None = None,
        exclude: Sequence[str] = (),
    ) -> list[list[Completion]]:
        """See `LanguageModel.complete`; sampling settings change nothing."""
        results: list[list[Completion]] = []
        for prompt in prompts:
            self.prompts.append(prompt)
            texts = [text for text in self._answers(prompt) if text.strip() not in exclude][:n]
            if grammar is not None:
                from gedanken.agent.llm.grammar import check

                for text in texts:
                    check(grammar, text)
            results.append([_completion(text, prompt, rank) for rank, text in enumerate(texts)])
        return results


def _is_texts(group: object) -> bool:
    return isinstance(group, list) and all(isinstance(text, str) for text in group)


def _completion(text: str, prompt: str, rank: int) -> Completion:
    words = len(text.split())
    return Completion(text, -float(rank), len(prompt.split()), words, 0.0)


def _answers(script: Answers | Mapping[str, Sequence[str]] | Sequence[Sequence[str]]) -> Answers:
    if callable(script):
        return script
    if isinstance(script, Mapping):
        return lambda prompt: _by_part(script, prompt)
    left = iter(list(script))

    def following(prompt: str) -> Sequence[str]:
        for texts in left:
            return texts
        raise ScriptExhausted(f"The script has no answer left for the prompt that ends in {prompt[-200:]!r}.")

    return following


def _by_part(script: Mapping[str, Sequence[str]], prompt: str) -> Sequence[str]:
    for part, texts in script.items():
        if part in prompt:
            return texts
    raise ScriptExhausted(f"The script has no answer for the prompt that ends in {prompt[-200:]!r}.")
