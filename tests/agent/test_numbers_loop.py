"""The whole loop in a world of numbers, with a model that knows the laws."""

import json
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
import exact_house as exact

from gedanken.agent import whatif
from gedanken.agent.agent import Agent
from gedanken.agent.deliberate import Option, choose, hardly_meant, likelihoods, wants_revision
from gedanken.agent.events import Candidate, Event, Judged, Proposed, StepEnded, from_line, to_line
from gedanken.agent.goals import GoalError
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.objective_critic import FEWEST, ObjectiveCritic, calibrated, pairs_of
from gedanken.agent.readings import Reading
from gedanken.agent.session import Session
from gedanken.agent.telling.story import Story
from gedanken.agent.trace import Trace
from gedanken.agent.verdict import Verdict
from gedanken.worlds.spec import SpecError

KEEP = "keep(room, 19..21, for 4)\n"
WARM = "reach(room, 20 ± 0.5, within 10)\nkeep(room, 19..21, for 4)\n"
IDLE = "minimize(room, for 3)\n"
GOAL = "keep the room between 19 and 21 for two hours"


def run(agent: Agent, goal: str, seed: int = 3) -> tuple[list[Event], Session]:
    heard: list[Event] = []
    session = agent.session(seed)
    agent.run(goal, session, on_event=heard.append)
    session.close()
    return heard, session


def test_a_goal_in_words_is_reached_and_everything_is_told_and_kept(tmp_path: Path) -> None:
    with exact.agent_in(tmp_path, lambda prompt: [KEEP, WARM, IDLE]) as agent:
        heard, session = run(agent, GOAL)
        outcome = next(event for event in heard if event.kind == "outcome")
        assert outcome.success and outcome.plan == WARM.strip() and outcome.verdict.satisfies is None
        assert all(19 <= seen[0] <= 21 for seen in session.observations[-4:])
        [prompt] = agent.llm.prompts  # type: ignore[attr-defined]
        assert "keep the room between 19 and 21 for 4 actions" in prompt
        judged = next(event for event in heard if isinstance(event, Judged))
        by_plan = {str(verdict.plan): verdict for verdict in judged.verdicts}
        assert by_plan[KEEP.strip()].carried_out == 0 and by_plan[IDLE.strip()].carried_out == 1
        assert by_plan[KEEP.strip()].reasons.startswith(
            "step 1 keep(room, 19..21, for 4) fails in 4 of 4 futures: room"
        )
        assert "°C" in by_plan[KEEP.strip()].reasons
        [(_, episode)] = agent.store.episodes()  # type: ignore[union-attr]
        assert episode.actions.dtype == np.float32 and len(episode) == outcome.steps
        assert pairs_of([episode]) == [{"carried_out": 1.0, "disagreement": 0.0, "futures": 4, "happened": True}]
        story, trace = StringIO(), Trace()
        tell = Story(agent.world.spec, Console(file=story, width=120))
        for event in heard:
            assert from_line(to_line(event)) == event
            tell(event)
            trace(event)
        assert "heater" in story.getvalue() and "reached in" in story.getvalue()
        assert json.loads(json.dumps(trace.answer(outcome)))["status"] == "reached"


def test_a_life_is_replayed_from_its_journal_control_by_control(tmp_path: Path) -> None:
    with exact.agent_in(tmp_path, lambda prompt: [WARM]) as agent:
        _, session = run(agent, GOAL)
        assert agent.journal
        last = agent.journal.last()
        assert last
        again = Session.replay(agent.world, agent.trained, last, agent.journal)
        assert np.array_equal(np.stack(again.observations), np.stack(session.observations))
        assert np.array_equal(np.stack(again.actions), np.stack(session.actions))
        again.close()


def test_where_reality_differs_the_plan_is_dropped_and_another_one_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact.House, "broken", True)
    with exact.agent_in(tmp_path, lambda prompt: [WARM, IDLE], replans=1, surprise=1000.0) as agent:
        heard, _ = run(agent, "warm the room")
        ends = [event for event in heard if isinstance(event, StepEnded)]
        assert ends[0].result == "failed" and ends[0].actions == 10
        [why] = [event.why for event in heard if event.kind == "replanning"]
        assert why.startswith("reach(room, 20 ± 0.5, within 10): room is ") and why.endswith("°C")
        assert sum(isinstance(event, Proposed) for event in heard) >= 2
        [(_, episode)] = agent.store.episodes()  # type: ignore[union-attr]
        told = [(pair["carried_out"], pair["happened"]) for pair in pairs_of([episode])]
        assert told == [(1.0, False)] * 2, "what was given up for another plan counts, too"


def test_what_a_time_limit_left_open_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = exact.House.step
    monkeypatch.setattr(exact.House, "step", lambda house, action: (*step(house, action)[:3], house.taken == 2, {}))
    with exact.agent_in(tmp_path, lambda prompt: [WARM], surprise=1000.0) as agent:
        heard, _ = run(agent, "warm the room")
        assert [event.result for event in heard if isinstance(event, StepEnded)] == ["over"]
        [(_, episode)] = agent.store.episodes()  # type: ignore[union-attr]
        assert len(episode) == 2 and pairs_of([episode]) == []


