"""Grammars over a tokenizer's tokens: a lazily grown trie of parser states; knows nothing of models."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from gedanken.agent.llm.protocol import Completion, GrammarError

IntArray = np.ndarray[tuple[int], np.dtype[np.int64]]

_SMALL = 256  # states that allow more tokens than this hold free text: no check for canonical spelling there
_MAX_STATES = 20_000
_SPEECHLESS = "The model's vocabulary has no token with which this grammar can go on; plan with another model."


class GrammarState:
    """A place in a grammar: which tokens may follow, and which must.

    `forced` tokens follow, without a choice, whatever token led here; `ids` (sorted) may be chosen after them, the end
    token among them where the text may end.
    """

    __slots__ = ("_automaton", "_children", "_matcher", "finished", "forced", "ids")

    def __init__(self, automaton: Automaton, matcher: LLMatcher, last: int | None) -> None:
        self._automaton = automaton
        self._matcher = matcher
        self._children: dict[int, GrammarState] = {}
        self.forced: tuple[int, ...] = tuple(matcher.compute_ff_tokens())
        if self.forced and not matcher.consume_tokens(list(self.forced)):
            raise GrammarError(_SPEECHLESS)
        self.ids: IntArray = np.empty(0, dtype=np.int64)
        self.finished = matcher.is_stopped()  # nothing but the end may follow
        if self.finished:
            return
        allowed = automaton.sayable(matcher)
        ends = np.isin(allowed, automaton.end)
        self.ids = automaton.canonical(allowed[~ends], matcher, self.forced[-1] if self.forced else last)
        self.finished = self.ids.size == 0 and bool(ends.any())
        if not self.ids.size and not self.finished:
            raise GrammarError(_SPEECHLESS)
        if ends.any():
            self.ids = np.sort(np.append(self.ids, automaton.end[:1]))

    def after(self, token: int) -> GrammarState:
        """The state after choosing `token`; computed once."""
        state = self._children.get(token)
        if state is None:
            matcher = self._matcher.deep_copy()
            if not matcher.consume_token(token):
                raise GrammarError(f"The grammar does not allow token {token} here: {matcher.get_error()}")
            state = self._automaton.grow(self, matcher, token)
            self._children[token] = state
        return state


class Automaton:
    """A grammar compiled for one tokenizer; its states are kept, so that a mask is computed once per process.

    Tokens that spell an allowed text in a way the tokenizer itself never would ("p" + "ick" for "pick") are left out:
    the model has not seen such spellings, and they would make one text look like several.
    """

    def __init__(self, grammar: str, tokenizer: LLTokenizer, end: Sequence[int]) -> None:
        self.end: IntArray = np.asarray(end, dtype=np.int64)
        self._tokenizer = tokenizer
        self._states = 0
        self._pairs: dict[tuple[int, int], bool] = {}
        if message := LLMatcher.validate_grammar(grammar, tokenizer):
            raise GrammarError(f"The grammar is not valid Lark for llguidance: {message}")
        self.start = self.grow(None, LLMatcher(tokenizer, grammar, log_level=0), None)

    def grow(self, parent: GrammarState | None, matcher: LLMatcher, token: int | None) -> GrammarState:
        """A new state; the trie is cut back to its root when it has grown too large."""
        if matcher.is_error():
            raise GrammarError(f"The grammar cannot be used: {matcher.get_error()}")
        self._states += 1
        if self._states > _MAX_STATES and parent is not None:
            self.start._children.clear()
            self._states = 1
        return GrammarState(self, matcher, token)

    def sayable(self, matcher: LLMatcher) -> IntArray:
        """The tokens that the grammar allows. Raises GrammarError where the vocabulary has none for what must come."""
        allowed = _allowed(matcher)
        if matcher.is_error():
            raise GrammarError(_SPEECHLESS)
        if must := matcher.compute_ff_bytes():  # llguidance's mask isn't empty where no token can say that
            texts = [self._tokenizer.decode_bytes([int(token)]) for token in allowed]
            fit = [text.startswith(must) or must.startswith(text) for text in texts]
            if not any(fit):
                raise GrammarError(_SPEECHLESS)
        return allowed

    def canonical(self, ids: IntArray, matcher: LLMatcher, last: int | None) -> IntArray:
        """Those of `ids` with which the tokenizer's own spelling of some allowed text can go on."""
        if ids.size > _SMALL:
            return ids
        bad = {int(i) for i in ids if last is not None and not self._goes_after(last, int(i))}
        bad |= {token for token in self._beginnings(ids) if token not in bad and not self._leads_on(token, matcher)}
        if len(bad) == ids.size:  # an odd tokenizer: better a strange spelling than none
            return ids
        return np.asarray([i for i in ids if int(i) not in bad], dtype=np.int64)

    def _beginnings(self, ids: IntArray) -> list[int]:
        """Those of `ids` that are the beginning of another one, such as "p" where "pick" is allowed."""
        spelled = {int(i): self._tokenizer.decode_bytes([int(i)]) for i in ids}
        return [
            i
            for i, text in spelled.items()
            if any(len(other) > len(text) and other.startswith(text) for other in spelled.values())
        ]

    def _leads_on(self, token: int, matcher: LLMatcher) -> bool:
        """Whether the tokenizer's own spelling of anything that the grammar allows goes on with `token`."""
        ahead = matcher.deep_copy()
        if not ahead.consume_token(token):
            return False
        if ahead.is_accepting() or ahead.is_stopped():
            return True
        follow = _allowed(ahead)
        if follow.size > _SMALL:
            return True
        beginnings = set(self._beginnings(follow))
        after = [int(f) for f in follow if self._goes_after(token, int(f))]
        return any(f not in beginnings or self._leads_on(f, ahead) for f in sorted(after, key=beginnings.__contains__))

    def _goes_after(self, first: int, second: int) -> bool:
        """Whether the tokenizer itself would spell these two tokens so, one after the other."""
        pair = (first, second)
        if pair not in self._pairs:
            text = self._tokenizer.decode_bytes([first]) + self._tokenizer.decode_bytes([second])
            self._pairs[pair] = tuple(self._tokenizer.tokenize_bytes(text)) == pair
        return self._pairs[pair]


