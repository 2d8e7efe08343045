"""What is measured in test wordings was never trained on: the lists share no template, verb or synonym."""

import re
from collections.abc import Iterator
from itertools import chain, permutations

import numpy as np
import pytest

from gedanken.worlds.babyai import SPEC
from gedanken.worlds.babyai_goals import Clause
from gedanken.worlds.babyai_wordings import Speaker, wordings

SMALL = set(
    re.findall(
        r"\S+",
        """
a an the to of up it so that and or you your i me it's in on at by over down is are have has this whatever when from
been with what my
""",
    )
)
OURS = {word for a in SPEC.attributes for value in a.values for word in value.split()}
LISTS = ("verbs", "done", "colours", "kinds", "places")
TEMPLATES = ("then", "both", "thing", "polite", "aside", "negative")


def content(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"\{.\}", "", text.lower()))) - SMALL - OURS


def words_of(split: str) -> Iterator[tuple[str, str, str]]:
    for name in LISTS:
        for key, values in getattr(wordings(split), name).items():
            yield from ((name, key, value) for value in values)


def test_no_synonym_of_a_test_goal_is_trained_on() -> None:
    """Stronger than different phrases: no word of a test verb or synonym occurs in one for training."""
    trained = {(name, key, word) for name, key, value in words_of("training") for word in content(value)}
    shared = {
        item
        for name, key, value in words_of("test")
        for word in content(value)
        if (item := (name, key, word)) in trained
    }
    assert not shared


def test_no_template_of_a_test_goal_is_trained_on() -> None:
    def bare(pattern: str) -> str:
        return " ".join(re.findall(r"\{.\}|[\w']+", pattern.lower()))

    for name in TEMPLATES:
        trained, tested = ({bare(p) for p in getattr(wordings(split), name)} for split in ("training", "test"))
        assert tested and not tested & trained, name
    assert not set(wordings("test").pair) & set(wordings("training").pair)


def test_no_foreign_goal_of_the_test_is_trained_on() -> None:
    for name, values in wordings("test").foreign.items():
        trained = set(chain.from_iterable(content(value) for value in wordings("training").foreign[name]))
        shared = trained & set(chain.from_iterable(content(value) for value in values))
        assert not shared, name


def test_an_overlap_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wordings("test").colours, "blue", ["dark cobalt"])  # type: ignore[index]
    with pytest.raises(AssertionError, match="cobalt"):
        test_no_synonym_of_a_test_goal_is_trained_on()


def test_a_synonym_means_one_thing() -> None:
    for split, name in ((s, n) for s in ("training", "test") for n in ("colours", "kinds")):
        for (_, some), (_, others) in permutations(getattr(wordings(split), name).items(), 2):
            assert not set(some) & set(others)


HALVES = (Clause((SPEC.parse_step("open(red door)"),)), Clause((SPEC.parse_step("pick_up(blue key)"),)))


@pytest.mark.parametrize("split", ["training", "test"])
def test_every_part_of_a_goal_is_said_and_nothing_is_left_open(split: str) -> None:
    words = wordings(split)  # type: ignore[arg-type]
    red, blue = ({c, *words.colours[c]} for c in ("red", "blue"))
    texts = set()
    for seed in range(300):
        said = Speaker(split, np.random.default_rng(seed)).say(HALVES, "then", [("grey", "ball", None)])  # type: ignore[arg-type]
        assert "{" not in said.text and "  " not in said.text and "order" in said.traits
        if "typo" not in said.traits:
            assert any(word in said.text for word in red) and any(word in said.text for word in blue)
        texts.add(said.text)
    assert len(texts) > 290


def test_what_comes_first_is_said_first_or_marked() -> None:
    for split in ("training", "test"):
        for pattern in wordings(split).then:
            later = re.search(
                r"after|once|as soon as|when|provided|not until|only|beforehand|before|first|ahead of|until|given|later"
                r"|as long as it is not",
                pattern.lower(),
            )
            assert pattern.lower().index("{a}") < pattern.lower().index("{b}") or later, pattern


def test_the_same_seed_says_the_same() -> None:
    first, second, other = (
        [Speaker("test", rng).say(HALVES, "and").text for rng in [np.random.default_rng(seed)] for _ in range(5)]
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_goals_that_cannot_be_met_are_many() -> None:
    speaker = Speaker("test", np.random.default_rng(0))
    assert len({speaker.foreign() for _ in range(500)}) > 250


def test_obscure_words_do_not_say_their_colour_and_invented_ones_mean_one_thing_in_a_goal() -> None:
    halves = (Clause((SPEC.parse_step("put_next_to(red box, red ball)"),)),)

    def texts(obscure: bool) -> list[str]:
        speakers = [Speaker("training", np.random.default_rng(seed), obscure=obscure) for seed in range(400)]
        return [speaker.say(halves, "then").text for speaker in speakers]

    plain, obscure = texts(False), texts(True)
    said = {colour for values in wordings("training").colours.values() for colour in values} | {"red"}

    def invented(texts: list[str]) -> list[str]:
        return [text for text in texts if not any(colour in text for colour in said)]

    assert sum("red" in text for text in obscure) < sum("red" in text for text in plain)
    assert len(invented(obscure)) > len(invented(plain))
    speaker = Speaker("training", np.random.default_rng(0), obscure=True)
    shades = [speaker._shade("red") for _ in range(300)]
    new = {shade for shade in shades if shade not in wordings("training").colours["red"]}
    assert len(new) == 1, "one word for one colour"
    assert sum("red" in shade for shade in shades) < 100
