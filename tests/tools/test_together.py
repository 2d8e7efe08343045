"""Questions of several threads, answered in batches."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from doubles import Stage

from gedanken.agent.llm.protocol import Completion, GrammarError
from gedanken.agent.llm.relay import Settings
from gedanken.tools.requests import ActRequest, PlanRequest, RehearseRequest
from gedanken.tools.runs import Runs
from gedanken.tools.together import Gathered, Imagined, SharedActor, SharedModel
from gedanken.worldmodel.actor import Cloned
from gedanken.worldmodel.checkpoint import build
from gedanken.worldmodel.spatial import SIZES

GOAL = "go to the red key"


def asked_at_once(gathered: Gathered[Any, Any], ask: Sequence[Any], begun: threading.Event, go: threading.Event) -> Any:
    """Ask the first question, then the others while it is answered."""
    with ThreadPoolExecutor(len(ask)) as threads:
        first = threads.submit(ask[0])
        assert begun.wait(60)
        others = [threads.submit(one) for one in ask[1:]]
        while len(gathered._asked) < len(others):
            time.sleep(0.001)
        go.set()
        return [future.exception() or future.result() for future in (first, *others)]


class Slow:
    """Answers when it is let through, and remembers its batches."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.batches = answer, list[Any]()
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, batch: Any) -> Any:
        self.begun.set()
        assert self.go.wait(60)
        self.batches.append(batch)
        return self.answer(batch)


def test_what_is_asked_meanwhile_is_answered_together() -> None:
    slow = Slow(lambda batch: [10 * n for n in batch])
    gathered = Gathered[int, int](slow)
    answers = asked_at_once(gathered, [lambda n=n: gathered.ask(n) for n in range(4)], slow.begun, slow.go)  # type: ignore[misc]
    assert answers == [0, 10, 20, 30] and slow.batches[0] == [0] and sorted(slow.batches[1]) == [1, 2, 3]


def test_an_error_is_raised_where_it_was_asked_and_the_next_batch_is_answered() -> None:
    def answer(batch: list[int]) -> list[int]:
        if 1 in batch:
            raise ValueError("not one")
        return batch

    slow = Slow(answer)
    gathered = Gathered[int, int](slow)
    first, *others = asked_at_once(
        gathered,
        [lambda n=n: gathered.ask(n) for n in (0, 1, 2)],  # type: ignore[misc]
        slow.begun,
        slow.go,
    )
    assert first == 0 and all(isinstance(error, ValueError) for error in others) and gathered.ask(3) == 3


def test_prompts_with_the_same_settings_are_one_batch_and_each_is_asked_once() -> None:
    slow = Slow(lambda prompts: [[Completion(f"to {prompt}", 0.0, 1, 1, 0.0)] for prompt in prompts])

    class Model:
        name = "double"

        def complete(self, prompts: Any, **settings: Any) -> Any:
            return slow((tuple(prompts), settings["seed"]))

    slow.answer = lambda batch: [[Completion(f"to {prompt}", 0.0, 1, 1, 0.0)] for prompt in batch[0]]
    model: Any = SharedModel(Model())  # type: ignore[arg-type]
    settings: Any = {"n": 1, "grammar": None, "temperature": 0.0, "max_tokens": 8}

    def ask(prompt: str, seed: int) -> Any:
        return lambda: model.complete([prompt], seed=seed, **settings)[0][0].text

    answers = asked_at_once(
        model._gathered, [ask("a", 0), ask("b", 0), ask("c", 0), ask("b", 0), ask("d", 1)], slow.begun, slow.go
    )
    assert answers == ["to a", "to b", "to c", "to b", "to d"]
    assert [(sorted(prompts), seed) for prompts, seed in slow.batches] in (
        [(["a"], 0), (["b", "c"], 0), (["d"], 1)],
        [(["a"], 0), (["d"], 1), (["b", "c"], 0)],
    )


@pytest.fixture
def actor() -> Any:
    torch.manual_seed(1)
    model, controller = build(Stage("BabyAI-GoToLocal-v0").spec, "spatial", SIZES["debug"].model_dump())
    return Cloned(controller.eval())


