from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from gedanken.agent.goal_match import MOST_TOKENS, GoalMatch, GoalMatchConfig, pad_plans, train_goal_match
from gedanken.agent.goal_practice import Heard
from gedanken.agent.goals import GoalError
from gedanken.worlds.babyai import SPEC
from gedanken.worlds.spec import Plan

CONFIG = GoalMatchConfig(features=16, width=32, layers=2, heads=2)
COLOURS = ("red", "blue", "green", "grey")


class Words:
    """Embeds texts word by word, each word a random vector of its own; counts the texts that it was asked for."""

    def __init__(self) -> None:
        self.table: dict[str, Tensor] = {}
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str], *, layer: int) -> tuple[Tensor, Tensor]:
        self.asked += texts
        split = [text.split() for text in texts]
        longest = max(map(len, split))
        features = torch.zeros(len(texts), longest, 16)
        for row, words in enumerate(split):
            for column, word in enumerate(words):
                if word not in self.table:
                    generator = torch.Generator().manual_seed(len(self.table))
                    self.table[word] = torch.randn(16, generator=generator)
                features[row, column] = self.table[word]
        return features, torch.tensor([[i < len(words) for i in range(longest)] for words in split])


def plan(*steps: str) -> Plan:
    return SPEC.parse_plan("\n".join(steps))


def toy() -> tuple[list[Plan], list[str]]:
    """Return plans of one step, and for each the goal that it meets."""
    return [plan(f"go_to({colour} ball)") for colour in COLOURS], [f"walk to the {colour} one" for colour in COLOURS]


def heard() -> list[Heard]:
    """Every plan with its own goal and another, many times over."""
    plans, goals = toy()
    rng, items = np.random.default_rng(0), []
    for _ in range(24):
        for own, done in enumerate(plans):
            other = rng.choice([i for i in range(len(goals)) if i != own])
            items.append(Heard(done, (goals[own], goals[other]), (True, False)))
    return items


def test_it_learns_which_goals_a_plan_meets() -> None:
    torch.manual_seed(0)
    head, encoder = GoalMatch(SPEC, CONFIG), Words()
    plans, goals = toy()
    rows = list(train_goal_match(head, encoder, heard(), epochs=40, seed=0, rate=3e-3, batch=32))
    assert [row["epoch"] for row in rows] == list(range(40)) and not head.training
    assert rows[-1]["loss"] < 0.3 * rows[0]["loss"] and rows[-1]["accuracy"] > 0.85
    assert sorted(encoder.asked) == sorted(set(goals))  # each goal is encoded once
    said = torch.stack([head.probability(encoder, goal, plans) for goal in goals])  # [goals, plans]
    own = torch.eye(len(plans), dtype=torch.bool)
    assert torch.equal(said.argmax(1), torch.arange(len(plans)))
    assert said[own].mean() > 0.8 > 0.2 > said[~own].mean()


def test_the_same_seed_trains_the_same_head() -> None:
    heads = []
    for _ in range(2):
        torch.manual_seed(0)
        heads.append(GoalMatch(SPEC, CONFIG))
        list(train_goal_match(heads[-1], Words(), heard(), epochs=1, seed=4, batch=32))
    first, second = (head.state_dict() for head in heads)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_small_set_is_one_batch() -> None:
    rows = list(train_goal_match(GoalMatch(SPEC, CONFIG), Words(), heard()[:3], epochs=2, seed=0))
    assert len(rows) == 2 and all(np.isfinite(row["loss"]) for row in rows)


@pytest.fixture
def head() -> GoalMatch:
    torch.manual_seed(0)
    return GoalMatch(SPEC, CONFIG).eval()


A, B = "go_to(red ball)", "pick_up(blue key behind you)"


def test_padding_changes_nothing(head: GoalMatch) -> None:
    encoder = Words()
    alone = head.probability(encoder, "take it", [plan(A)])
    beside = head.probability(encoder, "take it", [plan(A), plan(A, B, A)])
    torch.testing.assert_close(alone[0], beside[0])
    with torch.no_grad():
        steps, (features, mask) = pad_plans(SPEC, [plan(A)]), head.encode(encoder, ["take it"])
        rubbish = torch.cat([features, torch.full((1, 5, 16), 9.0)], 1)
        longer = torch.cat([mask, torch.zeros(1, 5, dtype=torch.bool)], 1)
        torch.testing.assert_close(head(features, mask, steps), head(rubbish, longer, steps))


def test_order_arguments_and_words_all_count(head: GoalMatch) -> None:
    plans = [plan(A, B), plan(B, A), plan(A), plan("put_next_to(ball, key)"), plan("put_next_to(key, ball)")]
    said = head.probability(Words(), "do this", plans)
    assert len({round(float(p), 6) for p in said}) == len(plans)
    encoder = Words()
    first, second = (
        float(head.probability(encoder, goal, [plan(A)])[0]) for goal in ("red then blue", "blue then red")
    )
    assert first != pytest.approx(second, abs=1e-6)


def test_plans_are_padded_to_the_longest() -> None:
    steps = pad_plans(SPEC, [plan(A), plan(A, B)])
    assert steps.shape == (2, 2, len(SPEC.step_sizes))
    assert (steps[0, 1] == -1).all() and tuple(steps[1, 1].tolist()) == SPEC.step_codes(SPEC.parse_step(B))


def test_a_goal_too_long_to_be_read_whole_is_refused(head: GoalMatch) -> None:
    encoder, goal = Words(), " ".join(f"word{i}" for i in range(MOST_TOKENS))
    features, mask = head.encode(encoder, [goal])
    assert features.shape == (1, MOST_TOKENS, 16) and mask.all()
    with pytest.raises(GoalError, match="fewer words"):
        head.probability(encoder, f"{goal} and much more", [plan(A)])
