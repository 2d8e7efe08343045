"""Made-up worlds: described as real ones are, and what is measured shares no word of a name with what is trained on."""

import re
from collections.abc import Iterator

import numpy as np
import pytest

from gedanken.worlds import schemas
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.schemas import made_up, vocabulary


def words_of_names(split: str) -> Iterator[str]:
    for domain in vocabulary(split)["domains"].values():  # type: ignore[arg-type]
        for thing, others in domain["things"].items():
            yield from " ".join([thing, *others]).split()
        for quantity, about in domain["quantities"].items():
            yield from " ".join([quantity, *about["aliases"]]).split()
    yield from vocabulary(split)["letters"]  # type: ignore[arg-type]


def test_no_word_of_a_test_name_is_trained_on() -> None:
    trained = set(words_of_names("training"))
    shared = set(words_of_names("test")) & trained
    assert len(trained) > 100 and not shared, shared
    assert not set(vocabulary("test")["domains"]) & set(vocabulary("training")["domains"])


def test_an_overlap_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vocabulary("test")["domains"]["finance"]["things"], "bank", ["shop"])
    with pytest.raises(AssertionError, match="shop"):
        test_no_word_of_a_test_name_is_trained_on()


def test_no_name_of_a_test_world_occurs_in_training() -> None:
    names = {
        split: {
            named.name
            for mix in {False, split == "training"}
            for seed in range(300)
            for named in made_up(split, np.random.default_rng(seed), mix=mix).variables
        }
        for split in ("training", "test")
    }
    assert len(names["training"]) > 300 and not names["training"] & names["test"]


def test_words_mean_one_thing_in_one_domain() -> None:
    for split in ("training", "test"):
        for domain in vocabulary(split)["domains"].values():  # type: ignore[arg-type]
            called = [name for key in ("things", "quantities") for name in domain[key]]
            called += [name for others in domain["things"].values() for name in others]
            called += [name for about in domain["quantities"].values() for name in about["aliases"]]
            assert len(called) == len(set(called))
            for about in domain["quantities"].values():
                assert about["low"] < about["high"] and (not about["unit"] or about["unit"] in schemas.units())


def test_a_scene_is_what_a_real_world_says() -> None:
    world = GymWorld("CartPole-v1")
    pattern = r"[\w.\[\]]+ -?[\d.]+(e[+-]\d+)?( [^\s,]+)?(, [\w.\[\]]+ -?[\d.]+(e[+-]\d+)?( [^\s,]+)?)*\."
    assert re.fullmatch(pattern, world.describe(np.array([0.01, -0.2, 1e-5, 0.3])))
    for seed in range(100):
        schema = made_up("test", np.random.default_rng(seed))
        assert re.fullmatch(pattern, schema.scene), schema.scene
        assert 2 <= len(schema.variables) <= 8
        for named in schema.variables:
            assert named.low <= named.value <= named.high and f"{named.name} " in schema.scene


def test_words_for_a_variable_fit_no_other_one() -> None:
    said = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        schema = made_up("training", rng)
        named = schema.variables[0]
        words, trait = schema.call(named, rng)
        if words == named.name or trait == "synonym":
            continue
        said += 1
        fits = [n for n in schema.variables if n.quantity in words and n.thing in words]
        if trait == "part of a name":
            assert sum(n.quantity in words for n in schema.variables) == 1
        else:
            assert max(fits, key=lambda n: len(n.thing)) is named, (words, schema.scene)
    assert said > 50


def test_the_same_seed_makes_the_same_world() -> None:
    first, again, other = (made_up("test", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_mixed_names_are_of_many_domains_and_many_begin_alike() -> None:
    found = [made_up("training", np.random.default_rng(seed), mix=True) for seed in range(200)]
    mixed = [schema for schema in found if schema.spec.name == "made up: all domains"]
    assert len(mixed) == pytest.approx(200 * schemas.MIXED, abs=25)
    named = [[n for n in schema.variables if n.thing] for schema in mixed]
    assert all(n.others == ((), ()) for variables in named for n in variables), "a synonym could mean two things"
    things = [{n.thing for n in variables} for variables in named]
    assert sum(len(some) > len({thing[:2] for thing in some}) for some in things) > len(mixed) / 4
    plain = [made_up("training", np.random.default_rng(seed)) for seed in range(50)]
    assert all(schema.spec.name != "made up: all domains" for schema in plain)
