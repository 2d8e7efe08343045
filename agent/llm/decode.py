"""A transformers model run row by row: a prefix shared by all rows, computed once, and chunks of tokens after it.

Rows attend to the shared prefix without copying it ("Hydragen", Juravsky et al. 2024), and the tokens of all rows go
through the model as one line, without padding: that makes many short completions of one long prompt cheap. Knows
nothing of grammars or sampling.

Shapes: T tokens of all rows together, R rows, C longest chunk, S longest row (after the prefix), P prefix length,
K key heads, G query heads per key head, E head size, D hidden size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from gedanken.agent.llm.protocol import LLMError

_ATTENTION = "gedanken_rows"


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens that were run once, with the keys and values `[K, P, E]` of every layer."""

    tokens: tuple[int, ...]
    layers: tuple[tuple[Tensor, Tensor], ...]

    def crop(self, length: int) -> Prefix:
        """The first `length` tokens; shares memory with the whole."""
        return Prefix(self.tokens[:length], tuple((k[:, :length], v[:, :length]) for k, v in self.layers))


@dataclass(frozen=True, slots=True)
class _Line:
    """How the tokens of a chunk of every row lie in one line."""

    tokens: Tensor  # [T]
    row: Tensor  # [T] whose token it is
    column: Tensor  # [T] its place in the row's chunk
    place: Tensor  # [T] its place in the row
    last: Tensor  # [R] where in the line the row's chunk ends
    slots: Tensor  # [R, C] where in the line a chunk's tokens are, 0 beyond its end
    visible: Tensor  # [R, 1, C, S] what of its row a token sees: all up to itself
    parents: Tensor | None  # [R] which former row each row goes on; what a new row takes over it never sees


