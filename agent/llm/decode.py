"""A transformers model run row by row: a prefix shared by all rows, computed once, and chunks of tokens after it.

Rows attend to the shared prefix without copying it ("Hydragen", Juravsky et al. 2024, but with one softmax over both
parts), which makes many short completions of one long prompt cheap. Knows nothing of grammars or sampling.

Shapes: R rows, C chunk length, S own length (what rows have seen after the prefix), P prefix length, K key heads,
G query heads per key head, E head size, D hidden size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from gedanken.agent.llm.protocol import LLMError

_ATTENTION = "gedanken_prefix"


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens that were run once, with the keys and values `[K, P, E]` of every layer."""

    tokens: tuple[int, ...]
    layers: tuple[tuple[Tensor, Tensor], ...]

    def crop(self, length: int) -> Prefix:
        """The first `length` tokens; shares memory with the whole."""
        return Prefix(self.tokens[:length], tuple((k[:, :length], v[:, :length]) for k, v in self.layers))


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    dropout: float = 0.0,
    prefix: Prefix | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of `query` `[R, K*G, C, E]` to its own `key`, `value` `[R, K, S, E]` and to the shared prefix.

    `attention_mask` is additive, `[R, 1, C, S]`.
    """
    rows, heads, chunk, size = query.shape
    keys, own = key.shape[1], key.shape[2]
    group = heads // keys
    query = query.reshape(rows, keys, group * chunk, size)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling  # [R, K, G*C, S]
    scores = (scores.view(rows, keys, group, chunk, own) + attention_mask[:, :, None]).view(scores.shape)
    if prefix is None or not prefix.tokens:
        out = torch.matmul(torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype), value)
    else:
        prefix_key, prefix_value = prefix.layers[int(module.layer_idx)]  # type: ignore[arg-type]
        flat = query.transpose(0, 1).reshape(keys, rows * group * chunk, size)
        shared = torch.matmul(flat, prefix_key.transpose(1, 2)) * scaling  # [K, R*G*C, P]
        shared = shared.view(keys, rows, group * chunk, -1).transpose(0, 1)
        weights = torch.softmax(torch.cat([shared, scores], -1), -1, dtype=torch.float32).to(value.dtype)
        length = prefix_key.shape[1]
        seen = weights[..., :length].transpose(0, 1).reshape(keys, rows * group * chunk, length)
        out = torch.matmul(seen, prefix_value).view(keys, rows, group * chunk, size).transpose(0, 1)
        out = out + torch.matmul(weights[..., length:], value)
    return out.reshape(rows, heads, chunk, size).transpose(1, 2).contiguous(), None


class Rows:
    """Rows under way after one shared prefix, fed with chunks of tokens of unequal length."""

    def __init__(self, model: PreTrainedModel, prefix: Prefix) -> None:
        self._model = model
        self._prefix = prefix
        self.start = len(prefix.tokens)
        self._cache = DynamicCache()
        self._valid = torch.empty(0, 0, dtype=torch.bool)  # [R, S] false where a chunk was padded
        self._lengths = torch.empty(0, dtype=torch.long)  # [R]

    def feed(self, chunks: Sequence[Sequence[int]], parents: Sequence[int] | None = None) -> Tensor:
        """Run a chunk for each row and return the hidden state `[R, D]` after its last token.

        `parents` says of which former row each row is the continuation; None for the first chunks.
        """
        device = self._model.device
        longest = max(len(chunk) for chunk in chunks)
        tokens = torch.tensor([[*chunk, *([0] * (longest - len(chunk)))] for chunk in chunks], device=device)  # [R, C]
        sizes = torch.tensor([len(chunk) for chunk in chunks], device=device)  # [R]
        steps = torch.arange(longest, device=device)
        fresh = steps < sizes[:, None]  # [R, C]
        if parents is None:
            self._valid = torch.empty(len(chunks), 0, dtype=torch.bool, device=device)
            self._lengths = torch.full((len(chunks),), self.start, device=device)
        elif list(parents) != list(range(len(self._lengths))):
            index = torch.tensor(parents, device=device)
            self._valid, self._lengths = self._valid[index], self._lengths[index]
            self._cache.reorder_cache(cast(torch.LongTensor, index))
        positions = self._lengths[:, None] + steps  # [R, C]
        past = self._valid[:, None, :].expand(-1, longest, -1)
        causal = (steps[:, None] >= steps) & fresh[:, None, :]
        visible = torch.cat([past, causal], -1)  # [R, C, S]
        mask = torch.zeros(visible.shape, dtype=self._model.dtype, device=device)
        mask.masked_fill_(~visible, torch.finfo(mask.dtype).min)
        hidden = self._model.base_model(
            input_ids=tokens,
            attention_mask=mask[:, None],
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            prefix=self._prefix,
        ).last_hidden_state  # [R, C, D]
        self._valid = torch.cat([self._valid, fresh], -1)
        self._lengths = self._lengths + sizes
        last: Tensor = hidden[torch.arange(len(chunks), device=device), sizes - 1]
        return last

    def kept(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values `[K, S, E]` of the first row, for every layer."""
        layers = cast(list[DynamicLayer], self._cache.layers)
        return [
            (layer.keys[0], layer.values[0]) for layer in layers if layer.keys is not None and layer.values is not None
        ]


