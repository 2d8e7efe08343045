from pathlib import Path

import pytest
from llguidance.hf import from_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from gedanken.agent.llm.embedded import EmbeddedModel
from gedanken.agent.llm.grammar import Automaton, GrammarState, check, matches
from gedanken.agent.llm.protocol import GrammarError


def test_check_says_where_a_text_leaves_the_grammar(grammar: str) -> None:
    check(grammar, "pick_up(blue key)\nopen(blue door)\n")
    with pytest.raises(GrammarError, match=r"after 'open\(', at 'key\)"):
        check(grammar, "open(key)\n")
    with pytest.raises(GrammarError, match="ends too early"):
        check(grammar, "open(door)")
    with pytest.raises(GrammarError, match="ends too early"):
        check(grammar, "")


def test_matches_is_check_without_the_words(grammar: str) -> None:
    assert matches(grammar, "drop()\n")
    assert not matches(grammar, "drop()\n" * 4)
    with pytest.raises(GrammarError, match="not valid Lark"):
        matches("start: (", "x")


def test_every_text_is_spelled_as_the_tokenizer_spells_it(tiny_folder: Path, grammar: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    automaton = Automaton(grammar, from_tokenizer(tokenizer), [tokenizer.eos_token_id])
    seen = 0

    def walk(state: GrammarState, tokens: list[int], steps: int) -> None:
        nonlocal seen
        tokens = [*tokens, *state.forced]
        text = tokenizer.decode(tokens)
        if state.finished or tokenizer.eos_token_id in state.ids:
            assert tokenizer.encode(text) == tokens
            assert matches(grammar, text)
            seen += 1
            return
        for token in state.ids:
            walk(state.after(int(token)), [*tokens, int(token)], steps)

    walk(automaton.start, [], 1)
    objects, things, doors = 5 * 4 * 3, 5 * 3 * 3, 5 * 3
    assert seen == objects + things + doors + 1  # every one-step plan, each once


def test_states_are_computed_once_and_bounded(tiny_folder: Path, grammar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    automaton = Automaton(grammar, from_tokenizer(tokenizer), [tokenizer.eos_token_id])
    token = int(automaton.start.ids[0])
    assert automaton.start.after(token) is automaton.start.after(token)
    with pytest.raises(GrammarError, match="does not allow"):
        automaton.start.after(tokenizer.encode("blue")[0])
    monkeypatch.setattr("gedanken.agent.llm.grammar._MAX_STATES", 1)
    state = automaton.start.after(int(automaton.start.ids[1]))
    assert state.forced or state.ids.size


@pytest.fixture
def letters() -> PreTrainedTokenizerFast:
    """A vocabulary of small letters, that has neither "_" nor the end of a line."""
    vocabulary = {letter: at for at, letter in enumerate(["<end>", *"abcdefghijklmnopqrstuvwxyz()"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


@pytest.mark.parametrize("text", ["open_it", "open\\n", "\\n"])
def test_a_vocabulary_that_can_t_say_a_plan_is_an_error_and_says_no_other(
    letters: PreTrainedTokenizerFast, text: str
) -> None:
    grammar = f'start: "{text}" | "{text}" "{text}"'
    with pytest.raises(GrammarError, match="vocabulary has no token"):
        state = Automaton(grammar, from_tokenizer(letters), [0]).start
        while not state.finished:
            state = state.after(int(state.ids[0]))


def test_a_vocabulary_of_an_unknown_kind_is_an_error(tiny_folder: Path, letters: PreTrainedTokenizerFast) -> None:
    letters.backend_tokenizer.decoder = None
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    with pytest.raises(GrammarError, match="the vocabulary of odd can't be held to a grammar"):
        EmbeddedModel(model, letters, name="odd")
