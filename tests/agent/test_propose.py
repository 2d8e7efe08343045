"""Asking for plans where the language model has little room, and what asking costs."""

import pytest
from doubles import QUICK, Stage

from gedanken.agent.config import LoopConfig
from gedanken.agent.llm import Completion, PromptTooLong
from gedanken.agent.llm.protocol import Training
from gedanken.agent.llm.relay import Relay, Settings
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.propose import Attempt, propose

WORLD = Stage("BabyAI-GoToLocal-v0")
GOAL = "go to the red ball behind the blue box and put the grey key next to the green door"
SCENE = ", ".join(["You see a red ball ahead", *(f"a grey box {n}" for n in range(60))]) + ". You carry nothing."
ATTEMPTS = [Attempt("go_to(red box)", "it fails " * 30), Attempt("go_to(red key)", "it fails " * 5)]


class Narrow(Relay):
    """Takes prompts of so many words."""

    training = Training("plan")

    def __init__(self, most: int) -> None:
        super().__init__(ScriptedModel(lambda prompt: ["go_to(red ball)\n"]))
        self.most, self.asked = most, list[str]()

    def relayed(self, prompts: list[str], settings: Settings) -> list[list[Completion]]:
        self.asked += prompts
        if any(len(prompt.split()) > self.most for prompt in prompts):
            raise PromptTooLong("too long")
        return settings.ask(self.llm, prompts)


@pytest.mark.parametrize(
    ("room", "attempts", "shortened"), [(1000, 2, False), (200, 2, True), (130, 2, True), (60, 1, True)]
)
def test_what_does_not_fit_is_told_less_of_the_scene_and_always_the_whole_goal(
    room: int, attempts: int, shortened: bool
) -> None:
    llm = Narrow(room)
    proposed = propose(WORLD, llm, SCENE, GOAL, QUICK, attempts=ATTEMPTS)
    assert [candidate.plan for candidate in proposed.candidates] == ["go_to(red ball)"]
    assert proposed.shortened is shortened and len(llm.asked) <= 10
    assert all(f"Goal: {GOAL}\n" in prompt for prompt in llm.asked)
    assert llm.asked[-1].count("Tried: ") == attempts
    assert "red key" in llm.asked[-1]  # of the attempts the last one stays


def test_of_a_scene_without_end_what_bears_on_the_goal_stays() -> None:
    scene = "You see" + ", a grey box left" * 500 + ", a red ball right. You carry a key."
    llm = Narrow(10_000)
    assert propose(WORLD, llm, scene, "go to the red ball", QUICK).shortened
    [prompt] = llm.asked
    assert "a red ball right. You carry a key.\nGoal: " in prompt


def test_a_goal_that_does_not_fit_is_an_error_and_not_cut() -> None:
    llm = Narrow(10)
    with pytest.raises(PromptTooLong):
        propose(WORLD, llm, SCENE, GOAL, QUICK, attempts=ATTEMPTS)
    assert len(llm.asked) < 15 and all(GOAL in prompt for prompt in llm.asked)


@pytest.mark.parametrize(
    ("prices", "dollars"),
    [
        ({}, None),
        ({"price_read": 0.0}, 0.0),
        ({"price_read": 2.0}, 2e-6 * 7),
        ({"price_read": 1.0, "price_written": 10.0}, 1e-6 * 7 + 1e-5 * 4),
    ],
)
def test_tokens_are_counted_and_cost_what_is_configured(prices: dict[str, float], dollars: float | None) -> None:
    said = ["go_to(red ball)\n", "go_to(red box)\n"]  # two words each
    llm = ScriptedModel(lambda prompt: said)
    config = LoopConfig.preset("debug", **prices)
    proposed = propose(WORLD, llm, "", "go", config)
    read = len(llm.prompts[0].split())
    assert (proposed.prompt_tokens, proposed.tokens) == (read, 4)
    assert proposed.dollars == (None if dollars is None else pytest.approx(config.dollars(read, 4)))
    assert config.dollars(7, 4) == (None if dollars is None else pytest.approx(dollars))
