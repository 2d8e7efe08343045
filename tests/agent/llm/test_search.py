import numpy as np
import pytest

from gedanken.agent.llm.search import Choice, FloatArray, Search, generator, log_softmax

LEAVES = 6
END = 99


def choices(search: Search, logits: FloatArray) -> list[Choice]:
    """Two tokens deep: any of three, then any of two that end."""
    return [
        Choice(np.arange(3), logits[:3], END)
        if not branch.tokens
        else Choice(np.array([10, 11]), logits[3 + branch.tokens[0] :][:2], END)
        for branch in search.live
    ]


def run(width: int, temperature: float, logits: FloatArray, seed: int) -> list[tuple[int, ...]]:
    search = Search(width, temperature, generator(seed, "prompt"))
    search.live = [branch for branch, _ in search.advance(choices(search, logits))]
    search.done = [branch for branch, _ in search.advance(choices(search, logits))]
    return [branch.tokens for branch in search.done]


LOGITS = np.array([0.3, 1.0, -0.5, 0.2, 1.4, -1.0, 0.7])


def probability(tokens: tuple[int, ...], temperature: float = 1.0) -> float:
    first = log_softmax(LOGITS[:3] / temperature)[tokens[0]]
    second = log_softmax(LOGITS[3 + tokens[0] :][:2] / temperature)[tokens[1] - 10]
    return float(np.exp(first + second))


def test_texts_are_distinct_and_the_greedy_one_is_first() -> None:
    for seed in range(20):
        texts = run(4, 1.0, LOGITS, seed)
        assert len(set(texts)) == 4
        assert texts[0] == (1, 10)
    assert len(run(50, 1.0, LOGITS, 0)) == LEAVES


def test_temperature_zero_is_beam_search() -> None:
    every = [(a, b) for a in range(3) for b in (10, 11)]
    best = sorted(every, key=probability, reverse=True)
    assert set(run(3, 0.0, LOGITS, 1)) == set(best[:3])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_sampling_without_replacement_follows_the_model(temperature: float) -> None:
    """Of two texts one is the greedy one; the other is drawn from the rest in proportion to its probability."""
    n = 4000
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(n):
        other = run(2, temperature, LOGITS, seed)[1]
        counts[other] = counts.get(other, 0) + 1
    rest = {(a, b): probability((a, b), temperature) for a in range(3) for b in (10, 11) if (a, b) != (1, 10)}
    total = sum(rest.values())
    for text, p in rest.items():
        assert counts.get(text, 0) / n == pytest.approx(p / total, abs=0.03)


def test_log_probability_is_at_temperature_one() -> None:
    search = Search(3, 0.3, generator(0, "prompt"))
    search.live = [branch for branch, _ in search.advance(choices(search, LOGITS))]
    for branch, _ in search.advance(choices(search, LOGITS)):
        assert np.exp(branch.log_probability) == pytest.approx(probability(branch.tokens))


def test_an_end_is_kept_and_not_grown() -> None:
    search = Search(2, 1.0, generator(0, "prompt"))
    ending = Choice(np.array([5, END]), np.array([0.0, 3.0]), END)
    [(branch, token)] = search.advance([ending])
    assert token == 5
    assert [done.tokens for done in search.done] == [()]
    assert branch.tokens == (5,)


def test_random_numbers_depend_on_seed_and_prompt() -> None:
    assert generator(1, "a").random() == generator(1, "a").random()
    assert generator(1, "a").random() != generator(1, "b").random()
    assert generator(1, "a").random() != generator(2, "a").random()
    assert generator(-1, "a").random() >= 0


def test_unwanted_texts_make_room_for_others() -> None:
    every = sorted(((a, b) for a in range(3) for b in (10, 11)), key=probability, reverse=True)
    unwanted = set(every[:2])
    ending = Choice(np.array([END]), np.array([0.0]), END)
    for spare, found in ((0, 1), (2, 3)):
        search = Search(3, 0.0, generator(0, "prompt"), unwanted=lambda tokens: tokens in unwanted, spare=spare)
        for _ in range(2):
            search.live = [branch for branch, _ in search.advance(choices(search, LOGITS))]
        assert search.advance([ending] * len(search.live)) == []
        assert [branch.tokens for branch in search.done] == every[2 : 2 + found]