class Rows:
    """Rows under way after one shared prefix, fed with chunks of tokens of unequal length."""

    def __init__(self, model: PreTrainedModel, prefix: Prefix) -> None:
        self._model = model
        self._prefix = prefix
        self.start = len(prefix.tokens)
        self._lengths = torch.empty(0, dtype=torch.long)  # [R] without the prefix
        self._stored: dict[int, tuple[Tensor, Tensor]] = {}  # keys and values [R, K, S, E] by layer

    def feed(self, chunks: Sequence[Sequence[int]], parents: Sequence[int] | None = None) -> Tensor:
        """Run a chunk for each row and return the hidden state `[R, D]` after its last token.

        `parents` says of which former row each row is the continuation, -1 for a new one; None for the first chunks.
        """
        line = self._line(chunks, parents)
        return self._run(line)[line.last]

    def kept(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values `[K, S, E]` of the first row, for every layer."""
        return [(key[0], value[0]) for _, (key, value) in sorted(self._stored.items())]

    def _line(self, chunks: Sequence[Sequence[int]], parents: Sequence[int] | None) -> _Line:
        device = self._model.device
        sizes = torch.tensor([len(chunk) for chunk in chunks], device=device)  # [R]
        index = None if parents is None else torch.tensor(parents, device=device)
        before = torch.zeros_like(sizes) if index is None else self._lengths[index] * (index >= 0)  # [R]
        self._lengths = before + sizes
        ends = sizes.cumsum(0)
        row = torch.repeat_interleave(sizes)  # [T]
        column = torch.arange(len(row), device=device) - (ends - sizes)[row]
        place = before[row] + column
        slots = torch.zeros(len(chunks), int(sizes.max()), dtype=torch.long, device=device)
        slots[row, column] = torch.arange(len(row), device=device)
        seen = torch.zeros_like(slots)
        seen[row, column] = place
        visible = torch.arange(int(self._lengths.max()), device=device) <= seen[:, :, None]
        tokens = torch.tensor([token for chunk in chunks for token in chunk], device=device)
        return _Line(tokens, row, column, place, ends - 1, slots, visible[:, None], index)

    def _run(self, line: _Line) -> Tensor:
        hidden: Tensor = self._model.base_model(
            input_ids=line.tokens[None],
            position_ids=(self.start + line.place)[None],
            use_cache=False,
            rows=self,
            line=line,
        ).last_hidden_state
        return hidden[0]  # [T, D]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, line: _Line) -> Tensor:
        """Attention `[T, K, G, E]` of `query` `[K, G, T, E]` to the row's own past and the prefix.

        `key` and `value` `[K, T, E]` become part of the past.
        """
        keys, groups, total, size = query.shape
        past_key, past_value = self._remember(layer, key, value, line)
        mine = query[:, :, line.slots].permute(2, 0, 1, 3, 4).flatten(2, 3)  # [R, K, G*C, E]
        scores = torch.matmul(mine, past_key.transpose(2, 3)) * scaling  # [R, K, G*C, S]
        hidden = ~line.visible.repeat(1, 1, groups, 1)
        own = _weigh(scores.masked_fill_(hidden, torch.finfo(scores.dtype).min), past_value)
        own = [part.view(len(line.slots), keys, groups, -1, part.shape[-1]) for part in own]
        own = [part.permute(0, 3, 1, 2, 4)[line.row, line.column] for part in own]  # [T, K, G, .]
        if not self._prefix.tokens:
            return (own[0] / own[2]).to(value.dtype)
        prefix_key, prefix_value = self._prefix.layers[layer]
        scores = torch.matmul(query.reshape(keys, -1, size), prefix_key.transpose(1, 2)) * scaling  # [K, G*T, P]
        shared = _weigh(scores, prefix_value)
        shared = [part.view(keys, groups, total, -1).permute(2, 0, 1, 3) for part in shared]  # [T, K, G, .]
        highest = torch.maximum(own[1], shared[1])
        mine_share, shared_share = torch.exp(own[1] - highest), torch.exp(shared[1] - highest)
        values = own[0] * mine_share + shared[0] * shared_share
        return (values / (own[2] * mine_share + shared[2] * shared_share)).to(value.dtype)

    def _remember(self, layer: int, key: Tensor, value: Tensor, line: _Line) -> tuple[Tensor, Tensor]:
        size = (line.visible.shape[0], key.shape[0], line.visible.shape[-1], key.shape[2])
        both = []
        for which, new in enumerate((key, value)):
            grown = new.new_zeros(size)  # [R, K, S, E]
            if line.parents is not None:
                old = self._stored[layer][which]
                grown[:, :, : old.shape[2]] = old[line.parents][:, :, : size[2]]
            grown[line.row, :, line.place] = new.transpose(0, 1)
            both.append(grown)
        self._stored[layer] = both[0], both[1]
        return both[0], both[1]


def _weigh(scores: Tensor, value: Tensor) -> list[Tensor]:
    """The sum of `value` weighted by `exp(scores - highest)`, that highest score, and the sum of the weights.

    So that softmax can be taken over two sets of scores without bringing them together.
    """
    scores = scores.float()
    highest = scores.amax(-1, keepdim=True)
    weights = torch.exp_(scores - highest)
    return [torch.matmul(weights.to(value.dtype), value).float(), highest, weights.sum(-1, keepdim=True)]


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    *,
    rows: Rows,
    line: _Line,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: one line of tokens, `query` `[1, K*G, T, E]`, `key` and `value` `[1, K, T, E]`."""
    grouped = query[0].view(key.shape[1], -1, *query.shape[2:])
    out = rows.attend(int(module.layer_idx), grouped, key[0], value[0], scaling, line)  # type: ignore[arg-type]
    return out.flatten(1, 2)[None], None


def output_layer(model: PreTrainedModel) -> torch.nn.Linear:
    """The layer that turns hidden states into logits."""
    return cast(torch.nn.Linear, model.get_output_embeddings())  # type: ignore[no-untyped-call]


def prepare(model: PreTrainedModel) -> None:
    """Make the model attend by `Rows`, and check that it gives what it gave before, but for rounding.

    Through 30 layers bfloat16 rounds logits by 0.13 of their standard deviation, and by 0.05 the way it is done here.
    """
    probe = [3, 1, 4, 1, 5]
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([probe], device=model.device), use_cache=False).logits[0, -1]
        AttentionInterface.register(_ATTENTION, _attention)
        model.set_attn_implementation(_ATTENTION)
        given = output_layer(model)(Rows(model, prefill(model, probe[:2], Prefix((), ()))).feed([probe[2:]]))[0]
    spread = expected.float().std()
    if expected.dtype == torch.float32:
        same = torch.allclose(expected, given, rtol=0.05, atol=0.05 * float(spread))
    else:  # what all logits share, softmax takes out
        same = bool((expected.float() - given.float()).std() < 0.3 * spread)
    if not same:
        raise LLMError(
            f"{type(model).__name__} is built in a way that the embedded backend does not know: serve the model (vLLM,"
            " Ollama, llama.cpp) and use --llm openai:http://…"
        )


