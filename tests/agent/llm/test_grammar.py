from pathlib import Path

import pytest
from llguidance.hf import from_tokenizer
from transformers import AutoTokenizer

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
