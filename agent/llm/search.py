"""Which texts to write: sampling without replacement over a tree of tokens; knows nothing of models or grammars.

Stochastic beam search, after Kool, van Hoof and Welling, "Stochastic Beams and Where to Find Them" (2019): the `n` best
of Gumbel-perturbed log-probabilities are an exact sample of `n` distinct texts. The greedy text is always kept, first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

IntArray = np.ndarray[tuple[int], np.dtype[np.int64]]
FloatArray = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Branch:
    """A text under way, or finished, with its standing among the others."""

    tokens: tuple[int, ...] = ()
    log_probability: float = 0.0  # nats, at temperature 1
    tempered: float = 0.0  # nats, at the search's temperature
    score: float = 0.0  # perturbed `tempered`: the n highest are kept
    greedy: bool = True  # only most likely tokens so far
    parent: int = -1  # which live branch this one grew from
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What may follow a branch: token ids, their logits, and which of them is the end."""

    ids: IntArray
    logits: FloatArray
    end: int


@dataclass(slots=True)
class Search:
    """The beam of one prompt."""

    width: int
    temperature: float
    random: np.random.Generator
    spread: float = np.inf  # nats: live branches this much less likely than the best finished one are given up
    rest: float = 0.0  # probability: when half are done, live branches that are together less likely are given up
    unwanted: Callable[[tuple[int, ...]], bool] = lambda tokens: False  # texts that are dropped when they end
    spare: int = 0  # branches kept beside `width`, for those that will be dropped
    live: list[Branch] = field(default_factory=lambda: [Branch()])
    done: list[Branch] = field(default_factory=list)

    def advance(self, choices: Sequence[Choice]) -> list[tuple[Branch, int]]:
        """Grow every live branch by one choice and keep the best.

        Returns the kept branches that are not at their end, each with the token chosen, which is its last; the caller
        puts each into `live` or `done` after it has appended what must follow.
        """
        grown: list[tuple[Branch, int | None]] = [(branch, None) for branch in self.done]
        for row, (branch, choice) in enumerate(zip(self.live, choices, strict=True)):
            grown.extend(self._children(row, branch, choice))
        grown = [(branch, token) for branch, token in grown if token is not None or not self.unwanted(branch.tokens)]
        grown.sort(key=lambda item: (not item[0].greedy, -item[0].score))
        kept = grown[: self.width + self.spare]
        self.done = [branch for branch, token in kept if token is None]
        self.live = []
        return [] if self._enough(kept) else self._hopeful(kept)

    def _hopeful(self, kept: Sequence[tuple[Branch, int | None]]) -> list[tuple[Branch, int]]:
        floor = max((branch.log_probability for branch in self.done), default=-np.inf) - self.spread
        return [(branch, token) for branch, token in kept if token is not None and branch.log_probability >= floor]

    def _enough(self, kept: Sequence[tuple[Branch, int | None]]) -> bool:
        """Whether half of the texts are done and the model would hardly ever say one of those under way."""
        under_way = sum(np.exp(branch.log_probability) for branch, token in kept if token is not None)
        return 2 * len(self.done) >= self.width > 1 and bool(under_way < self.rest)

    def _children(self, row: int, branch: Branch, choice: Choice) -> list[tuple[Branch, int | None]]:
        plain = log_softmax(choice.logits)
        if self.temperature > 0:
            tempered = branch.tempered + log_softmax(choice.logits / self.temperature)
            scores = _conditional_gumbel(tempered, branch.score, self.random)
        else:
            tempered = branch.tempered + plain
            scores = tempered
        best = int(np.argmax(plain))
        most = self.width + self.spare
        top = np.argpartition(-scores, most - 1)[:most] if len(scores) > most else range(len(scores))
        children: list[tuple[Branch, int | None]] = []
        for i in sorted({int(i) for i in top} | {best}):
            token = int(choice.ids[i])
            child = Branch(
                tokens=branch.tokens if token == choice.end else (*branch.tokens, token),
                log_probability=branch.log_probability + float(plain[i]),
                tempered=float(tempered[i]),
                score=float(scores[i]),
                greedy=branch.greedy and i == best,
                parent=row,
            )
            children.append((child, None if token == choice.end else token))
        return children


def generator(seed: int, prompt: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the prompt only, not on what else is in the batch."""
    digest = hashlib.sha256(prompt.encode(errors="surrogatepass")).digest()
    return np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, int.from_bytes(digest[:8], "little")])


def log_softmax(logits: FloatArray) -> FloatArray:
    """Logits as log-probabilities."""
    shifted = logits - logits.max()
    result: FloatArray = shifted - np.log(np.exp(shifted).sum())
    return result


def _conditional_gumbel(mean: FloatArray, maximum: float, random: np.random.Generator) -> FloatArray:
    """Gumbel variables with these means whose maximum is `maximum` (appendix B of the paper, stable form)."""
    free = mean + random.gumbel(size=mean.shape)
    with np.errstate(divide="ignore"):
        v = maximum - free + np.log1p(-np.exp(free - free.max()))
    result: FloatArray = maximum - np.maximum(0.0, v) - np.log1p(np.exp(-np.abs(v)))
    return result
