import json
from pathlib import Path

import pytest

from gedanken.agent.llm import GrammarError, LanguageModel, LLMError, load
from gedanken.agent.llm.scripted import ScriptedModel, ScriptExhausted


def ask(model: LanguageModel, *prompts: str, n: int = 2, grammar: str | None = None) -> list[list[str]]:
    answers = model.complete(prompts, n=n, grammar=grammar, temperature=0.7, max_tokens=50, seed=0)
    return [[c.text for c in completions] for completions in answers]


def test_answers_from_a_function_a_mapping_or_a_list(grammar: str) -> None:
    assert ask(ScriptedModel(lambda prompt: [prompt.upper()]), "a", "b") == [["A"], ["B"]]
    assert ask(ScriptedModel({"door": ["open(door)\n"], "": ["drop()\n"]}), "the door", "x", grammar=grammar) == [
        ["open(door)\n"],
        ["drop()\n"],
    ]
    assert ask(ScriptedModel([["one", "two", "three"], ["four"]]), "a", "b") == [["one", "two"], ["four"]]


def test_is_a_language_model_and_remembers_prompts() -> None:
    model = ScriptedModel({"": ["x", "y"]}, name="double")
    assert isinstance(model, LanguageModel)
    ask(model, "first")
    ask(model, "second")
    assert (model.name, model.prompts) == ("double", ["first", "second"])
    assert [
        c.log_probability for c in model.complete(["p"], n=2, grammar=None, temperature=0, max_tokens=1, seed=0)[0]
    ] == [0, -1]


def test_is_held_to_the_grammar(grammar: str) -> None:
    with pytest.raises(GrammarError, match="leaves the grammar"):
        ask(ScriptedModel([["fly()\n"]]), "p", grammar=grammar)


def test_says_when_there_is_no_answer() -> None:
    with pytest.raises(ScriptExhausted, match="no answer left"):
        ask(ScriptedModel([]), "the prompt")
    with pytest.raises(ScriptExhausted, match="no answer for the prompt"):
        ask(ScriptedModel({"door": ["x"]}), "the key")


def test_loads_by_name(tmp_path: Path) -> None:
    path = tmp_path / "plans.json"
    path.write_text(json.dumps({"goal": ["drop()\n"]}))
    model = load(f"scripted:{path}")
    assert ask(model, "my goal") == [["drop()\n"]]
    assert model.name == "scripted:plans.json"


@pytest.mark.parametrize("text", ["", "[1]", '{"a": "b"}', "3"])
def test_a_bad_script_file_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plans.json"
    path.write_text(text)
    with pytest.raises(LLMError, match="plans.json"):
        load(f"scripted:{path}")


@pytest.mark.parametrize("name", ["", "gpt", "openai:", "scripted:"])
def test_an_unknown_name_is_an_error_that_lists_the_names(name: str) -> None:
    with pytest.raises(LLMError, match="openai:http"):
        load(name)
