"""Runs side by side: the same answers as one after the other, fewer batches, errors where they belong."""

import threading
from collections.abc import Sequence

import pytest

from gedanken.agent.llm.protocol import Completion, LLMError
from gedanken.evals.together import Together

THREADS = "run-"
SETTINGS = {"n": 1, "grammar": None, "temperature": 0.0, "max_tokens": 4, "seed": 0}


class Echo:
    """Answers a prompt with itself in capitals; remembers its batches."""

    name = "echo"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def complete(self, prompts: Sequence[str], **settings: object) -> list[list[Completion]]:
        self.batches.append(list(prompts))
        if "bad" in prompts:
            raise LLMError("the server is gone")
        return [[Completion(prompt.upper(), 0.0, 1, 1, 9.0)] for prompt in prompts]


def asks(llm: Together, *prompts: str) -> list[str]:
    return [llm.complete([prompt], **SETTINGS)[0][0].text for prompt in prompts]  # type: ignore[arg-type]


def test_prompts_of_runs_side_by_side_are_answered_together() -> None:
    echo = Echo()
    llm = Together(echo)
    works = [lambda i=i: asks(llm, f"a{i}", f"b{i % 2}") for i in range(5)]
    results = dict(llm.run(works, width=3))
    assert results == {i: [f"A{i}", f"B{i % 2}"] for i in range(5)}
    assert echo.batches[0] == ["a0", "a1", "a2"]
    assert sum(len(batch) for batch in echo.batches) == 5 + 2, "nothing is asked twice"
    assert not [t for t in threading.enumerate() if t.name.startswith(THREADS)]


def test_asked_from_outside_it_answers_at_once_and_remembers() -> None:
    echo = Echo()
    llm = Together(echo)
    first, second = llm.complete(["x", "y"], **SETTINGS), llm.complete(["y"], **SETTINGS)  # type: ignore[arg-type]
    assert second[0] == first[1] and echo.batches == [["x", "y"]]
    assert first[0][0].seconds < 1, "a prompt's share of the batch's time"
    assert dict(llm.run([lambda: asks(llm, "x")], width=4)) == {0: ["X"]}
    assert len(echo.batches) == 1


def test_one_run_at_a_time_has_the_floor() -> None:
    llm, busy, most = Together(Echo()), [0], [0]

    def work(name: str) -> None:
        for number in range(3):
            busy[0] += 1
            most[0] = max(most[0], busy[0])
            busy[0] -= 1
            asks(llm, f"{name}{number}")

    assert len(list(llm.run([lambda n=n: work(n) for n in "abcd"], width=4))) == 4
    assert most[0] == 1


def test_errors_come_out_and_leave_no_thread_behind() -> None:
    llm = Together(Echo())
    with pytest.raises(LLMError, match="the server is gone"):
        list(llm.run([lambda: asks(llm, "good"), lambda: asks(llm, "bad")], width=2))
    with pytest.raises(ZeroDivisionError):
        list(llm.run([lambda: asks(llm, "fine"), lambda: 1 // 0], width=2))
    assert not [t for t in threading.enumerate() if t.name.startswith(THREADS)]


def test_a_reader_who_leaves_ends_the_runs() -> None:
    llm = Together(Echo())
    results = llm.run([lambda: asks(llm, "x"), lambda: asks(llm, *"abcdefgh")], width=2)
    assert next(results) == (0, ["X"])
    results.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith(THREADS)]
