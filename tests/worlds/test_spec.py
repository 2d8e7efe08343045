from typing import Any

import numpy as np
import pytest

from gedanken.agent.llm.grammar import matches
from gedanken.worlds.babyai import SPEC
from gedanken.worlds.spec import MAX_STEPS, Attribute, Parameter, Phrase, Plan, Skill, SpecError, Step, WorldSpec


def random_phrase(parameter: Parameter, rng: np.random.Generator) -> Phrase:
    allowed = dict(parameter.allowed)
    return tuple(
        None if attribute.optional and rng.random() < 0.4 else str(rng.choice(allowed[attribute.name]))
        for attribute in SPEC.attributes
    )


def random_step(rng: np.random.Generator) -> Step:
    skill = SPEC.skills[int(rng.integers(len(SPEC.skills)))]
    return Step(skill=skill.name, arguments=tuple(random_phrase(p, rng) for p in skill.parameters))


def changed(**fields: Any) -> WorldSpec:
    return WorldSpec.model_validate({**SPEC.model_dump(), **fields})


def test_a_step_survives_being_written_and_read() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        step = random_step(rng)
        assert SPEC.parse_step(str(step)) == step
        assert SPEC.parse_step(f"  {step}\n") == step


def test_a_plan_survives_being_written_and_read() -> None:
    rng = np.random.default_rng(1)
    for length in range(1, MAX_STEPS + 1):
        plan = Plan(steps=tuple(random_step(rng) for _ in range(length)))
        assert SPEC.parse_plan(str(plan)) == plan
        assert SPEC.parse_plan(f"\n{plan}\n\n") == plan
        assert plan.line().count(" → ") == length - 1


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("walk to the door", "not a step.*write skill"),
        ("go_to(red ball", "not a step.*go_to"),
        ("", "not a step.*for example"),
        ("fly(red ball)", "no skill 'fly'.*go_to, pick_up, open"),
        ("go_to(red)", "names no kind; choose from ball, box, door, key, object"),
        ("pick_up(red door)", "names no kind; choose from ball, box, key, object"),
        ("go_to(red ball yesterday)", "'yesterday' in 'red ball yesterday' is no word"),
        ("put_next_to(red ball)", r"takes 2 argument\(s\).*has 1"),
        ("drop(ball)", r"takes 0 argument\(s\).*has 1"),
        ("open()", r"takes 1 argument\(s\).*has 0"),
    ],
)
def test_what_is_no_step_is_refused_with_advice(text: str, advice: str) -> None:
    with pytest.raises(SpecError, match=advice):
        SPEC.parse_step(text)


@pytest.mark.parametrize("lines", [0, MAX_STEPS + 1])
def test_a_plan_has_a_bounded_number_of_steps(lines: int) -> None:
    with pytest.raises(SpecError, match=f"1 to {MAX_STEPS} steps, this one has {lines}"):
        SPEC.parse_plan("drop()\n" * lines)


def test_the_grammar_accepts_exactly_what_the_parser_does() -> None:
    rng, grammar = np.random.default_rng(2), SPEC.grammar()
    for _ in range(40):
        steps = [random_step(rng) for _ in range(int(rng.integers(1, MAX_STEPS + 1)))]
        assert matches(grammar, "".join(f"{step}\n" for step in steps))
    for text in (
        "",
        "drop()",
        "drop()\n" * (MAX_STEPS + 1),
        "fly(red ball)\n",
        "go_to(red)\n",
        "go_to(redball)\n",
        "pick_up(red door)\n",
        "put_next_to(red ball)\n",
        "go_to(ball on your left red)\n",
    ):
        assert not matches(grammar, text), text


def test_codes_tell_steps_apart_and_stay_in_their_slots() -> None:
    rng = np.random.default_rng(3)
    codes: dict[tuple[int, ...], Step] = {}
    for _ in range(500):
        step = random_step(rng)
        code = SPEC.step_codes(step)
        assert len(code) == len(SPEC.step_sizes)
        assert all(0 <= c < size for c, size in zip(code, SPEC.step_sizes, strict=True))
        assert codes.setdefault(code, step) == step
    assert SPEC.plan_codes([step]) == [code]


def test_the_shipped_checkpoint_still_fits() -> None:
    assert SPEC.hash == "ec7e77f8c664"  # its config.json says so; whoever changes this ships another checkpoint


def test_the_hash_changes_with_what_a_model_depends_on_and_not_with_words() -> None:
    again = WorldSpec.model_validate_json(SPEC.model_dump_json())
    assert again == SPEC and again.hash == SPEC.hash and len(SPEC.hash) == 12
    skills = [skill.model_dump() for skill in SPEC.skills]
    reworded = changed(skills=[{**skill, "doc": "in other words"} for skill in skills])
    assert reworded.hash == SPEC.hash
    others = [
        changed(actions=(*SPEC.actions, "jump")),
        changed(actions=SPEC.actions[::-1]),
        changed(skills=skills[:-1]),
        changed(exogenous=("friction",)),
        changed(observation={**SPEC.observation.model_dump(), "agent": (3, 3)}),
    ]
    assert len({SPEC.hash, *(spec.hash for spec in others)}) == len(others) + 1
    assert SPEC.differences(others[0]) == ["actions"] and SPEC.differences(again) == []


def test_a_skill_says_how_it_is_called() -> None:
    assert SPEC.skill("put_next_to").signature().startswith("put_next_to(object, other): ")
    assert SPEC.max_arguments == 2


@pytest.mark.parametrize("word", ['a "red" one', "red\nbox", "red, blue", "box)", "back\\slash", "", "-", " red"])
def test_a_word_that_no_plan_can_say_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="no plan can say that"):
        Attribute(name="colour", values=("red", word))
    with pytest.raises(ValueError, match="no plan can say that"):
        Skill(name=f"go{word}!", doc="go")


def test_words_of_other_languages_can_be_said() -> None:
    assert Attribute(name="colour", values=("grün", "bleu-vert", "青", "in front of you")).values[0] == "grün"