class _Reached(Exception):
    """The layer asked for has run."""


def hidden_states(model: PreTrainedModel, texts: Sequence[Sequence[int]], layer: int) -> tuple[Tensor, Tensor]:
    """The hidden states `[B, L, D]` of token lists after `layer`, float32, and the mask `[B, L]` of real tokens."""
    blocks = next(m for m in model.base_model.children() if isinstance(m, torch.nn.ModuleList))
    depth = layer if layer >= 0 else len(blocks) + 1 + layer
    if not 0 <= depth <= len(blocks):
        raise ValueError(f"layer {layer} does not exist: the model has {len(blocks)}")
    rows = Rows(model, Prefix((), ()))
    line = rows._line(texts, None)
    reached: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        reached.append(output if isinstance(output, Tensor) else output[0])
        raise _Reached

    block = blocks[depth - 1] if depth else model.get_input_embeddings()
    hook = block.register_forward_hook(keep)
    try:
        with contextlib.suppress(_Reached):
            rows._run(line)
    finally:
        hook.remove()
    features = reached[0].new_zeros(*line.slots.shape, reached[0].shape[-1], dtype=torch.float32)
    features[line.row, line.column] = reached[0][0].float()
    mask = torch.zeros_like(line.slots, dtype=torch.bool)
    mask[line.row, line.column] = True
    return features, mask


def prefill(model: PreTrainedModel, tokens: Sequence[int], start: Prefix) -> Prefix:
    """Run `tokens` after `start` and return both as one prefix."""
    rows = Rows(model, start)
    rows.feed([tokens])
    own = rows.kept()
    if start.tokens:
        pairs = zip(start.layers, own, strict=True)
        own = [(torch.cat([a[0], b[0]], 1), torch.cat([a[1], b[1]], 1)) for a, b in pairs]
    return Prefix((*start.tokens, *tokens), tuple(own))


class PrefixStore:
    """The last few prefixes, found again by their tokens; nobody has to say what part of a prompt is constant."""

    def __init__(self, model: PreTrainedModel, size: int = 6) -> None:
        self._model = model
        self._size = size
        self._known: list[Prefix] = []

    def find(self, prompts: Sequence[Sequence[int]]) -> Prefix:
        """A prefix of all `prompts` that leaves each at least one token; computed if the known ones are too short."""
        common = common_length(prompts)
        common = min(common, min(len(prompt) for prompt in prompts) - 1)
        best, length = Prefix((), ()), 0
        for known in self._known:
            shared = min(common_length([known.tokens, prompts[0]]), common)
            if shared > length:
                best, length = known, shared
        if length * 2 < common:
            added = prefill(self._model, prompts[0][length:common], best.crop(length))
            self._known = [*self._known, added][-self._size :]
            return added
        if best.tokens:  # most recently used last
            self._known = [*(known for known in self._known if known is not best), best]
        return best.crop(length)


def common_length(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with."""
    columns = enumerate(zip(*sequences, strict=False))
    return next((i for i, column in columns if len(set(column)) > 1), min(len(sequence) for sequence in sequences))
