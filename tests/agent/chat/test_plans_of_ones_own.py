"""Plans of the person's own: rehearsed, changed, carried out, explained where they are none."""

from pathlib import Path

import pytest
from doubles import WordCritic, agent_in
from talking import begin, heard, talk

from gedanken.agent.agent import Agent
from gedanken.agent.llm.scripted import ScriptedModel


def test_whatif_rehearses_a_plan_of_ones_own(agent: Agent) -> None:
    said = talk(agent, "/imagine go to the red key", "/whatif go_to(grey ball); pick_up(grey ball)", "/history")
    assert "go_to(grey ball) → pick_up(grey ball)" in said and "No goals yet" in said
    assert "there is no goal yet" in talk(agent, "/whatif go_to(grey ball)")


def test_edit_runs_another_plan(agent: Agent) -> None:
    chat = begin(agent, "go to the red key", "/edit", "go_to(grey ball)", "y", "/edit go_to(red key)", "n", "/edit", "")
    chat.person.lines.insert(1, "n")  # type: ignore[attr-defined]
    chat.yes = False
    said = heard(chat)
    assert ("Plan: ", "go_to(red key)") in chat.person.asked  # type: ignore[attr-defined]
    assert "Reached: go_to(grey ball)" in said and said.count("you did not approve") == 2
    assert "Nothing was changed." in said
    assert agent.store is not None and len(agent.store) == 1


def test_edit_begins_from_the_likeliest_plan_where_none_was_chosen(agent: Agent) -> None:
    agent.llm = ScriptedModel(lambda prompt: ["go_to(purple ball)\n"])
    chat = begin(agent, "go to the purple ball", "/edit", EOFError(), "/history")
    said = heard(chat)
    assert ("Plan: ", "go_to(purple ball)") in chat.person.asked  # type: ignore[attr-defined]
    assert "I did nothing: I know of no purple ball" in said and "Nothing was changed." in said
    assert "1  go to the purple ball: declined" in said


def test_a_plan_of_ones_own_is_neither_revised_nor_declined(tmp_path: Path) -> None:
    critic = WordCritic({"grey ball": 0.01})
    with agent_in(tmp_path, lambda prompt: ["go_to(red key)\n"], critic=critic) as agent:
        chat = begin(agent, "go to the red key", "/edit go_to(grey ball)", "n", "/edit go_to(grey ball)", "y")
        said = heard(chat)
    assert "1 % expected" in chat.person.asked[0][0]  # type: ignore[attr-defined]  # although nothing else is asked
    assert "you did not approve" in said and "Reached: go_to(grey ball)" in said and "I plan anew" not in said


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ("pick_up red key", "step 1: not a step: 'pick_up red key'"),
        ("go_to(red key); pickup(red key)", "step 2: no skill 'pickup'"),
        ("go_to(red key); pickup(red key)", "Did you mean pick_up?"),
        ("go_to(purpel ball)", "Did you mean purple?"),
        ("go_to(red)", "choose from ball, box, door, key, object"),
        ("; ;", "a plan has 1 to 6 steps, parted by `;`, this one has 0"),
    ],
)
def test_a_plan_that_is_none_is_explained(agent: Agent, plan: str, told: str) -> None:
    assert told in talk(agent, "/imagine go to the red key", f"/whatif {plan}")
