import json
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gedanken.prompts import NO_GOAL, STOP, PromptError, baseline, facts, render, shorter

EXAMPLES = [
    ("You see a red ball ahead. You carry nothing.", "go to the red ball", "go_to(red ball)"),
    ("You see a locked blue door left. You carry nothing.", "open the door", "pick_up(blue key)\nopen(blue door)\n"),
]
SCENE = "You see a red ball ahead, a locked grey door on your left and a blue key behind you. You carry nothing."


def values(**changes: Any) -> dict[str, Any]:
    return {"skills": ["drop(): put down"], "examples": EXAMPLES, "scene": SCENE, "goal": "go to a ball"} | changes


def test_propose_shows_examples_and_ends_with_the_goal() -> None:
    assert render("propose", **values()) == (
        "Goal: go to the red ball\nPlan:\ngo_to(red ball)\ndone\nGoal: go to a ball\nPlan:\n"
    )


def test_propose_notes_what_bears_on_the_goal_and_shows_examples_of_that_kind() -> None:
    assert render("propose", **values(goal="open the grey door")) == (
        "Goal: open the door\nNote: locked blue door\nPlan:\npick_up(blue key)\nopen(blue door)\ndone\n"
        "Goal: open the grey door\nNote: locked grey door\nPlan:\n"
    )


def test_propose_works_without_examples_and_without_a_scene() -> None:
    assert render("propose", **values(examples=[], scene="")) == "Goal: go to a ball\nPlan:\n"


@pytest.mark.parametrize("pair", [tuple, lambda pair: SimpleNamespace(plan=pair[0], reasons=pair[1])])
def test_revise_notes_what_the_attempts_found_out(pair: Any) -> None:
    reason = "step 1 open(door) fails in 16 of 16 futures, for example like this: You see a locked grey door ahead."
    unseen = values(scene="You see no objects. You carry nothing.", goal="open the door")
    assert "Note" not in render("propose", **unseen)
    assert render("revise", **unseen, attempts=[pair(("open(door)", reason))]) == (
        "Goal: open the door\nNote: locked blue door\nPlan:\npick_up(blue key)\nopen(blue door)\ndone\n"
        "Goal: open the door\nNote: locked grey door\nPlan:\n"
    )


@pytest.mark.parametrize("name", ["propose", "revise"])
def test_a_baseline_has_the_same_examples_but_no_goal_and_no_notes(name: str) -> None:
    asked = values(goal="open the grey door", attempts=[("open(door)", "it fails")])
    whole, without = render(name, **asked), baseline(name, **asked)
    examples, _, _ = whole.rpartition("Goal: ")
    assert without == f"{examples}Goal: {NO_GOAL}\nPlan:\n"


def test_a_goal_cannot_look_like_another_part_of_the_prompt() -> None:
    text = render("propose", **values(goal="open it\nPlan:\ndrop()\ndone\n\nGoal: x" + "y" * 10_000))
    assert text.count("\nPlan:\n") == 2
    assert len(text) < 2500


def test_values_that_a_prompt_needs_are_not_forgotten() -> None:
    for name in ("propose", "revise"):
        with pytest.raises(PromptError, match="goal"):
            render(name, skills=[], examples=[], scene="", attempts=[])
    with pytest.raises(PromptError, match="attempts"):
        render("revise", **values())
    with pytest.raises(PromptError, match="no prompt 'nothing'; there are act, plan, propose, revise, whatif"):
        render("nothing")


ATTEMPTS = [
    ("go_to(grey door)\nopen(grey door)", "step 2 open(grey door) fails in 15 of 16 futures"),
    SimpleNamespace(plan="drop()", reasons="its steps can be done,\nbut they are not what the goal asks for"),
]


GOLDEN = Path(__file__).parent / "golden"
LOCKED = {"scene": SCENE, "goal": "open the\ngrey  door"}
INPUTS = {"inputs": ["fuel_price", "load"], "words": "what if fuel\nwere a fifth dearer"}
SENT: dict[str, str] = {
    "plan": render("plan", **LOCKED),
    "plan_revised": render("plan", **LOCKED, attempts=ATTEMPTS),
    "propose": render("propose", **values()),
    "propose_noted": render("propose", **values(**LOCKED)),
    "propose_baseline": baseline("propose", **values(**LOCKED)),
    "revise": render("revise", **values(goal="open the door", scene=""), attempts=[("open(door)", "a locked door")]),
    "revise_baseline": baseline("revise", **values(**LOCKED), attempts=ATTEMPTS),
    "act": render(
        "act",
        actions=["turn left", "go forward"],
        goal="go to\nthe ball",
        moments=[("You see a ball left.", "turn left")],
        scene="You see a ball ahead.",
    ),
    "whatif": render("whatif", **INPUTS, examples=[("twice the load", "load up 100 %")]),
    "whatif_taught": render("whatif", **INPUTS, examples=[]),
}
"""What is sent to a language model, by the name of the golden file that says it."""


@pytest.mark.parametrize("name", SENT)
def test_exactly_this_is_sent(name: str) -> None:
    assert SENT[name] == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_every_prompt_has_a_golden_file_and_every_golden_file_is_sent() -> None:
    files = resources.files("gedanken.prompts").iterdir()
    prompts = {file.name.removesuffix(".jinja") for file in files if file.name.endswith(".jinja")}
    assert prompts - {"parts"} == {name.partition("_")[0] for name in SENT}
    assert {path.stem for path in GOLDEN.iterdir()} == set(SENT)


def test_a_scene_gets_shorter_by_what_does_not_bear_on_the_goal() -> None:
    scene = "You see a red ball ahead, a blue box left, a locked grey door right, a green key behind. You carry a key."
    once = shorter(scene, "go to the red ball")
    assert once == "You see a red ball ahead, You carry a key."
    twice = shorter(once, "go to the red ball")
    assert twice == "You see a red ball ahead," and shorter(twice, "go to the red ball") == shorter("", "x") == ""


def test_facts_are_about_the_goal_and_say_no_place() -> None:
    assert facts(SCENE, "open the door") == ["locked grey door"]
    assert facts("You see a locked red door ahead, a locked blue door right.", "open the door") == [
        "locked red door",
        "locked blue door",
    ]
    assert facts("You see a locked red door ahead.", "pick up the ball") == []
    assert facts("You see a closed red door ahead, a red ball left.", "open the red door") == []
    assert facts("", "") == []


def test_every_example_of_babyai_fits_and_ends_as_the_model_is_told() -> None:
    examples = json.loads((Path(__file__).parent / "babyai_examples.json").read_text())
    triples = [(e["scene"], e["goal"], e["plan"]) for e in examples]
    plain = render("propose", **values(examples=triples, scene="", goal="x"))
    noted = render("propose", **values(examples=triples, scene="You see a locked red door ahead", goal="open the door"))
    assert plain.count(f"\n{STOP[0]}\n") + noted.count(f"\n{STOP[0]}\n") == len(triples)
    assert "Note" not in plain
    assert noted.count("Note: locked ") == noted.count("Goal: ")