def _allowed(matcher: LLMatcher) -> IntArray:
    mask = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
    return np.flatnonzero(mask).astype(np.int64)


@lru_cache(maxsize=64)
def _matcher(grammar: str) -> LLMatcher:
    tokenizer = LLTokenizer("byte")
    if message := LLMatcher.validate_grammar(grammar, tokenizer):
        raise GrammarError(f"The grammar is not valid Lark for llguidance: {message}")
    return LLMatcher(tokenizer, grammar, log_level=0)


def check(grammar: str, text: str) -> None:
    """Raise a `GrammarError` that says where `text` leaves the grammar; needs no model."""
    matcher = _matcher(grammar).deep_copy()
    data = list(text.encode())
    taken = matcher.try_consume_tokens(data) if data else 0
    if taken < len(data):
        good, bad = bytes(data[:taken]).decode(errors="replace"), bytes(data[taken:]).decode(errors="replace")
        raise GrammarError(f"The text leaves the grammar after {good!r}, at {bad[:40]!r}.")
    if not matcher.is_accepting():
        raise GrammarError(f"The text ends too early for the grammar: {text!r}.")


def matches(grammar: str, text: str) -> bool:
    """Whether the whole of `text` is in the grammar's language."""
    try:
        check(grammar, text)
    except GrammarError as error:
        if str(error).startswith("The grammar"):
            raise
        return False
    return True


def ending(grammar: str, stop: Sequence[str]) -> str:
    """Return the grammar with a stop string allowed at the end: a server's model could not say else that it is done."""
    if not stop:
        return grammar
    ends = " | ".join(map(json.dumps, stop))
    return re.sub(r"(?m)^start:(.*)$", lambda rule: f"start: ({rule[1].strip()}) ({ends})?", grammar, count=1)


def held(completions: Sequence[Completion], grammar: str, who: str) -> list[Completion]:
    """Return those that match the grammar. Raises GrammarError where none does: then `who` does not keep to it."""
    kept = [completion for completion in completions if matches(grammar, completion.text)]
    if completions and not kept:
        raise GrammarError(
            f"{who} did not keep to the grammar; it said {completions[0].text[:80]!r}. Raise --max-tokens if it was cut"
            " off; with --no-grammar plans that can't be read are dropped instead."
        )
    return kept