def test_what_was_to_be_avoided_and_happened_is_no_occasion_for_another_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact.House, "broken", True)
    with exact.agent_in(tmp_path, lambda p: ["avoid(room < 7.5)\n" + WARM], surprise=1000.0) as agent:
        heard, _ = run(agent, "warm the room, and never let it fall below 7.5")
        outcome = next(event for event in heard if event.kind == "outcome")
        assert outcome.status == "not_reached" and not outcome.replans
        assert "and that was to be avoided" in outcome.message


def test_surprise_ends_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact.House, "broken", True)
    with exact.agent_in(tmp_path, lambda prompt: [WARM], replans=0, surprise=50.0) as agent:
        heard, _ = run(agent, "warm the room")
        assert [event.result for event in heard if isinstance(event, StepEnded)] == ["surprise"]


def test_time_in_a_goal_needs_a_world_that_knows_how_long_an_action_takes(tmp_path: Path) -> None:
    with exact.agent_in(tmp_path, lambda prompt: [WARM]) as agent:
        agent.world = exact.house(lasts=None)
        with pytest.raises(GoalError, match="does not say how long an action takes.*lasts = '30 min'"):
            run(agent, GOAL)
        assert len(agent.store or []) == 0 and not agent.unfinished(), "nothing is left to be gone on with"


def verdict(success: float, plan: str, satisfies: float | None = None) -> Verdict:
    numbers = {"low": 0.0, "high": 1.0, "carried_out": success, "disagreement": 0.0, "failing_share": 0.0}
    parsed = exact.house().spec.parse_plan(plan)
    return Verdict(
        plan=parsed, success=success, satisfies=satisfies, steps=3, failing_step=None, reasons="", futures=4, **numbers
    )


def test_where_meaning_is_not_judged_the_language_models_belief_counts_beside_success() -> None:
    sure_but_odd, meant = Option(verdict(1.0, IDLE), 0, -5.0), Option(verdict(0.8, KEEP), 0, -0.5)
    assert choose([sure_but_odd, meant], 0.02) is meant
    hopeless = Option(verdict(0.0, WARM), 0, -0.1)
    assert choose([sure_but_odd, meant, hopeless], 0.02) is meant
    assert likelihoods([meant, Option(verdict(1.0, IDLE), 0, None)]) == [1.0, 1.0]
    many = [
        Option(verdict(0.97, KEEP).model_copy(update={"steps": 9}), 0, -2.0),
        *(Option(verdict(0.8, IDLE), 0, -2.0),) * 14,
    ]
    assert choose(many, 0.02) is many[0], "what is close does not depend on how many there are"
    config = exact.LoopConfig.preset("debug")
    assert wants_revision([sure_but_odd, meant], config) is None  # 80 % of 75 %
    assert "a chance of 10%" in str(wants_revision([sure_but_odd, Option(verdict(0.1, KEEP), 0, 0.0)], config))


def test_what_is_hardly_meant_is_not_rehearsed_where_that_is_known() -> None:
    spec = exact.house().spec
    written = [Candidate(plan=text, log_probability=log, round=0) for text, log in ((KEEP, -0.1), (IDLE, -6.0))]
    plans = [spec.parse_plan(candidate.plan) for candidate in written]
    readings = [
        Reading(plan, plan, "", 0, float(candidate.log_probability or 0))
        for plan, candidate in zip(plans, written, strict=True)
    ]
    critic = ObjectiveCritic(spec, 50)
    told = hardly_meant(critic, written, plans, readings)
    assert list(told) == [1] and told[1].success == told[1].futures == 0 and "not imagined" in told[1].reasons
    assert not hardly_meant(critic, written, plans, []), "nobody knows"
    assert not hardly_meant(object(), written, plans, readings)
    assert not hardly_meant(critic, written[1:], plans[1:], readings[1:]), "the best there is"
    assert list(hardly_meant(critic, written[1:], plans[1:], readings[:1])) == [0], "a revision that changes the goal"
    mine = [candidate.model_copy(update={"log_probability": None}) for candidate in written]
    assert not hardly_meant(critic, mine, plans, readings), "what a person wrote is imagined"


def test_a_step_that_nobody_knows_is_practised_before_it_is_rehearsed_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with exact.agent_in(tmp_path, lambda prompt: [WARM]) as agent:
        monkeypatch.setattr(type(agent.trained.actor), "prepare", lambda self, plans: iter(WARM.splitlines()[:1]))
        heard, _ = run(agent, GOAL)
    kinds = [event.kind for event in heard]
    assert kinds.index("proposed") < kinds.index("practising") < kinds.index("rehearsed")
    told = StringIO()
    tell = Story(agent.world.spec, Console(file=told, width=120))
    for event in heard:
        tell(event)
    assert "Practises reach(room, 20 ± 0.5, within 10)" in told.getvalue()


