from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from gedanken.agent.llm.decode import Prefix, PrefixStore, Rows, common_length, output_layer, prepare
from gedanken.agent.llm.protocol import LLMError

TOKENS = [5, 9, 30, 31, 17, 4, 80, 81, 82]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> torch.nn.Module:
    loaded = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    loaded.requires_grad_(False)
    prepare(loaded)
    return loaded


@pytest.fixture(scope="module")
def plain(tiny_folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).requires_grad_(False)


def test_rows_of_unequal_chunks_equal_whole_runs(model, plain) -> None:
    store = PrefixStore(model)
    prompts = [TOKENS + [7], TOKENS + [7, 8, 9, 10], TOKENS + [60, 61]]
    prefix = store.find(prompts)
    assert prefix.tokens == tuple(TOKENS)
    rows = Rows(model, prefix)
    said = [prompt[rows.start :] for prompt in prompts]
    parents = None
    for chunks, parents in (
        (said, None),
        ([[3], [4, 5, 6], [7, 8], [9]], [0, 0, 2, 1]),
        ([[11, 12], [13]], [3, 1]),
        ([[14], [15, 16]], [0, 1]),
    ):
        said = [list(c) if parents is None else said[parents[i]] + list(c) for i, c in enumerate(chunks)]
        hidden = rows.feed(chunks, parents)
        logits = output_layer(model)(hidden)
        for row, tokens in enumerate(said):
            whole = plain(torch.tensor([TOKENS + tokens])).logits[0, -1]
            torch.testing.assert_close(logits[row], whole, rtol=1e-4, atol=1e-4)


def test_prefixes_are_found_again_and_computed_once(model, monkeypatch: pytest.MonkeyPatch) -> None:
    import gedanken.agent.llm.decode as decode

    runs: list[int] = []
    real = decode.prefill
    monkeypatch.setattr(
        decode, "prefill", lambda m, tokens, start: (runs.append(len(tokens)), real(m, tokens, start))[1]
    )
    store = PrefixStore(model, size=2)
    assert store.find([TOKENS]).tokens == tuple(TOKENS[:-1])  # one token is left to run
    assert store.find([[*TOKENS[:7], 1, 2]]).tokens == tuple(TOKENS[:7])
    assert runs == [8]
    longer = store.find([[*TOKENS, *range(20, 40)]])
    assert len(longer.tokens) == len(TOKENS) + 19
    assert runs == [8, 20]  # grown from what was known
    store.find([[1, 2, 3]])
    store.find([[4, 5, 6]])
    store.find([TOKENS])
    assert len(runs) == 5  # forgotten meanwhile
    assert store.find([[1], [2, 3]]) == Prefix((), ())


def test_a_grown_prefix_equals_a_whole_one(model) -> None:
    store = PrefixStore(model)
    store.find([TOKENS[:4]])
    grown, whole = store.find([[*TOKENS, 1]]), PrefixStore(model).find([[*TOKENS, 1]])
    assert grown.tokens == whole.tokens
    for (key, value), (key2, value2) in zip(grown.layers, whole.layers, strict=True):
        torch.testing.assert_close(key, key2, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(value, value2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_gives_other_logits_is_refused(tiny_folder: Path, dtype: torch.dtype) -> None:
    prepare(AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=dtype))
    bent = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=dtype)
    forward = bent.forward

    def capped(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = -output.logits
        return output

    bent.forward = capped
    with pytest.raises(LLMError, match="serve the model"):
        prepare(bent)


def test_common_length() -> None:
    assert common_length([[1, 2, 3], (1, 2, 4), [1, 2]]) == 2
    assert common_length([[1], [2]]) == 0
    assert common_length([[1, 2]]) == 2
