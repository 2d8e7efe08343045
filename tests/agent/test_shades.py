"""Shades are explained by the colours of a world, and by nothing that it has no word for."""

import pytest
from doubles import QUICK, Stage

from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.propose import propose
from gedanken.agent.shades import BASIC, explained, shades
from gedanken.worlds.babyai import SPEC


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fetch the azure key", "fetch the azure blue key"),
        ("open the Viridian door, then what is charcoal", "open the Viridian green door, then what is charcoal grey"),
        ("the key (carmine)", "the key (carmine red)"),
        ("a violet-colored box", "a violet purple-colored box"),
        ("the bronze ball", "the bronze brown ball"),  # which is no colour here
        ("the hot pink ball", "the hot pink ball"),
        ("the navy blue key", "the navy blue key"),
        ("the blue key, the grey door", "the blue key, the grey door"),
        ("the limestone box", "the limestone box"),
    ],
)
def test_a_shade_is_told_with_its_colour(text: str, said: str) -> None:
    assert explained(text, SPEC) == said
    assert explained(said, SPEC) == said  # and once only


def test_what_is_a_word_of_the_world_and_what_it_has_no_colour_for_stays() -> None:
    values = SPEC.attributes[0].values
    assert set(values) <= set(BASIC)
    fruit = SPEC.model_copy(
        update={"attributes": (SPEC.attributes[0].model_copy(update={"values": ("lime", "green")}),)}
    )
    assert explained("the lime, not the emerald one, nor the azure one", fruit) == (
        "the lime, not the emerald green one, nor the azure blue one"
    )
    colourless = SPEC.model_copy(update={"attributes": ()})
    assert explained("the azure key", colourless) == "the azure key"


def test_shades_between_two_colours_are_left_to_the_language_model() -> None:
    assert shades()["carmine"] == "red" and shades()["lilac"] == "purple" and not {"maroon", "cream"} & {*shades()}
    assert not any(basic in name for name in shades() for basic in BASIC)


def test_the_planner_is_told() -> None:
    llm = ScriptedModel(lambda prompt: ["go_to(red ball)\n"] if "the carmine red ball" in prompt else ["done\n"])
    proposed = propose(Stage("BabyAI-GoToLocal-v0"), llm, "You see a red ball ahead.", "visit the carmine ball", QUICK)
    assert [candidate.plan for candidate in proposed.candidates] == ["go_to(red ball)"]