def test_predictions_are_calibrated_on_what_came_of_them_where_there_are_enough() -> None:
    assert calibrated([{"carried_out": 1.0, "futures": 10, "happened": False}] * (FEWEST - 1)).pairs == 0
    boastful = [{"carried_out": 1.0, "futures": 10, "happened": i % 2 == 0} for i in range(40)]
    fitted = calibrated(boastful)
    assert fitted.pairs == 40 and 0.45 < fitted(1.0, 10) < 0.65 and fitted(0.2, 10) < fitted(0.9, 10)
    assert calibrated([]).slope == 1 and calibrated([])(0.5, 10) == pytest.approx(0.5)


def test_what_is_imagined_in_part_is_said(tmp_path: Path) -> None:
    world = exact.house()
    critic, actor = ObjectiveCritic(world.spec, 5), exact.trained(world).actor
    plan = world.spec.parse_plan("keep(room, 0..40, for 300)")
    belief = actor.model.observe(None, None, exact.torch.tensor([[12.0, 5.0]]), None)  # type: ignore[attr-defined]
    rehearsal = actor.rehearse(belief, [plan], [0], samples=3, horizon=5, standstill=1, seed=0)
    [said] = critic.judge("", rehearsal)
    assert said.carried_out == 1 and rehearsal.actions.shape == (1, 3, 5)
    assert "of keep(room, 0..40, for 300) only the first 5 actions were imagined" in said.reasons
    far = world.spec.parse_plan("reach(room, 90 ± 1, within 80)")
    [said] = critic.judge("", actor.rehearse(belief, [far], [0], samples=3, horizon=5, standstill=1, seed=0))
    assert said.carried_out == 0 and "within 80) only the first 5 actions were imagined" in said.reasons


class TestWhatIf:
    def test_a_plan_under_another_input_is_compared_with_the_same_futures(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with exact.agent_in(tmp_path, {"Words: it is 80 % colder": ["outside down 80 %\n"]}) as agent:
            session = agent.session(3)
            now = whatif.inputs_now(session)
            assert now == {"outside": 5.0}
            plan = agent.world.spec.parse_plan("reach(room, 25 ± 1, within 20)\nkeep(room, 23..27, for 2)")
            supposed = whatif.read(agent.world.spec, "outside = -30", now)
            assert supposed and supposed[0].beyond
            told: list[str] = []
            monkeypatch.setattr(type(agent.trained.actor), "prepare", lambda self, plans: map(str, plans[0].steps))
            compared = whatif.compare(agent, session, plan, supposed, practising=told.append)
            assert told == [str(step) for step in plan.steps]
            assert compared.carried_out.now == 1 and compared.carried_out.then == 0
            assert compared.carried_out.low <= compared.carried_out.change == -1 < compared.carried_out.high < 0
            [room] = compared.ends
            assert room.unit == "°C" and room.low <= room.change <= room.high and room.change < -5
            said = "\n".join(whatif.told(compared))
            assert "outside 5 → -30 (beyond the range" in said and "fails in 4 of 4 futures" in said
            grounding = whatif.ground(agent.world.spec, agent.llm, "it is 80 % colder")
            [colder] = whatif.read(agent.world.spec, grounding.change, now) or []
            assert colder.then == pytest.approx(1.0) and not colder.beyond
            assert not session.actions
            session.close()

    @pytest.mark.parametrize(
        ("text", "then"),
        [("outside = 2", 2), ("outside * 0.8", 4), ("outside+3", 8), ("outside / 2", 2.5), ("outside=-2", -2)],
    )
    def test_exact_changes(self, text: str, then: float) -> None:
        [one] = whatif.read(exact.house().spec, text, {"outside": 5.0}) or []
        assert one.then == pytest.approx(then)

    def test_what_can_not_be_supposed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spec, now = exact.house().spec, {"outside": 5.0}
        assert whatif.read(spec, "it is colder", now) is None
        for text, says in (
            ("room = 3", "no exogenous variable 'room'; it has outside"),
            ("outside / 0", "by zero"),
            ("outside = 1, outside = 2", "outside can be supposed to be one thing only"),
        ):
            with pytest.raises(SpecError, match=says):
                whatif.read(spec, text, now)
        with monkeypatch.context() as no_grammar:
            no_grammar.setattr(whatif, "ground", lambda *_: whatif.Grounding("I would rather not", None))
            with pytest.raises(SpecError, match="taken as 'I would rather not'.*write it as `outside = 2`"):
                whatif.understand(spec, ScriptedModel([]), "colder", now)
        still = spec.model_copy(update={"exogenous": ()})
        with pytest.raises(SpecError, match="no exogenous variable"):
            whatif.ground(still, ScriptedModel([]), "colder")
