"""Statistics against values worked out by hand, by brute force, or taken from the papers."""

import math

import numpy as np
import pytest

from gedanken.evals import statistics as st


def test_wilson_against_hand_computed_values() -> None:
    ten = st.wilson(8, 10)  # z² = 3.8415: centre (0.8 + 0.19207) / 1.38415, half 1.96 √(0.016 + 0.0096) / 1.38415
    assert (ten.value, ten.n) == (0.8, 10)
    assert ten.low == pytest.approx(0.4902, abs=1e-4)
    assert ten.high == pytest.approx(0.9433, abs=1e-4)
    assert st.wilson(0, 10).low == 0 and st.wilson(0, 10).high == pytest.approx(0.2775, abs=1e-4)
    assert st.wilson(10, 10).high == 1 and st.wilson(10, 10).low == pytest.approx(0.7225, abs=1e-4)
    assert st.wilson(196, 200).low == pytest.approx(0.9497, abs=2e-4)
    empty = st.wilson(0, 0)
    assert math.isnan(empty.value) and (empty.low, empty.high) == (0, 1)
    assert empty.as_dict()["value"] is None
    with pytest.raises(ValueError, match="11 successes in 10"):
        st.wilson(11, 10)


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    scores, outcomes = rng.integers(0, 6, 80) / 5, rng.random(80) < 0.4
    pairs = [(p > q) + 0.5 * (p == q) for p in scores[outcomes] for q in scores[~outcomes]]
    assert st.auroc(scores, outcomes) == pytest.approx(np.mean(pairs))
    assert st.auroc([0.1, 0.9], [0, 1]) == 1
    assert st.auroc([0.5, 0.5], [0, 1]) == 0.5
    assert math.isnan(st.auroc([0.5, 0.6], [1, 1]))


def test_auroc_interval_holds_the_value_and_shrinks() -> None:
    rng = np.random.default_rng(1)
    outcomes = rng.random(600) < 0.5
    scores = outcomes + rng.normal(size=600)  # true AUROC: Φ(1/√2) = 0.760
    few, many = st.auroc_interval(scores[:60], outcomes[:60]), st.auroc_interval(scores, outcomes)
    assert many.low < 0.76 < many.high
    assert many.low < many.value < many.high
    assert many.high - many.low < few.high - few.low
    assert (few.n, many.n) == (60, 600)


def test_bootstrap_draws_groups_whole() -> None:
    values, groups = np.repeat([0.0, 1.0], 50), np.repeat(["a", "b"], 50)
    together = st.mean_interval(values, groups)
    assert (together.value, together.low, together.high, together.n) == (0.5, 0.0, 1.0, 2)
    assert st.mean_interval(values).low > 0.3
    assert math.isnan(st.mean_interval([]).value)


def test_calibration_by_hand() -> None:
    predicted, outcomes = [0.1, 0.1, 0.15, 0.95, 1.0], [0, 0, 1, 1, 1]
    table = st.reliability(predicted, outcomes)
    assert [(row.low, row.n) for row in table] == [(0.1, 3), (0.9, 2)]
    assert table[0].predicted == pytest.approx(0.35 / 3)
    assert table[0].happened.value == pytest.approx(1 / 3)
    expected = 3 / 5 * (1 / 3 - 0.35 / 3) + 2 / 5 * (1 - 0.975)
    assert st.calibration_error(predicted, outcomes) == pytest.approx(expected)
    assert st.brier(predicted, outcomes) == pytest.approx((0.01 + 0.01 + 0.85**2 + 0.05**2) / 5)
    assert math.isnan(st.calibration_error([], []))
    with pytest.raises(ValueError, match=r"range from 0.2 to 1.2"):
        st.reliability([0.2, 1.2], [0, 1])


def test_equal_mass_bins_hold_equal_numbers() -> None:
    predicted = np.linspace(0, 0.2, 20)
    table = st.reliability(predicted, np.zeros(20), bins=5, equal_mass=True)
    assert [row.n for row in table] == [4] * 5
    assert table[0].low == 0 and table[-1].high == pytest.approx(0.2)
    assert st.calibration_error(predicted, np.zeros(20), equal_mass=True) == pytest.approx(0.1)
    assert len(st.reliability([0.5], [1], equal_mass=True)) == 1


