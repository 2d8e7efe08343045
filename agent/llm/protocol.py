"""What every language model here can do: complete prompts, embed texts, say what went wrong; knows no backend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Completion:
    """One text that a language model wrote after a prompt.

    `log_probability` is in nats, of the whole text, under the distribution that was sampled from but at temperature 1
    (the embedded model's is renormalised over what the grammar allows); NaN where a server does not say. `seconds` is
    the wall time of the batch in which it was decoded. A text cut off by `max_tokens` is `truncated`: it may break the
    grammar.
    """

    text: str
    log_probability: float
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    truncated: bool = False


@runtime_checkable
class LanguageModel(Protocol):
    """A model that completes prompts, many at once."""

    @property
    def name(self) -> str:
        """Which model answers, as it is written into traces."""
        ...

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
        """Write up to `n` completions for each prompt, all in one batch, the model's best guess first.

        `grammar` is a Lark grammar that every completion must match; `temperature` 0 is deterministic; `stop` strings
        end a completion and are not part of it. `baseline` is the prompt without what matters (its goal): backends that
        can, steer away from what they would say to that; others ignore it. `exclude` are texts that nobody wants again,
        whatever white space is around them: no completion is one of them, and backends that can, go on looking for
        others. The same arguments give the same texts on the same machine. Backends may give fewer than `n` where the
        grammar allows fewer distinct texts. Raises an `LLMError`.
        """
        ...


@dataclass(frozen=True)
class Training:
    """What a language model was trained on: the prompt for plans by its name, and what else it was taught.

    One that `declines` can say that no plan will do; one that `supposes` knows the prompt `whatif` without examples.
    """

    prompt: str
    declines: bool = False
    supposes: bool = False


@runtime_checkable
class Tuned(Protocol):
    """A language model that says what it was trained on."""

    @property
    def training(self) -> Training | None:
        """Return it, or None for a model that has to be shown examples."""
        ...


def training_of(llm: LanguageModel) -> Training | None:
    """Return what a language model was trained on, None for one that has to be shown examples."""
    return llm.training if isinstance(llm, Tuned) else None


@runtime_checkable
class Encoder(Protocol):
    """A model that turns texts into token features."""

    def embed(self, texts: Sequence[str], *, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden states after `layer` (0 is the embedding, negative counts from the last).

        Returns features `[B, L, D]`, float32, and a mask `[B, L]`, true where there is a token.
        """
        ...


class LLMError(Exception):
    """A language model could not answer; the message says why and what to do."""


class ModelUnavailable(LLMError):
    """The model's weights are not here and could not be fetched."""


class ModelCorrupt(LLMError):
    """The model's files are here but damaged, and could not be rebuilt."""


class GrammarError(LLMError):
    """The grammar is malformed, or a text does not match it."""


class PromptTooLong(LLMError):
    """The prompt leaves no room in the model's context."""


class ServerError(LLMError):
    """A model server could not be reached, answered with an error, or answered with something that makes no sense."""


def without_password(address: str) -> str:
    """Return an address as it is. Raises ServerError, which does not repeat it, for one that holds a password."""
    if re.search("://[^/?#]*@", address):
        raise ServerError(
            "there is a user or a password in the language model's address, which is stored with what is learned:"
            " leave out what stands before the @, and set OPENAI_API_KEY"
        )
    return address