def test_plans_from_the_same_belief_are_imagined_in_one_batch(actor: Any) -> None:
    spec, model = actor.controller.model.spec, actor.controller.model
    plans = [spec.parse_plan(text) for text in ("go_to(red ball)", "go_to(box)\npick_up(box)", "open(door)")]
    belief, settings = model.initial(1), {"samples": 4, "horizon": 3, "standstill": 8, "seed": 5}
    seen: list[Any] = []

    def question(chosen: list[Any], watch: Any = None, **changed: Any) -> Imagined:
        kind = (*(settings | changed).items(), ("inputs", None))
        return Imagined(belief, tuple(chosen), (0,) * len(chosen), kind, watch)

    asked = [
        question(plans[:1]),
        question(plans[:1], seed=6),
        question(plans[1:], lambda views: seen.append(len(views))),
    ]
    one, other, two = SharedActor(actor)._answer(asked)
    whole = actor.rehearse(belief, plans, [0, 0, 0], **settings)
    assert one.plans == (plans[0],) and two.plans == tuple(plans[1:]) and set(seen) == {2}
    assert torch.equal(one.actions, whole.actions[:1]) and torch.equal(two.actions, whole.actions[1:])
    alone = actor.rehearse(belief, plans[:1], [0], **(settings | {"seed": 6}))
    assert torch.equal(other.actions, alone.actions)


def test_who_leaves_or_asks_something_odd_does_not_end_the_others(actor: Any) -> None:
    spec, model = actor.controller.model.spec, actor.controller.model
    plans = tuple(spec.parse_plan(text) for text in ("go_to(red ball)", "open(door)"))
    belief, settings = model.initial(1), {"samples": 4, "horizon": 3, "standstill": 8, "seed": 5}

    def leave(views: Any) -> None:
        raise KeyboardInterrupt

    def asked(*watching: Any) -> list[Imagined]:
        kind = (*settings.items(), ("inputs", None))
        return [Imagined(belief, (plan,), (0,), kind, watch) for plan, watch in zip(plans, watching, strict=True)]

    gone, stayed = SharedActor(actor)._answer(asked(leave, lambda views: None))
    assert isinstance(gone, KeyboardInterrupt)
    assert torch.equal(stayed.actions, actor.rehearse(belief, plans, [0, 0], **settings).actions[1:])
    assert all(isinstance(error, KeyboardInterrupt) for error in SharedActor(actor)._answer(asked(leave, leave)))

    class Picky:
        name = "picky"

        def complete(self, prompts: Any, **_: Any) -> Any:
            if "odd" in prompts:
                raise GrammarError("odd")
            return [[Completion(prompt, 0.0, 1, 1, 0.0)] for prompt in prompts]

    how: Any = Settings(1, None, 0.0, 8, (), 0, None, ())
    answers = SharedModel(Picky())._answer([(["a"], how), (["odd"], how), (["b", "a"], how)])  # type: ignore[arg-type]
    assert isinstance(answers[1], GrammarError)
    assert [[c.text for [c] in answers[i]] for i in (0, 2)] == [["a"], ["b", "a"]]  # type: ignore[union-attr]


def test_a_run_that_is_stopped_ends_alone_and_what_acts_goes_on(opening: Any, gate: Any) -> None:
    with Runs(opening(gate)) as runs:
        runs.wake()
        stopped, judged = runs.submit(PlanRequest(goal=GOAL)), runs.submit(RehearseRequest(goal=GOAL, plans=["drop()"]))
        assert gate.asked.wait(60)
        runs.stop(stopped)
        act = runs.submit(ActRequest(goal=GOAL))
        gate.open.set()
        while not act.over:
            time.sleep(0.001)
        assert [run.state for run in (stopped, judged, act)] == ["stopped", "done", "done"] and not runs._now


def test_what_imagines_goes_on_side_by_side_and_what_acts_alone(opening: Any, gate: Any) -> None:
    with Runs(opening(gate)) as runs:
        runs.wake()
        first, second = runs.submit(PlanRequest(goal=GOAL)), runs.submit(PlanRequest(goal=f"{GOAL} now"))
        act = runs.submit(ActRequest(goal=GOAL))
        judged = runs.submit(RehearseRequest(goal=GOAL, plans=["go_to(red key)"]))
        assert gate.asked.wait(60)
        while second.state == "queued":
            time.sleep(0.001)
        assert first.state == second.state == "running"
        assert act.state == judged.state == "queued" and runs.report(judged).ahead == 3
        gate.open.set()
        while not judged.over:
            time.sleep(0.001)
        assert [run.state for run in (first, second, act, judged)] == ["done"] * 4
        assert act.report(0).seconds >= 0 and runs.wake().here.sees
