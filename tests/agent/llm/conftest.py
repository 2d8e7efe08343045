"""A tiny random model with a real BPE tokenizer, a plan grammar, and the real model where it can be had."""

from pathlib import Path

import pytest

GRAMMAR = r"""
start: step{1,3}
step: ("go_to(" object ")" | "pick_up(" thing ")" | "open(" door ")" | "drop()") "\n"
object: (COLOUR " ")? ("ball" | "box" | "key" | "door") PLACE?
thing: (COLOUR " ")? ("ball" | "box" | "key") PLACE?
door: (COLOUR " ")? "door" PLACE?
COLOUR: "blue" | "green" | "grey" | "red"
PLACE: " in front of you" | " behind you"
"""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "llm: uses the real language model (cached, or fetched first)")


@pytest.fixture(scope="session")
def grammar() -> str:
    return GRAMMAR


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = "Goal: Plan: go_to( pick_up( open( drop() the red green grey blue ball box key door in front of behind you"
    tokenizer.train_from_iterator(
        [words, words.replace(" ", "\n"), "go_to(grey key)\npick_up(blue box behind you)\n"] * 9, trainer
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=fast.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
