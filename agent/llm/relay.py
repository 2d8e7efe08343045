"""Language models that pass questions on to another one, in batches of their own making; knows no backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from gedanken.agent.llm.protocol import Completion, LanguageModel, Training, training_of


@dataclass(frozen=True)
class Settings:
    """What `LanguageModel.complete` is told besides the prompts; prompts with the same settings may share a batch."""

    n: int
    grammar: str | None
    temperature: float
    max_tokens: int
    stop: tuple[str, ...]
    seed: int
    baseline: str | None
    exclude: tuple[str, ...]

    def ask(self, llm: LanguageModel, prompts: Sequence[str]) -> list[list[Completion]]:
        """Ask a language model. Raises LLMError."""
        return llm.complete(prompts, **vars(self))


class Relay(ABC):
    """A `LanguageModel` in front of `llm`, whose name and training it has."""

    def __init__(self, llm: LanguageModel) -> None:
        self.llm = llm

    @property
    def name(self) -> str:
        """Which model answers."""
        return self.llm.name

    @property
    def training(self) -> Training | None:
        """What it was trained on."""
        return training_of(self.llm)

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
        """See `LanguageModel.complete`."""
        settings = Settings(n, grammar, temperature, max_tokens, tuple(stop), seed, baseline, tuple(exclude))
        return self.relayed(list(prompts), settings)

    @abstractmethod
    def relayed(self, prompts: list[str], settings: Settings) -> list[list[Completion]]:
        """Return what `llm` says to each prompt."""
