"""The real embedded model, cheaply: is it fetched, does it load, does it plan."""

import time
from collections.abc import Iterator

import pytest
import torch

from gedanken.agent.llm import Encoder, LanguageModel, ModelUnavailable, load
from gedanken.agent.llm.embedded import EmbeddedModel
from gedanken.agent.llm.fetch import model_folder
from gedanken.agent.llm.grammar import matches

pytestmark = [pytest.mark.llm, pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]

EXAMPLES = [
    ("go to the red ball", "go_to(red ball)"),
    ("pick up a blue key", "pick_up(blue key)"),
    ("open the green door", "open(green door)"),
    ("go to a blue key behind you", "go_to(blue key behind you)"),
    ("pick up the grey box", "pick_up(grey box)"),
    ("open a door in front of you", "open(door in front of you)"),
]
SHARED = "".join(f"Goal: {goal}\nPlan:\n{plan}\ndone\n" for goal, plan in EXAMPLES)
ASKED = {"temperature": 0.8, "max_tokens": 60, "seed": 1, "stop": ["done"], "baseline": f"{SHARED}Goal: do it\nPlan:\n"}


@pytest.fixture(scope="module")
def model() -> Iterator[LanguageModel]:
    try:
        yield load("embedded")
    except ModelUnavailable as error:
        pytest.skip(str(error))


def test_it_plans_what_the_goal_says(model: LanguageModel, grammar: str) -> None:
    goals = {
        "go to the grey box": "go_to(grey box)\n",
        "pick up the red ball": "pick_up(red ball)\n",
        "open the blue door": "open(blue door)\n",
    }
    prompts = [f"{SHARED}Goal: {goal}\nPlan:\n" for goal in goals]
    answers = model.complete(prompts, n=4, grammar=grammar, **ASKED)
    assert all(matches(grammar, c.text) for completions in answers for c in completions)
    for completions, plan in zip(answers, goals.values(), strict=True):
        assert plan in [c.text for c in completions]
    assert sum(completions[0].text == plan for completions, plan in zip(answers, goals.values(), strict=True)) >= 2


def test_a_second_decision_reuses_the_shared_prompt(model: LanguageModel, grammar: str) -> None:
    began = time.perf_counter()
    [completions] = model.complete([f"{SHARED}Goal: open the red door\nPlan:\n"], n=8, grammar=grammar, **ASKED)
    assert 1 <= len(completions) <= 8
    assert len({c.text for c in completions}) == len(completions)
    assert time.perf_counter() - began < 60


def test_it_is_an_encoder_too(model: LanguageModel) -> None:
    assert isinstance(model, Encoder)
    features, mask = model.embed(["open the red door", "go"], layer=3)
    assert features.shape == (2, 4, 576)
    assert mask.sum(1).tolist() == [4, 1]


def test_it_plans_where_thirty_layers_round_to_bfloat16(model: LanguageModel, grammar: str) -> None:
    rounded = EmbeddedModel.from_folder(model_folder(), dtype=torch.bfloat16)
    prompt = f"{SHARED}Goal: open the blue door\nPlan:\n"
    [completions] = rounded.complete([prompt], n=2, grammar=grammar, **ASKED)
    assert "open(blue door)\n" in [c.text for c in completions]
