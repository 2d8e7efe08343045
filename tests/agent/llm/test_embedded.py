import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gedanken.agent.llm.decode import Rows
from gedanken.agent.llm.embedded import EmbeddedModel
from gedanken.agent.llm.grammar import Automaton, matches
from gedanken.agent.llm.protocol import Encoder, GrammarError, LanguageModel, ModelCorrupt, PromptTooLong

PROMPTS = ["Goal: go to the red ball\nPlan:\n", "Goal: open the grey door\nPlan:\n", "Plan:\n"]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> EmbeddedModel:
    loaded = EmbeddedModel.from_folder(tiny_folder, name="tiny", dtype=torch.float32)
    loaded.spread, loaded.rest = math.inf, 0.0
    return loaded


@pytest.fixture(scope="module")
def plain(tiny_folder: Path) -> torch.nn.Module:
    reference: torch.nn.Module = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    return reference


def test_keeps_the_contracts(model: EmbeddedModel) -> None:
    assert isinstance(model, LanguageModel)
    assert isinstance(model, Encoder)


def test_every_plan_matches_the_grammar_and_is_distinct(model: EmbeddedModel, grammar: str) -> None:
    for temperature in (0.0, 0.7, 3.0):
        answers = model.complete(PROMPTS, n=8, grammar=grammar, temperature=temperature, max_tokens=60, seed=3)
        for completions in answers:
            texts = [c.text for c in completions]
            assert len(texts) == len(set(texts)) == 8
            assert all(matches(grammar, text) for text in texts)
            assert all(not c.truncated for c in completions)
            assert all(a.log_probability >= b.log_probability for a, b in pairwise(completions[1:]))


def test_same_seed_same_plans_alone_or_in_a_batch(model: EmbeddedModel, grammar: str) -> None:
    def ask(prompts: list[str], seed: int) -> list[list[str]]:
        answers = model.complete(prompts, n=4, grammar=grammar, temperature=1.5, max_tokens=60, seed=seed)
        return [[c.text for c in completions] for completions in answers]

    together = ask(PROMPTS, 5)
    assert ask(PROMPTS, 5) == together
    assert [ask([prompt], 5)[0] for prompt in PROMPTS] == together
    assert ask(PROMPTS, 6) != together
    assert ask([PROMPTS[0], PROMPTS[0]], 5) == [together[0]] * 2


def test_the_greedy_plan_comes_first(model: EmbeddedModel, grammar: str) -> None:
    greedy = model.complete(PROMPTS, n=1, grammar=grammar, temperature=0.0, max_tokens=60, seed=0)
    sampled = model.complete(PROMPTS, n=5, grammar=grammar, temperature=2.0, max_tokens=60, seed=1)
    assert [c[0].text for c in sampled] == [c[0].text for c in greedy]


