"""Which things a description speaks of."""

import pytest

from gedanken.agent.goals import GoalError
from gedanken.agent.grounding import ground
from gedanken.worldmodel.imagined import Thing
from gedanken.worlds.babyai import SPEC


@pytest.mark.parametrize(
    ("words", "things"),
    [
        ("a red ball behind a locked blue door", ["red ball", "locked blue door"]),
        ("A Locked purple door, with its purple key!", ["locked purple door", "purple key"]),
        ("a yellow key behind you and a green ball", ["yellow key behind you", "green ball"]),
        ("an open green door in front of you", ["open green door in front of you"]),
        ("two red keys", ["red key"]),
        ("two boxes, one red box", ["box", "red box"]),
        ("put me where a green box waits", ["green box"]),
        ("a dragon guards the purple key", ["purple key"]),
        ("behind you a door", ["door"]),
    ],
)
def test_things_are_found_by_their_words_and_order(words: str, things: list[str]) -> None:
    assert ground(SPEC, words) == things
    for thing in things:
        Thing.parse(SPEC, thing)


@pytest.mark.parametrize("words", ["make me a coffee", "", "x" * 100_000, "red"])
def test_words_that_name_nothing_are_refused(words: str) -> None:
    with pytest.raises(GoalError):
        ground(SPEC, words)
