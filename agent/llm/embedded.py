"""A language model in this process, through transformers: many prompts and many candidates in one batch.

Knows nothing of where weights come from (`fetch`), and nothing of plans.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llguidance.hf import from_tokenizer
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as chatter

from gedanken.agent.llm.adapter import Adapter
from gedanken.agent.llm.decode import PrefixStore, Rows, hidden_states, output_layer, prepare
from gedanken.agent.llm.dialogue import Frame, frame, without_thoughts
from gedanken.agent.llm.grammar import Automaton, GrammarState, IntArray
from gedanken.agent.llm.guide import Guide, Row
from gedanken.agent.llm.packed import can_pack, pack
from gedanken.agent.llm.protocol import Completion, GrammarError, ModelCorrupt, PromptTooLong, Training
from gedanken.agent.llm.search import Branch, Choice, Search, generator
from gedanken.worldmodel.precision import fastest_dtype

_KEPT = 16  # grammars and baselines that are remembered
_ROWS_AT_ONCE = 128  # more rows than this go in several batches, so that memory stays bounded


class EmbeddedModel:
    """A causal language model in this process; it is also an `Encoder`.

    Candidates are distinct: the greedy one first, the rest sampled without replacement, likeliest first. Text in
    prompts never becomes a control token. Calls from several threads are served one after another.

    `chat` puts every prompt into the model's chat template, where it has one, as the user's message; `folder` is where
    the weights came from. `guidance` is the weight of baselines (see `complete`).

    What is hardly ever said is given up, because the stragglers of a batch cost as much as the rest of it: candidates
    `spread` nats less likely than the best finished one, and, when half are finished, those that together have a
    probability below `rest`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        name: str,
        guidance: float = 0.75,
        spread: float = 5.0,
        rest: float = 0.03,
        adapter: Adapter | None = None,
        chat: bool = False,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.adapter = adapter
        self.guidance = guidance
        self.spread = spread
        self.rest = rest
        self._model = model
        self._model.requires_grad_(False)
        self._model.train(False)
        self._tokenizer = tokenizer
        self._frame = frame(tokenizer) if chat else Frame()
        self._end = _end_ids(model, tokenizer)
        try:
            self._grammar_tokenizer = from_tokenizer(tokenizer, n_vocab=model.config.vocab_size, eos_token=self._end)
        except ValueError as error:
            raise GrammarError(f"the vocabulary of {name} can't be held to a grammar ({error}); serve it") from error
        self._automata: dict[str, Automaton] = {}
        self._guides: dict[tuple[object, ...], Guide] = {}
        self._lock = threading.Lock()
        prepare(self._model)
        self._prefixes = PrefixStore(self._model)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        name: str | None = None,
        dtype: torch.dtype | None = None,
        adapter: Adapter | None = None,
        chat: bool = False,
    ) -> EmbeddedModel:
        """Load weights (safetensors only) and tokenizer from `folder`; raises `ModelCorrupt` or `AdapterError`.

        An adapter is merged into the weights; that it was trained for them, the caller has checked. Without a `dtype`
        a CPU computes in float32 with packed linear layers where it can: few rows take no longer than in bfloat16, and
        every machine writes the same plans. Elsewhere it is the fastest that the machine has.
        """
        packed = dtype is None and not torch.cuda.is_available() and can_pack()
        dtype = torch.float32 if packed else dtype or fastest_dtype(_device())
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
                model = AutoModelForCausalLM.from_pretrained(
                    folder, dtype=dtype, use_safetensors=True, local_files_only=True
                )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelCorrupt(f"The model in {folder} cannot be loaded: {error}. Delete the folder.") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ModelCorrupt(f"The model in {folder} has no fast tokenizer (tokenizer.json), which grammars need.")
        if adapter:
            adapter.merge(model)
        if packed:
            pack(model, keep=output_layer(model))
        name = f"{name or folder.name}+{adapter.name}" if adapter else name or folder.name
        return cls(model, tokenizer, name=name, adapter=adapter, chat=chat, folder=folder)

    @property
    def training(self) -> Training | None:
        """See `Tuned`."""
        return self.adapter.training if self.adapter else None

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
        """See `LanguageModel.complete`.

        With a `baseline` and a grammar, logits are `(1 + w) log p(token | prompt) - w log p(token | baseline)`,
        `w = guidance`: classifier-free guidance (Sanchez et al., "Stay on topic", 2023). A small model otherwise
        repeats what its examples say.
        """
        if n < 1 or max_tokens < 1 or temperature < 0:
            raise ValueError(f"{n=} and {max_tokens=} must be positive, {temperature=} not negative")
        distinct = list(dict.fromkeys(prompts))
        at_once = max(1, _ROWS_AT_ONCE // n)
        answers: dict[str, list[Completion]] = {}
        unwanted = {text.strip() for text in exclude}
        with self._lock, torch.inference_mode():
            automaton = self._automaton(grammar) if grammar is not None else None
            for first in range(0, len(distinct), at_once):
                batch = distinct[first : first + at_once]
                searches = [Search(n, temperature, generator(seed, prompt), self.spread, self.rest) for prompt in batch]
                results = self._decode(batch, searches, automaton, baseline, max_tokens, tuple(stop), unwanted)
                answers.update(zip(batch, results, strict=True))
        return [list(answers[prompt]) for prompt in prompts]

    def embed(self, texts: Sequence[str], *, layer: int) -> tuple[Tensor, Tensor]:
        """See `Encoder.embed`; layers after the one asked for are not run.

        Raises ValueError for a layer that an adapter has changed: nobody has learned to read that one.
        """
        if not texts:
            raise ValueError("embed needs at least one text")
        if self.adapter and not 0 <= layer <= self.adapter.first_layer:
            raise ValueError(f"layer {layer} is changed by {self.name}; those up to {self.adapter.first_layer} are not")
        encoded = [self._encode(text, room=0) for text in texts]
        with self._lock, torch.no_grad():  # not inference mode: a head may be trained on the features
            return hidden_states(self._model, encoded, layer)

    def _decode(
        self,
        prompts: list[str],
        searches: list[Search],
        automaton: Automaton | None,
        baseline: str | None,
        max_tokens: int,
        stop: tuple[str, ...],
        exclude: set[str],
    ) -> list[list[Completion]]:
        began = time.perf_counter()
        encoded = [self._framed(prompt, max_tokens) for prompt in prompts]
        for search in searches:
            search.spare = len(exclude)
            search.unwanted = lambda tokens: self._said(tokens, stop).strip() in exclude
        closing = np.asarray(sorted({self._encode(mark, room=0)[0] for mark in stop if mark}), dtype=np.int64)
        guide = self._guide(baseline, automaton, closing, max_tokens) if baseline is not None and automaton else None
        root = automaton.start if automaton else None
        forced = root.forced if root else ()
        for search in searches:
            search.live = [Branch(tokens=forced)]
        if root and root.finished:  # a grammar of one text
            for search in searches:
                search.done, search.live = search.live, []
        rows = Rows(self._model, self._prefixes.find([*encoded, guide.prompt] if guide else encoded))
        first = [(*tokens[rows.start :], *forced) for tokens in encoded]
        live = [Row(forced, root, chunk) for chunk, search in zip(first, searches, strict=True) if search.live]
        twins = guide.missing(live, [], rows.start) if guide else []
        parents: list[int] | None = None
        while live:  # the baseline's rows come after the live ones
            hidden = rows.feed([row.chunk for row in (*live, *twins)], parents)
            choices = self._choices(hidden[: len(live)], [row.state for row in live], closing)
            if guide:
                if twins:
                    guide.learn(twins, self._choices(hidden[len(live) :], [row.state for row in twins], closing))
                choices = [guide.applied(row, choice, self.guidance) for row, choice in zip(live, choices, strict=True)]
            former, live = live, []
            for search in searches:
                live += self._advance(search, choices, former, max_tokens, stop)
            if guide:
                twins = guide.missing(live, former, rows.start)
            parents = [row.parent for row in (*live, *twins)]
        seconds = time.perf_counter() - began
        return [
            self._completions(search, len(tokens), stop, seconds)
            for search, tokens in zip(searches, encoded, strict=True)
        ]

    def _advance(
        self, search: Search, choices: list[Choice], former: list[Row], max_tokens: int, stop: tuple[str, ...]
    ) -> list[Row]:
        """Grow the search's branches by what was chosen and what that forces; takes its part of `choices`, the front.

        Returns the rows to run next, one for each branch that is still live.
        """
        first = len(former) - len(choices)
        mine = [choices.pop(0) for _ in search.live]
        rows = []
        for branch, token in search.advance(mine):
            parent = first + branch.parent
            state = former[parent].state
            after = state.after(token) if state else None
            chunk = (token, *after.forced) if after else (token,)
            branch = replace(branch, tokens=branch.tokens + chunk[1:])
            if (after and after.finished) or (stop and self._stops_at(branch.tokens, stop) is not None):
                search.done += [] if search.unwanted(branch.tokens) else [branch]
            elif len(branch.tokens) >= max_tokens:
                search.done.append(replace(branch, truncated=True))
            else:
                search.live.append(branch)
                rows.append(Row(branch.tokens, after, chunk, parent))
        return rows

    def _choices(self, hidden: Tensor, states: Sequence[GrammarState | None], closing: IntArray) -> list[Choice]:
        """For each row the tokens that may follow and their logits; only rows of the head that are needed are used.

        `closing` are the tokens with which stop strings begin. Where a grammar lets the text end they count as the end:
        after a few-shot prompt a model does not say its end token but begins the next example.
        """
        head = output_layer(self._model)
        end = self._end[0]
        if any(state is None for state in states):
            logits = head(hidden).double().cpu().numpy()  # [R, V]
            everything = np.arange(logits.shape[1], dtype=np.int64)
            return [Choice(everything, row, end) for row in logits]
        known = [state for state in states if state is not None]
        union = np.unique(np.concatenate([closing, *(state.ids for state in known)]))
        weight = head.weight[torch.from_numpy(union).to(hidden.device)]
        logits = torch.matmul(hidden, weight.T).double().cpu().numpy()  # [R, U]
        choices = []
        for row, state in zip(logits, known, strict=True):
            mine = row[np.searchsorted(union, state.ids)]
            mine[state.ids == end] = np.logaddexp.reduce(
                [*mine[state.ids == end], *row[np.searchsorted(union, closing)]]
            )
            choices.append(Choice(state.ids, mine, end))
        return choices

    def _guide(self, baseline: str, automaton: Automaton, closing: IntArray, max_tokens: int) -> Guide:
        """The guide for a baseline, with what it learnt in former calls; a few are kept."""
        key = (baseline, automaton, *closing)
        guide = self._guides.pop(key, None) or Guide(self._framed(baseline, max_tokens))
        self._guides[key] = guide
        if len(self._guides) > _KEPT:
            self._guides.pop(next(iter(self._guides)))
        return guide

    def _completions(
        self, search: Search, prompt_tokens: int, stop: tuple[str, ...], seconds: float
    ) -> list[Completion]:
        texts: dict[str, Completion] = {}
        for branch in sorted(search.done, key=lambda b: (not b.greedy, -b.log_probability)):
            text = without_thoughts(self._said(branch.tokens, stop))
            completion = Completion(
                text, branch.log_probability, prompt_tokens, len(branch.tokens), seconds, branch.truncated
            )
            texts.setdefault(text, completion)
        return list(texts.values())[: search.width]

    def _said(self, tokens: tuple[int, ...], stop: tuple[str, ...]) -> str:
        """The text of tokens up to where it stops."""
        return self._text(tokens)[: self._stops_at(tokens, stop)]

    def _text(self, tokens: tuple[int, ...]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _stops_at(self, tokens: tuple[int, ...], stop: tuple[str, ...]) -> int | None:
        text = self._text(tokens) if stop else ""
        return min((at for at in (text.find(mark) for mark in stop) if at >= 0), default=None)

    def _automaton(self, grammar: str) -> Automaton:
        if grammar not in self._automata:
            if len(self._automata) >= _KEPT:
                self._automata.pop(next(iter(self._automata)))
            self._automata[grammar] = Automaton(grammar, self._grammar_tokenizer, self._end)
        return self._automata[grammar]

    def _framed(self, prompt: str, room: int) -> list[int]:
        return [*self._frame.before, *self._encode(prompt, room + len(self._frame)), *self._frame.after]

    def _encode(self, text: str, room: int) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        context = int(getattr(self._model.config, "max_position_embeddings", 1 << 30))
        if len(tokens) + room > context:
            raise PromptTooLong(
                f"The text has {len(tokens)} tokens and {room} more are wanted, but {self.name} takes {context} in all:"
                " shorten the scene or the examples."
            )
        return tokens or self._end[:1]  # nothing at all cannot be run


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars from transformers meanwhile."""
    shown = chatter.is_progress_bar_enabled()
    chatter.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            chatter.enable_progress_bar()  # type: ignore[no-untyped-call]


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _end_ids(model: PreTrainedModel, tokenizer: Any) -> list[int]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return list(dict.fromkeys(int(i) for i in [tokenizer.eos_token_id, *ids] if i is not None))