def test_log_probability_is_that_of_the_plain_model_under_the_grammar(
    model: EmbeddedModel, plain: torch.nn.Module, tiny_folder: Path, grammar: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    automaton = Automaton(grammar, model._grammar_tokenizer, model._end)
    shared = "Goal: pick up the box in front of you\nPlan:\npick_up(box in front of you)\n" * 2
    prompts = [shared + prompt for prompt in PROMPTS]
    for prompt, completions in zip(
        prompts,
        model.complete(prompts, n=6, grammar=grammar, temperature=2.0, max_tokens=60, seed=2),
        strict=True,
    ):
        for completion in completions:
            head, tail = tokenizer.encode(prompt), tokenizer.encode(completion.text)
            assert completion.prompt_tokens == len(head)
            assert completion.completion_tokens == len(tail)
            with torch.no_grad():
                logits = plain(torch.tensor([head + tail])).logits[0].double()
            state, at, expected = automaton.start, 0, 0.0
            while True:
                at += len(state.forced)
                if state.finished:
                    break
                token = tail[at] if at < len(tail) else model._end[0]
                allowed = torch.log_softmax(logits[len(head) + at - 1][state.ids], 0)
                expected += allowed[list(state.ids).index(token)].item()
                if at == len(tail):
                    break
                state, at = state.after(token), at + 1
            assert completion.log_probability == pytest.approx(expected, abs=1e-4)


def test_a_baseline_moves_the_distribution_away_from_itself(tiny_folder: Path, grammar: str) -> None:
    def greedy(guidance: float, baseline: str | None) -> list[float | str]:
        model = EmbeddedModel.from_folder(tiny_folder, dtype=torch.float32)
        model.guidance = guidance
        answers = model.complete(PROMPTS, n=2, grammar=grammar, temperature=0, max_tokens=60, seed=0, baseline=baseline)
        return [item for completions in answers for c in completions for item in (c.text, c.log_probability)]

    for a, b in zip(greedy(0.0, "Goal: nothing\nPlan:\n"), greedy(0.0, None), strict=True):
        assert a == (b if isinstance(b, str) else pytest.approx(b, abs=1e-4))
    assert greedy(1.0, "Goal: nothing\nPlan:\n") != greedy(0.0, None)


def test_guided_log_probability_is_that_of_both_prompts(
    model: EmbeddedModel, grammar: str, plain: torch.nn.Module
) -> None:
    """At the first choice, where it can be computed by hand."""
    prompt, base = PROMPTS[0], "Goal: nothing much\nPlan:\n"
    state = Automaton(grammar, model._grammar_tokenizer, model._end).start
    with torch.no_grad():
        both = [
            plain(torch.tensor([model._encode(t, room=0)])).logits[0, -1][state.ids].double() for t in (prompt, base)
        ]
    given, without = (torch.log_softmax(logits, 0) for logits in both)
    expected = torch.log_softmax(1.75 * given - 0.75 * without, 0)
    asked = {"n": 4, "temperature": 1.0, "seed": 0, "max_tokens": 1, "baseline": base}
    [completions] = model.complete([prompt, PROMPTS[1]], grammar=grammar, **asked)[:1]
    first = {model._text((int(i), *state.after(int(i)).forced)): p for i, p in zip(state.ids, expected, strict=True)}
    for completion in completions:
        assert completion.log_probability == pytest.approx(float(first[completion.text]), abs=1e-4)


def test_hopeless_candidates_are_given_up(tiny_folder: Path, grammar: str) -> None:
    model = EmbeddedModel.from_folder(tiny_folder, dtype=torch.float32)

    def count() -> int:
        answers = model.complete(PROMPTS, n=8, grammar=grammar, temperature=1, max_tokens=60, seed=0)
        assert all(1 <= len(completions) <= 8 for completions in answers)
        return sum(len(completions) for completions in answers)

    model.spread, model.rest = math.inf, 0.0
    assert count() == 24
    model.rest = 0.9
    assert count() < 24
    model.spread, model.rest = 1.0, 0.0
    assert count() < 24


def test_without_a_grammar_it_agrees_with_the_plain_model(
    model: EmbeddedModel, plain: torch.nn.Module, tiny_folder: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokens = tokenizer.encode(PROMPTS[0])
    start = len(tokens)
    with torch.no_grad():
        for _ in range(5):
            tokens.append(int(plain(torch.tensor([tokens])).logits[0, -1].argmax()))
    written = model.complete([PROMPTS[0]], n=1, grammar=None, temperature=0, max_tokens=5, seed=0)[0][0]
    assert written.text == tokenizer.decode(tokens[start:])
    assert written.truncated


def test_stop_strings_end_a_text_and_are_cut_off(model: EmbeddedModel, grammar: str) -> None:
    whole = model.complete([PROMPTS[0]], n=1, grammar=None, temperature=0, max_tokens=12, seed=0)[0][0].text
    mark = whole[4:6]
    cut = model.complete([PROMPTS[0]], n=1, grammar=None, temperature=0, max_tokens=12, seed=0, stop=[mark])[0][0]
    assert cut.text == whole[: whole.index(mark)]
    assert not cut.truncated
    plans = model.complete(PROMPTS, n=3, grammar=grammar, temperature=1, max_tokens=60, seed=0, stop=["done"])
    assert all(matches(grammar, c.text) for completions in plans for c in completions)


def test_max_tokens_truncates_and_says_so(model: EmbeddedModel, grammar: str) -> None:
    completions = model.complete([PROMPTS[0]], n=3, grammar=grammar, temperature=1, max_tokens=2, seed=0)[0]
    assert all(c.truncated for c in completions)


def test_a_grammar_with_one_text_gives_one_plan(model: EmbeddedModel) -> None:
    completions = model.complete([PROMPTS[0]], n=4, grammar='start: "drop()\\n"', temperature=1, max_tokens=9, seed=0)[
        0
    ]
    assert [c.text for c in completions] == ["drop()\n"]
    assert completions[0].log_probability == pytest.approx(0.0)


def test_control_tokens_in_a_prompt_stay_text(model: EmbeddedModel) -> None:
    assert model._end[0] not in model._encode("Goal: <|end|>", room=0)


def test_bad_requests_are_errors_that_say_what_is_wrong(model: EmbeddedModel, grammar: str) -> None:
    with pytest.raises(GrammarError, match="not valid Lark"):
        model.complete(["x"], n=1, grammar="start: (", temperature=0, max_tokens=5, seed=0)
    with pytest.raises(PromptTooLong, match="shorten"):
        model.complete(["x y " * 300], n=1, grammar=grammar, temperature=0, max_tokens=5, seed=0)
    with pytest.raises(ValueError, match="n=0"):
        model.complete(["x"], n=0, grammar=None, temperature=0, max_tokens=5, seed=0)
    assert model.complete([], n=1, grammar=None, temperature=0, max_tokens=5, seed=0) == []


def test_truncated_weights_are_an_error_that_names_the_folder(tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelCorrupt, match=str(tmp_path)):
        EmbeddedModel.from_folder(tmp_path)


@pytest.mark.parametrize("layer", [0, 1, 2, 3, -1, -2])
def test_embed_gives_the_hidden_states_of_a_layer(
    model: EmbeddedModel, plain: torch.nn.Module, tiny_folder: Path, layer: int
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    texts = ["open the door", "go to the red ball in front of you", ""]
    features, mask = model.embed(texts, layer=layer)
    assert features.dtype == torch.float32
    assert features.shape[:2] == mask.shape
    blocks: list[torch.Tensor] = []  # transformers' own last hidden state has gone through a norm; ours has not
    hooks = [block.register_forward_hook(lambda *a: blocks.append(a[2])) for block in plain.base_model.layers]
    for row, text in enumerate(texts[:2]):
        tokens = tokenizer.encode(text)
        assert int(mask[row].sum()) == len(tokens)
        blocks.clear()
        with torch.no_grad():
            states = [plain(torch.tensor([tokens]), output_hidden_states=True).hidden_states[0], *blocks]
        torch.testing.assert_close(features[row, : len(tokens)], states[layer][0], rtol=1e-4, atol=1e-4)
    for hook in hooks:
        hook.remove()


def test_a_head_can_be_trained_on_the_features(model: EmbeddedModel) -> None:
    features, _ = model.embed(["open the door"], layer=2)
    head = torch.nn.Linear(features.shape[-1], 1)
    head(features).sum().backward()
    assert head.weight.grad is not None


def test_an_empty_prompt_is_a_prompt(model: EmbeddedModel, grammar: str) -> None:
    [completions] = model.complete([""], n=2, grammar=grammar, temperature=0, max_tokens=60, seed=0, baseline="")
    assert matches(grammar, completions[0].text)


def test_embed_refuses_a_layer_that_is_not_there(model: EmbeddedModel) -> None:
    with pytest.raises(ValueError, match="has 3"):
        model.embed(["x"], layer=4)


def test_excluded_texts_give_way_to_others(model: EmbeddedModel, grammar: str) -> None:
    def ask(exclude: Sequence[str]) -> list[str]:
        [answer] = model.complete(
            PROMPTS[:1], n=4, grammar=grammar, temperature=0.0, max_tokens=60, seed=0, exclude=exclude
        )
        return [completion.text for completion in answer]

    known = ask([])
    others = ask(known)
    assert others and not set(others) & set(known) and len(others) <= 4


def test_what_candidates_share_is_computed_once_a_decision(
    model: EmbeddedModel, grammar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[int] = []
    real = Rows._line

    def counted(self: Rows, chunks: Sequence[Sequence[int]], parents: Sequence[int] | None) -> object:
        run.append(sum(map(len, chunks)))
        return real(self, chunks, parents)

    monkeypatch.setattr(Rows, "_line", counted)
    prompt = "You see a grey key. " * 9 + "Goal: open the red door\nPlan:\n"
    for n in (1, 8):
        run.clear()
        [answer] = model.complete([f"{n} {prompt}"], n=n, grammar=grammar, temperature=1, max_tokens=60, seed=0)
        read, written = answer[0].prompt_tokens, sum(completion.completion_tokens for completion in answer)
        assert read > 60 and read <= sum(run) <= read + 2 * written
