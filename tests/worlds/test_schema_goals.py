"""Goals for made-up worlds: their plans are readable, follow from what was said, and their words are not trained on."""

import re

import numpy as np
import pytest

from gedanken.agent import whatif
from gedanken.agent.llm.grammar import check
from gedanken.worlds.objectives import objective_of
from gedanken.worlds.schema_goals import SchemaGoal, in_words, schema_change, schema_goal
from gedanken.worlds.schemas import Split, vocabulary

PATTERNS = sorted(k for k, v in vocabulary("training").items() if k not in ("domains", "letters"))


def some(split: Split, n: int) -> list[SchemaGoal]:
    return [schema_goal(split, np.random.default_rng((seed, 1))) for seed in range(n)]


def content(pattern: str) -> set[str]:
    return set(re.findall(r"[a-z']+", re.sub(r"\{.\}", "", pattern.lower())))


def test_every_test_pattern_has_a_word_that_no_training_pattern_of_its_kind_has() -> None:
    assert sorted(k for k in vocabulary("test") if k not in ("domains", "letters")) == PATTERNS
    for kind in PATTERNS:
        trained = set().union(*map(content, vocabulary("training")[kind]))
        known = [pattern for pattern in vocabulary("test")[kind] if not content(pattern) - trained]
        assert not known, (kind, known)


def test_a_known_pattern_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vocabulary("test"), "up", ["increase {v} up to {n}"])  # type: ignore[index]
    with pytest.raises(AssertionError, match="increase"):
        test_every_test_pattern_has_a_word_that_no_training_pattern_of_its_kind_has()


@pytest.mark.parametrize("split", ["training", "test"])
def test_plans_are_in_the_grammar_and_in_their_own_spelling(split: Split) -> None:
    skills, traits = set(), set()
    for goal in some(split, 80):
        spec = goal.schema.spec
        text = f"{goal.plan}\n"
        check(spec.grammar(), text)
        assert str(spec.parse_plan(text)) == str(goal.plan) and goal.right(spec.parse_plan(text))
        for step in goal.plan.steps:
            objective_of(spec, step)
            skills.add(step.skill)
        traits |= set(goal.traits)
        assert "{" not in goal.text and len(goal.text) <= 300
    assert skills == {"reach", "keep", "maximize", "minimize", "avoid"}
    assert traits >= {"synonym", "part of a name", "meaningless name", "number word", "typo", "order", "beside"}


def test_numbers_of_a_plan_are_said_or_go_without_saying() -> None:
    for goal in some("training", 200):
        if "number word" in goal.traits:
            continue
        said = {float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?", goal.text)}
        for step in goal.plan.steps:
            for argument in step.arguments[step.skill not in ("avoid",) :]:
                for number in re.findall(r"(?<![\w\[])\d+(?:\.\d+)?(?![\w\]])", str(argument[0])):
                    usual = "for 100" in str(step) or "within 100" in str(step) or f"± {number}" in str(step)
                    assert float(number) in said or usual, (goal.text, step)


def test_a_target_without_a_tolerance_is_rounded() -> None:
    seen = set()
    for goal in some("training", 200):
        if any(re.sub(r"\{e\}.*", "", said).strip() in goal.text for said in vocabulary("training")["tolerance"]):
            continue
        for step in goal.plan.steps:
            if step.skill == "reach" and "typo" not in goal.traits:
                target, tolerance = str(step.arguments[1][0]).split(" ± ")
                digits = len(target.partition(".")[2])
                seen.add(digits)
                assert float(tolerance) == pytest.approx(0.5 * 10.0**-digits), goal.text
    assert seen >= {0, 1}


def test_what_must_not_happen_comes_first() -> None:
    for goal in some("test", 150):
        kinds = [step.skill == "avoid" for step in goal.plan.steps]
        assert kinds == sorted(kinds, reverse=True)
        assert ("beside" in goal.traits) == (any(kinds) and len(kinds) > 1)


def test_the_order_is_that_of_doing_and_not_that_of_saying() -> None:
    turned = 0
    for goal in some("training", 300):
        if "order" not in goal.traits or "typo" in goal.traits or len(goal.plan.steps) != 2:
            continue
        first, second = (str(step.arguments[0][0]) for step in goal.plan.steps)
        if first in goal.text and second in goal.text and first not in second and second not in first:
            said_later = goal.text.index(first) > goal.text.index(second)
            turned_words = ("but before that", "but first", "after this:", "as the first", "before that, however")
            assert said_later == any(words in goal.text for words in turned_words), goal.text
            turned += said_later
    assert turned


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "zero"), (0.5, "half"), (17, "seventeen"), (42, "forty-two"), (-5, "minus five"), (3000, "three thousand")]
    + [(700, "seven hundred"), (20_000, None), (1.5, None), (123, None), (90, "ninety")],
)
def test_numbers_in_words(number: float, words: str | None) -> None:
    assert in_words(number) == words


def test_goals_differ() -> None:
    texts = [goal.text for goal in some("test", 200)]
    assert len(set(texts)) == 200 and [goal.text for goal in some("test", 20)] == texts[:20]


@pytest.mark.parametrize("split", ["training", "test"])
def test_changes_of_inputs_are_what_whatif_reads(split: Split) -> None:
    seen = set()
    for seed in range(150):
        change = schema_change(split, np.random.default_rng(seed))
        check(whatif.grammar(change.inputs), f"{change.change}\n")
        name, how, number, *share = change.change.split(" ")
        assert name in change.inputs and bool(re.search(r"%|percent|per cent", change.text)) >= bool(share)
        if change.text.replace(",", "").count(number.lstrip("-")) == 0:
            assert any(word in change.text for word in (in_words(float(number)) or "").split("-")), change
        seen.add((how, bool(share)))
    assert seen == {("up", True), ("up", False), ("down", True), ("down", False), ("to", False)}


def test_in_practice_what_comes_first_is_said_last_more_often() -> None:
    def turned(practice: bool) -> int:
        goals = [schema_goal("training", np.random.default_rng((seed, 5)), practice=practice) for seed in range(600)]
        two = [goal for goal in goals if len(goal.plan.steps) == 2 and "order" in goal.traits]
        texts = [(goal.text, [str(step).partition("(")[2].split(",")[0] for step in goal.plan.steps]) for goal in two]
        return sum(b in text and a in text and text.index(b) < text.index(a) for text, (a, b) in texts)

    assert turned(True) > 1.5 * turned(False) > 0
