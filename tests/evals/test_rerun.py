from typing import Any

from gedanken.evals.planner import PlannerSuite
from gedanken.evals.rerun import ROUNDING, alike, compare_rerun


def sample(seed: int, **more: Any) -> dict[str, Any]:
    plain = {"task": "missions", "seed": seed, "arm": "llm", "rank": 0, "right": True, "declined": None, "steps": 1}
    costs = {"plans": 1, "tokens": 4, "prompt_tokens": 9, "seconds": 0.5}
    return {**plain, **costs, "traits": [], **more}


def test_clocks_and_what_only_later_versions_say_are_no_difference() -> None:
    before = [sample(0), sample(1)]
    after = [sample(0, seconds=9.0, actions=[1, 2], error=None), sample(1, actions=[], error=None)]
    again = compare_rerun(PlannerSuite(), before, after)
    assert again.same and (again.samples, again.other_samples) == (2, 0)


def test_rounding_is_no_difference_and_anything_more_is() -> None:
    """What was asked together with a sample decides its last digits, as after --resume or with several workers."""
    assert alike({"a": [0.5, "x", None]}, {"a": [0.5 + 1e-7, "x", None]}, ROUNDING) and alike(1, 1.0, 0.0)
    assert not alike(0.5, 0.5 + 1e-7, 0.0)
    for other in ({"a": [0.5001, "x", None]}, {"a": [0.5, "y", None]}, {"a": [0.5, "x"]}, {"b": [0.5, "x", None]}):
        assert not alike({"a": [0.5, "x", None]}, other, ROUNDING)
    before, after = [sample(0, tokens=4.0)], [sample(0, tokens=4.0000001)]
    close = compare_rerun(PlannerSuite(), before, after, rounding=ROUNDING)
    assert close.same and close.other_samples == 0
    exact = compare_rerun(PlannerSuite(), before, after)
    assert not exact.same and exact.other_samples == 1


def test_what_both_say_is_compared_and_what_one_lacks_is_told() -> None:
    again = compare_rerun(PlannerSuite(), [sample(0), sample(1)], [sample(0, rank=2, right=False)])
    assert not again.same and again.other_samples == 2
    assert again.differences == ("missions 0 llm in rank, right", "missions 1 llm is only in the first")