def test_a_calibrated_forecast_has_little_error() -> None:
    rng = np.random.default_rng(2)
    chance = rng.random(20_000)
    assert st.calibration_error(chance, rng.random(20_000) < chance) < 0.015
    assert st.calibration_error(chance**2, rng.random(20_000) < chance) > 0.1


def test_paired_difference_by_hand() -> None:
    first = [1] * 12 + [0] * 8
    second = [1] * 6 + [0] * 6 + [1] * 1 + [0] * 7  # 6 gained, 1 lost, of 20
    result = st.paired_difference(first, second)
    assert result.value == pytest.approx(5 / 20)
    more, less = 7 / 22, 2 / 22
    half = 1.959964 * math.sqrt((more + less - (more - less) ** 2) / 22)
    assert (result.low, result.high) == pytest.approx((more - less - half, more - less + half))
    assert st.paired_difference([1, 0], [1, 0]).value == 0
    with pytest.raises(ValueError, match="pairs of 1 and 2"):
        st.paired_difference([1], [1, 0])


def test_quantiles_and_ratios() -> None:
    assert st.quantiles([1, 2, 3, 4, 5], (0.5, 0.9)) == pytest.approx([3, 4.6])
    assert math.isnan(st.quantiles([])[0])
    assert st.ratio_interval([1, 0, 3], [2, 0, 4], ["a", "b", "c"]).value == pytest.approx(4 / 6)
    assert math.isnan(st.ratio_interval([0], [0]).value)


def test_paired_bootstrap_is_the_paired_standard_error() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(size=200)
    first, second = hard + rng.normal(0.1, 0.1, 200), hard
    found = st.paired_bootstrap(lambda rows: float(first[rows].mean()), lambda rows: float(second[rows].mean()), 200)
    error = (first - second).std(ddof=1) / np.sqrt(200)
    assert found.value == pytest.approx((first - second).mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1), "what both share is no noise"
    wide = st.paired_bootstrap(
        lambda rows: float(first[rows].mean()), lambda rows: float(second[rows].mean()), 200, level=0.9987
    )
    assert (wide.high - wide.low) / (found.high - found.low) == pytest.approx(3.216 / 1.96, rel=1e-3)
    narrow, level = st.paired_difference([1] * 9 + [0], [0] * 9 + [1]), 0.999
    assert st.paired_difference([1] * 9 + [0], [0] * 9 + [1], level=level).low < narrow.low


def test_risk_at_a_coverage_is_that_of_the_least_doubted() -> None:
    doubts, wrong = [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]
    curve = st.risk_coverage(doubts, wrong, range(4), (0.5, 0.75, 1.0))
    assert [risk.value for _, risk in curve.points] == [0, pytest.approx(1 / 3), 0.5]
    assert curve.area.value == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    tied = st.risk_coverage([0.0] * 4, wrong, range(4), (0.25, 1.0))
    assert [risk.value for _, risk in tied.points] == [0.5, 0.5] and tied.area.value == 0.5, "no order, no gain"
    backwards = st.risk_coverage(doubts, wrong[::-1], range(4))
    assert backwards.area.value > 0.5 and all(risk.low <= risk.value <= risk.high for _, risk in backwards.points)
    nothing = st.risk_coverage([], [], [])
    assert math.isnan(nothing.area.value) and nothing.area.n == 0 and len(nothing.points) == 10


def test_ratios_worked_out_together_are_those_worked_out_alone() -> None:
    pairs = {"a": ([1, 0, 2, 3], [2, 2, 2, 4]), "b": ([0, 0, 0, 0], [0, 0, 0, 0])}
    both, groups = st.ratio_intervals(pairs, [0, 0, 1, 2]), [0, 0, 1, 2]
    assert both["a"] == st.ratio_interval(*pairs["a"], groups) and both["a"].value == 0.6
    assert math.isnan(both["b"].value) and both["b"].n == 3
