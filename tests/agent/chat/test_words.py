"""What is said of a goal in few words."""

from gedanken.agent.chat.words import expectation
from gedanken.agent.verdict import Verdict
from gedanken.worlds.babyai import SPEC


def verdict(disagreement: float) -> Verdict:
    """A verdict on a plan that worked in every future."""
    return Verdict(
        plan=SPEC.parse_plan("go_to(ball)"),
        success=0.97,
        low=0.9,
        high=1.0,
        carried_out=1.0,
        satisfies=1.0,
        steps=4.0,
        failing_step=None,
        failing_share=0.0,
        disagreement=disagreement,
        reasons="",
        futures=16,
    )


def test_quite_sure_is_only_whose_world_model_is_not_unsure() -> None:
    assert expectation(verdict(0.01)) == "I am quite sure of it: 97 % (90–100 %), in about 4 actions."
    unsure = expectation(verdict(1.06))
    assert unsure.startswith("I expect it to work: 97 %") and "My world model is unsure here (1.06" in unsure
