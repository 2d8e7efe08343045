"""Slips are mended where one letter makes a word, and nothing else is touched."""

import pytest

from gedanken.agent.llm.protocol import Training
from gedanken.agent.propose import as_read, propose_prompt
from gedanken.agent.spelling import mended
from gedanken.worlds.babyai import SPEC, BabyAIWorld

OWN = "You see a red ball and a green key. go_to blue green grey purple red yellow ball box key door"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("open the gren dooor, plese", "open the green door, please"),
        ("snatcch the goolden balll", "snatch the golden ball"),
        ("Fetch me teh kee", "Fetch me teh key"),
        ("fetch the azure key", "fetch the azure key"),
        ("push cart_position to 3.5", "push cart_position to 3.5"),
        ("keep pole[1] near zero", "keep pole[1] near zero"),
        ("nimm den gelben Schlüssel und öffne die Tür", "nimm den gelben Schlüssel und öffne die Tür"),
        ("steer Acrobot's tip up", "steer Acrobot's tip up"),
        ("", ""),
    ],
)
def test_what_is_mended_and_what_is_not(text: str, read: str) -> None:
    assert mended(text, OWN) == read
    assert mended(read, OWN) == read


def test_what_the_world_says_is_right() -> None:
    assert mended("raise the qubot", "a qubot") == "raise the qubot"
    assert mended("raise the quboot", "a qubot") == "raise the qubot"


def test_a_goal_is_read_by_small_models_only() -> None:
    """Shades are known once they are spelled; who was not trained on such prompts gets the words as they were."""
    goal = "snatcch the goolden ball"
    assert as_read(goal, "You see a key.", SPEC) == "snatch the golden yellow ball"
    world = BabyAIWorld("BabyAI-GoToLocal-v0")
    assert "snatcch" in propose_prompt(world, "", goal)
    assert "snatch the golden yellow ball" in propose_prompt(world, "", goal, training=Training("plan"))
