"""Which things a description speaks of."""

import pytest
from doubles import LEVEL, Stage

from gedanken.agent.goals import GoalError
from gedanken.agent.grounding import ground, ground_event, reading
from gedanken.agent.llm.scripted import ScriptedModel
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


def named(words: str) -> str | None:
    assert words not in ("behind", "key in", "put me where", "red ball behind", "you"), "the world's own words will do"
    return {
        "crimson sphere": "red ball",
        "azure door": "blue door",
        "azure gate": "blue door",
        "crimson ball": "red ball",
        "golden opener": "key",
    }.get(words.removesuffix(" behind you"))


@pytest.mark.parametrize(
    ("words", "things"),
    [
        ("a red ball behind a locked blue door, the key in a box", ["red ball", "locked blue door", "key", "box"]),
        ("a crimson sphere and an azure door", ["red ball", "blue door"]),
        ("a crimson sphere behind a locked azure gate", ["red ball", "locked blue door"]),
        ("A crimson ball behind a locked azure door", ["red ball", "locked blue door"]),
        ("a crimson ball behind you", ["red ball behind you"]),
        ("put me where a green box is, with a golden opener", ["green box", "key"]),
        ("a dragon, a ball", ["ball"]),
        ("behind you a door", ["door"]),
        ("a scarlet ball", ["ball"]),
    ],
)
def test_words_that_the_world_lacks_are_asked_about(words: str, things: list[str]) -> None:
    assert ground(SPEC, words, named) == things
    for thing in things:
        Thing.parse(SPEC, thing)


def test_a_reading_is_a_plan_to_go_there_and_nothing_more() -> None:
    answers = {"the crimson red sphere": ["go_to(red ball)\n"], "the coffee": [], "the tea": ["go_to(box)\ndrop()\n"]}
    answers["the gate"] = ["open(door)\n"]
    read = reading(Stage(LEVEL), lambda: ScriptedModel(answers))
    assert [read(words.removeprefix("the ")) for words in answers] == ["red ball", None, None, None]
    with pytest.raises(GoalError, match="names nothing"):
        ground(SPEC, "a coffee", read)


@pytest.mark.parametrize(
    ("words", "after", "before"),
    [
        ("the door opens", "open door", "door"),
        ("The locked blue door opened!", "open blue door", "locked blue door"),
        ("the open door on your left closes", "closed door on your left", "open door on your left"),
        ("look, the red door locks", "locked red door", "red door"),
        ("the doors are now closed", "closed door", "door"),
        ("a red ball appears behind you", "red ball behind you", None),
        ("there is a locked green door", "locked green door", None),
    ],
)
def test_an_event_is_what_becomes_of_a_thing(words: str, after: str, before: str | None) -> None:
    assert ground_event(SPEC, words) == (after, before)
    Thing.parse(SPEC, after)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("it rains", "names nothing"),
        ("", "empty"),
        ("the door", "is no event"),
        ("the ball disappears", "is no event"),
        ("the door unlocks", "is no event"),
        ("the door doesn't open", "is no event"),
        ("no door opens", "is no event"),
        ("the door opens and closes", "is no event"),
        ("the door opens and a ball appears", "one thing at a time"),
    ],
)
def test_what_is_no_event_is_refused(words: str, why: str) -> None:
    with pytest.raises(GoalError, match=why):
        ground_event(SPEC, words)