def output_layer(model: PreTrainedModel) -> torch.nn.Linear:
    """The layer that turns hidden states into logits."""
    return cast(torch.nn.Linear, model.get_output_embeddings())  # type: ignore[no-untyped-call]


def prepare(model: PreTrainedModel) -> None:
    """Make the model attend with `attend`, and check that its logits are its head's output and nothing more."""
    AttentionInterface.register(_ATTENTION, attend)
    model.set_attn_implementation(_ATTENTION)
    mask = torch.zeros(1, 1, 1, 1, dtype=model.dtype, device=model.device)
    with torch.inference_mode():
        probe = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        logits = model(input_ids=probe, attention_mask=mask, use_cache=False).logits
        hidden = model.base_model(input_ids=probe, attention_mask=mask, use_cache=False).last_hidden_state
        plain = output_layer(model)(hidden)
    if not torch.allclose(logits.float(), plain.float(), rtol=1e-2, atol=1e-2):
        raise LLMError(
            f"{type(model).__name__} changes its logits after the output layer, which the embedded backend does not"
            " do: serve the model (vLLM, Ollama, llama.cpp) and use --llm openai:http://…"
        )


class _Reached(Exception):
    """The layer asked for has run."""


def hidden_states(model: PreTrainedModel, texts: Sequence[Sequence[int]], layer: int) -> tuple[Tensor, Tensor]:
    """The hidden states `[B, L, D]` of token lists after `layer`, float32, and the mask `[B, L]` of real tokens."""
    blocks = [m for m in model.base_model.children() if isinstance(m, torch.nn.ModuleList)][0]
    depth = layer if layer >= 0 else len(blocks) + 1 + layer
    if not 0 <= depth <= len(blocks):
        raise ValueError(f"layer {layer} does not exist: the model has {len(blocks)}")
    longest = max(len(text) for text in texts)
    tokens = torch.tensor([[*text, *([0] * (longest - len(text)))] for text in texts], device=model.device)  # [B, L]
    mask = torch.arange(longest, device=model.device) < torch.tensor([[len(t)] for t in texts], device=model.device)
    if depth == 0:
        return model.get_input_embeddings()(tokens).float(), mask
    causal = torch.ones(longest, longest, dtype=torch.bool, device=model.device).tril() & mask[:, None]  # [B, L, L]
    additive = torch.zeros(causal.shape, dtype=model.dtype, device=model.device)
    additive.masked_fill_(~causal, torch.finfo(additive.dtype).min)
    reached: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        reached.append(output if isinstance(output, Tensor) else output[0])
        raise _Reached

    hook = blocks[depth - 1].register_forward_hook(keep)
    try:
        with contextlib.suppress(_Reached):
            model.base_model(input_ids=tokens, attention_mask=additive[:, None], use_cache=False)
    finally:
        hook.remove()
    return reached[0].float(), mask


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
