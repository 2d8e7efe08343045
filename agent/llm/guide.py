"""What a model would say without the goal, text by text, so that it can be steered away from it; runs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gedanken.agent.llm.grammar import GrammarState
from gedanken.agent.llm.search import Choice, FloatArray, log_softmax

_MOST_TEXTS = 50_000


@dataclass(frozen=True, slots=True)
class Row:
    """A text under way: all tokens said so far, the state they led to, and what is to run after which row."""

    text: tuple[int, ...]
    state: GrammarState | None
    chunk: tuple[int, ...]
    parent: int = -1


class Guide:
    """A baseline prompt and the log-probabilities of what may follow each text after it, computed once.

    Texts that are not known yet run as rows of the same batch, beside the texts that they guide ("twins"): a text goes
    on from its parent's twin if that ran in the batch before, and starts anew if its parent was known.
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self.prompt = list(prompt)
        self._known: dict[tuple[int, ...], FloatArray] = {}
        self._running: dict[tuple[int, ...], int] = {}  # rows of the last batch by text

    def missing(self, live: Sequence[Row], former: Sequence[Row], start: int) -> list[Row]:
        """The twins to run next to `live`, after it in the batch; `start` is the length of the batch's prefix."""
        if not former and len(self._known) > _MOST_TEXTS:
            self._known.clear()
        twins: dict[tuple[int, ...], Row] = {}
        for row in live:
            if row.text in self._known or row.text in twins:
                continue
            before = former[row.parent].text if former else None
            if before is not None and before in self._running:
                twins[row.text] = replace(row, parent=self._running[before])
            else:
                twins[row.text] = replace(row, chunk=(*self.prompt[start:], *row.text), parent=-1)
        self._running = {text: len(live) + at for at, text in enumerate(twins)}
        return list(twins.values())

    def learn(self, twins: Sequence[Row], choices: Sequence[Choice]) -> None:
        """Remember what may follow the twins' texts."""
        for row, choice in zip(twins, choices, strict=True):
            self._known[row.text] = log_softmax(choice.logits)

    def applied(self, row: Row, choice: Choice, weight: float) -> Choice:
        """The choice with `(1 + weight)` times its own log-probabilities less `weight` times the baseline's."""
        guided = (1 + weight) * log_softmax(choice.logits) - weight * self._known[row.text]
        return replace(choice, logits=guided)
