"""Runs and what they do, without any protocol."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from gedanken.agent.llm.protocol import LLMError
from gedanken.tools.answers import Answer, Judgements, Report, Simulation
from gedanken.tools.refusals import Asleep, Busy, Refused, UnknownRun
from gedanken.tools.requests import (
    ActRequest,
    PlanRequest,
    RehearseRequest,
    Request,
    SimulateRequest,
)
from gedanken.tools.run import Run
from gedanken.tools.runs import Runs
from gedanken.tools.work import Workshop

GOAL = "go to the red key"
PLAN = "go_to(red key)"


def finish(runs: Runs, request: Request) -> Report:
    run = runs.submit(request)
    asyncio.run(run.settled(60))
    return runs.report(run)


def test_plan_then_act(runs: Runs) -> None:
    planned = finish(runs, PlanRequest(goal=GOAL))
    assert planned.state == "done" and isinstance(planned.result, Answer)
    assert planned.result.status == "imagined" and planned.result.actions == []
    assert planned.result.plan == planned.result.judged[0].plan == PLAN
    acted = finish(runs, ActRequest(goal=GOAL))
    assert isinstance(acted.result, Answer) and acted.result.success and acted.news.startswith("stored as episode")
    assert acted.result.actions and acted.result.steps[0].result == "achieved" and acted.result.episode == 1
    assert Report.model_validate_json(acted.model_dump_json()) == acted


def test_rehearse(runs: Runs) -> None:
    report = finish(runs, RehearseRequest(goal=GOAL, plans=[PLAN, "pick_up(red key)\n"]))
    assert isinstance(report.result, Judgements) and report.events == 2
    assert [judged.plan for judged in report.result.judged] == [PLAN, "pick_up(red key)"]


def test_events_are_followed_as_they_happen(runs: Runs) -> None:
    async def follow() -> list[tuple[int, str]]:
        run = runs.submit(ActRequest(goal=GOAL))
        return [(number, event.kind) async for number, event in run.follow()]

    heard = asyncio.run(follow())
    assert [number for number, _ in heard] == list(range(1, len(heard) + 1))
    assert heard[0][1] == "goal" and heard[-1][1] == "stored"


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (PlanRequest(goal="  "), "the goal is empty"),
        (RehearseRequest(goal=GOAL, plans=["fly(red key)"]), "no skill 'fly'"),
        (SimulateRequest(plans=["go_to(red"]), "not a step"),
        (SimulateRequest(actions=["fly"]), "no action 'fly'"),
    ],
)
def test_nonsense_is_refused_before_and_after_waking(request_: Request, said: str, runs: Runs, opening: Any) -> None:
    with pytest.raises(Refused, match=said):
        runs.submit(request_)
    early = Runs(opening())
    run = early.submit(request_)
    with early:
        asyncio.run(run.settled(60))
        assert run.state == "failed" and said in (early.report(run).error or "")


def test_what_no_request_may_be() -> None:
    for wrong in ({}, {"plans": [PLAN], "actions": ["left"]}, {"plans": [PLAN] * 16, "samples": 17}, {"hm": 1}):
        with pytest.raises(ValidationError):
            SimulateRequest.model_validate(wrong)
    with pytest.raises(ValidationError):
        PlanRequest(goal="x" * 2_001)


def test_one_at_a_time_and_not_too_many(opening: Any, gate: Any) -> None:
    with Runs(opening(gate), waiting=2) as runs:
        first = runs.submit(ActRequest(goal=GOAL))
        assert gate.asked.wait(60)
        second, third = (runs.submit(PlanRequest(goal=GOAL)) for _ in range(2))
        assert [runs.report(run).ahead for run in (first, second, third)] == [0, 1, 2]
        with pytest.raises(Busy, match="ask again in 5 s"):
            runs.submit(PlanRequest(goal=GOAL))
        runs.stop(second)
        assert second.state == "stopped" and runs.report(third).ahead == 1
        gate.open.set()
        asyncio.run(third.settled(60))
        assert (first.state, second.state, third.state) == ("done", "stopped", "done")
        assert runs.find(first.id) is first
        with pytest.raises(UnknownRun):
            runs.find("../../etc/passwd")


def test_who_finds_no_room_comes_in_before_those_who_ask_later(opening: Any, gate: Any) -> None:
    goals = [f"{GOAL} {word}" for word in ("now", "please", "today", "at once")]

    async def ask() -> list[Run]:
        first = await runs.admit(ActRequest(goal=GOAL), 0)
        await asyncio.to_thread(gate.asked.wait, 60)
        standing = []
        for goal in goals:  # the first of them fills the queue
            standing.append(asyncio.create_task(runs.admit(PlanRequest(goal=goal), 60)))
            await asyncio.sleep(0.01)
        with pytest.raises(Busy):
            await runs.admit(PlanRequest(goal=GOAL), 0.05)
        standing.pop(2).cancel()
        gate.open.set()
        return [first, *await asyncio.gather(*standing)]

    with Runs(opening(gate), waiting=1, together=1) as runs:
        first, *others = asyncio.run(ask())
        asyncio.run(others[-1].settled(60))
        assert [runs.report(run).goal for run in others] == [goals[0], goals[1], goals[3]]
        began = [run._began for run in (first, *others)]
        assert began == sorted(began) and all(run.state == "done" for run in (first, *others))


def test_those_in_line_are_told_when_the_server_ends(opening: Any, gate: Any) -> None:
    async def ask() -> None:
        await runs.admit(ActRequest(goal=GOAL), 0)
        await asyncio.to_thread(gate.asked.wait, 60)
        runs.submit(PlanRequest(goal=GOAL))
        standing = asyncio.create_task(runs.admit(PlanRequest(goal=GOAL), 60))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(asyncio.to_thread(runs.close))
        with pytest.raises(Asleep, match="shutting down"):
            await standing
        gate.open.set()
        await closing

    runs = Runs(opening(gate), waiting=1)
    runs.start()
    asyncio.run(ask())


def test_stopping_a_run_that_acts(opening: Any) -> None:
    acting, go_on = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def held() -> Iterator[Workshop]:
        with opening()() as workshop:
            controller: Any = workshop.agent.trained.controller
            controller.before = lambda: (acting.set(), go_on.wait(60))
            yield workshop

    with Runs(held) as runs:
        run = runs.submit(ActRequest(goal=GOAL))
        assert acting.wait(60)
        runs.stop(run)
        go_on.set()
        asyncio.run(run.settled(60))
        report = runs.report(run)
        assert report.state == "stopped" and report.error == "stopped, as was asked"
        assert isinstance(report.result, Answer) and report.result.status == "interrupted"
        assert len(report.result.actions) == 1 and report.result.episode == 1
        again = finish(runs, ActRequest(goal=GOAL))
        assert isinstance(again.result, Answer) and again.result.success


def test_the_time_limit_ends_a_run_and_keeps_what_happened(opening: Any) -> None:
    with Runs(opening(), limit=1e-9) as runs:
        report = finish(runs, ActRequest(goal=GOAL))
        assert report.state == "stopped" and "the limit of a run" in (report.error or "")
        assert isinstance(report.result, Answer) and report.result.status == "interrupted"


def test_errors_are_told_and_the_next_run_works(opening: Any, caplog: pytest.LogCaptureFixture) -> None:
    troubles: list[Exception] = [LLMError("the server is away; start it"), ZeroDivisionError("secret")]

    def script(prompt: str) -> list[str]:
        if troubles:
            raise troubles.pop(0)
        return [PLAN + "\n"]

    with Runs(opening(script)) as runs:
        assert finish(runs, PlanRequest(goal=GOAL)).error == "the server is away; start it"
        told = finish(runs, PlanRequest(goal=GOAL)).error or ""
        assert "ZeroDivisionError" in told and "secret" not in told and "secret" in caplog.text
        assert finish(runs, PlanRequest(goal=GOAL)).state == "done"


def test_a_workplace_that_does_not_open() -> None:
    @contextlib.contextmanager
    def broken() -> Iterator[Workshop]:
        raise Refused("no checkpoint 'absent'; train one")
        yield

    runs = Runs(broken)
    early = runs.submit(PlanRequest(goal=GOAL))
    with pytest.raises(Asleep, match="still waking up"):
        runs.wake(0)
    with runs:
        with pytest.raises(Asleep, match="no checkpoint 'absent'"):
            runs.wake()
        with pytest.raises(Asleep, match="no checkpoint 'absent'"):
            runs.submit(PlanRequest(goal=GOAL))
        assert early.state == "failed"


def test_simulated_plans_are_distributions(learned: Any) -> None:
    with Runs(learned) as runs:
        request = SimulateRequest(plans=["go_to(red key)\ndrop()", PLAN], samples=8, horizon=3, seed=5)
        first, again = (finish(runs, request).result for _ in range(2))
        assert isinstance(first, Simulation) and first == again
        assert [plan.plan for plan in first.plans] == request.plans
        for plan in first.plans:
            assert 0 <= plan.success <= min(step.share for step in plan.steps) <= 1
            assert 0 < sum(ending.share for ending in plan.ends) <= 1 and plan.ends[0].sees
            assert 2 <= len(plan.views) <= 8 and len(plan.views[0]) == 7


def test_simulated_actions(learned: Any) -> None:
    with Runs(learned) as runs:
        result = finish(runs, SimulateRequest(actions=["left", "forward", "right"], samples=8)).result
        assert isinstance(result, Simulation) and result.actions and not result.plans
        futures = result.actions
        assert len(futures.reward) == len(futures.continues) == len(futures.disagreement) == 3
        assert len(futures.views) == 4 and futures.ends


def test_worlds_know_the_place(runs: Runs) -> None:
    worlds = runs.wake()
    assert worlds.here.id in worlds.worlds and worlds.here.seed == 3 and "left" in worlds.here.actions
    assert "red key" in worlds.here.sees and any(skill.startswith("go_to") for skill in worlds.here.skills)
