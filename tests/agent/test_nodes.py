"""Each node without LangGraph."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from doubles import LEVEL, QUICK, Stage, WordCritic, trained_for

from gedanken.agent import act as acting
from gedanken.agent import nodes
from gedanken.agent.config import LoopConfig
from gedanken.agent.events import Event
from gedanken.agent.llm.protocol import GrammarError, Training
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.mind import Mind, Stopped
from gedanken.agent.session import Session
from gedanken.agent.state import State, fresh
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worlds.spec import NONE


class Scene:
    """A level at seed 3 ("go to the red key"), the right plan and a wrong one."""

    def __init__(self, tmp_path: Path, *, free: bool = False) -> None:
        self.world = Stage(LEVEL)
        self.trained = trained_for(self.world)
        self.session = Session.begin(self.world, self.trained, 3, free=free)
        self.session.begin_goal("go to the red key")
        self.right, self.wrong = "go_to(red key)\n", "go_to(red box)\n"
        self.heard: list[Event] = []
        self.store = ExperienceStore(tmp_path / "e.sqlite")

    def mind(self, answers: Any = (), critic: Any = None, config: LoopConfig = QUICK, **more: Any) -> Mind:
        return Mind(
            world=self.world,
            llm=ScriptedModel(lambda prompt: list(answers)),
            trained=self.trained,
            critic=critic or WordCritic(),
            session=self.session,
            config=config,
            store=self.store,
            emit=self.heard.append,
            **more,
        )

    def kinds(self) -> list[str]:
        return [event.kind for event in self.heard]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.store.close()


def begin(**changes: Any) -> State:
    state = fresh("go to the red key", execute=True, began=time.time())
    state.update(changes)  # type: ignore[typeddict-item]
    return state


def judged(scene: Scene, mind: Mind) -> State:
    state = begin()
    for node in (nodes.perceive, nodes.propose):
        state.update(node(state, mind))
    _, changes = nodes.rehearse(state, mind)
    state.update(changes)
    return state


def chosen(scene: Scene, mind: Mind) -> State:
    state = judged(scene, mind)
    _, changes = nodes.choose(state, mind)
    state.update(changes)
    return state


def test_perceive_says_what_is_seen(scene: Scene) -> None:
    changes = nodes.perceive(begin(), scene.mind())
    assert "red key" in changes["scene"]
    assert scene.kinds() == ["perceived"]


def test_propose_merges_duplicates_and_counts(scene: Scene) -> None:
    changes = nodes.propose(begin(scene="x"), scene.mind([scene.right, scene.wrong, scene.right]))
    assert [c["plan"] for c in changes["candidates"]] == ["go_to(red key)", "go_to(red box)"]
    [event] = scene.heard
    assert event.kind == "proposed" and event.merged == 1 and event.unreadable == 0
    assert changes["round"] == 1 and changes["tokens"] == event.tokens


def test_rehearse_judges_and_accepts(scene: Scene) -> None:
    mind = scene.mind([scene.right, scene.wrong], WordCritic({"red box": 0.1}))
    state = begin(**nodes.propose(begin(scene="x"), mind))
    goto, changes = nodes.rehearse(state, mind)
    assert goto == "choose"
    assert [round(option["verdict"]["success"], 1) for option in changes["judged"]] == [0.9, 0.1]
    assert scene.kinds() == ["proposed", "imagining", "rehearsed", "judged"]


def test_rehearse_wants_revision_while_rounds_are_left(scene: Scene) -> None:
    mind = scene.mind([scene.wrong], WordCritic(other=0.3))
    state = begin(**nodes.propose(begin(scene="x"), mind))
    assert nodes.rehearse(state, mind)[0] == "revise"
    state["revisions"] = QUICK.rounds
    assert nodes.rehearse(state, mind)[0] == "choose"


def test_revise_counts(scene: Scene) -> None:
    mind = scene.mind([scene.wrong], WordCritic(other=0.3))
    assert nodes.revise(judged(scene, mind), mind)["revisions"] == 1
    assert scene.kinds()[-1] == "revising"


def test_choose_takes_the_likeliest(scene: Scene) -> None:
    mind = scene.mind([scene.wrong, scene.right], WordCritic({"red box": 0.5}))
    goto, changes = nodes.choose(judged(scene, mind), mind)
    assert goto == "approve"
    assert changes["chosen"]["verdict"]["plan"]["steps"][0]["arguments"][0][1] == "key"


def test_choose_prefers_the_shorter_of_equals(scene: Scene) -> None:
    mind = scene.mind(["go_to(red box)\ngo_to(red key)\n", scene.right])
    state = chosen(scene, mind)
    assert len(state["chosen"]["verdict"]["plan"]["steps"]) == 1  # type: ignore[index]


class Deaf(WordCritic):
    """Holds no plan for what is meant, but for those of one step that say `but`."""

    def __init__(self, but: str = "nothing") -> None:
        super().__init__(other=0.01, satisfies=0.01)
        self.but = but

    def satisfies(self, goal: str, plans: Any) -> list[float]:
        return [0.9 if self.but in str(plan) else 0.01 for plan in plans]


@pytest.mark.parametrize(
    ("goal", "free", "but", "goes_on"),
    [
        ("make me a coffee", True, "nothing", "choose"),
        ("make me a coffee", True, "grey box", "revise"),  # there is a step that is meant
        ("go to the red key", True, "nothing", "revise"),  # it speaks of what may be here
        ("make me a coffee", False, "nothing", "revise"),  # the environment's own mission
    ],
)
def test_what_is_beyond_this_world_is_not_revised(
    tmp_path: Path, goal: str, free: bool, but: str, goes_on: str
) -> None:
    scene = Scene(tmp_path, free=free)
    mind = scene.mind([scene.wrong], Deaf(but))
    state = begin(goal=goal)
    state.update(nodes.propose(state, mind))
    assert nodes.rehearse(state, mind)[0] == goes_on


@pytest.mark.parametrize(
    ("answers", "critic", "free", "why"),
    [
        ([], None, False, "no plan that would meet"),
        (["go_to(red key)\n"], WordCritic(satisfies=0.05), False, "what you mean"),
        (["go_to(red key)\n"], WordCritic(other=0.01), False, "hardly ever works out"),
        (["go_to(purple ball)\n"], None, True, "no purple ball"),
    ],
)
def test_choose_declines_and_nothing_is_done(
    tmp_path: Path, answers: list[str], critic: Any, free: bool, why: str
) -> None:
    scene = Scene(tmp_path, free=free)
    mind = scene.mind(answers, critic)
    goto, changes = nodes.choose(judged(scene, mind), mind)
    assert goto == "finish" and changes["outcome"]["status"] == "declined"
    [declined] = [event for event in scene.heard if event.kind == "declined"]
    assert why in declined.why and len(declined.can) == len(scene.world.spec.skills)
    assert scene.session.spent == 0


class Planner(ScriptedModel):
    """Was trained to plan, and to say that no plan will do."""

    training = Training("plan", declines=True)


@pytest.mark.parametrize(("free", "declines"), [(True, True), (False, False)])
def test_a_person_is_told_that_no_plan_will_do_and_a_mission_can_always_be_met(
    tmp_path: Path, free: bool, declines: bool
) -> None:
    scene = Scene(tmp_path, free=free)
    mind = scene.mind()
    asked: list[str] = []
    mind.llm = Planner(lambda prompt: asked.append(prompt) or [f"{NONE}\n"])  # type: ignore[func-returns-value]
    if not declines:
        with pytest.raises(GrammarError, match="leaves the grammar"):
            judged(scene, mind)
        return
    goto, changes = nodes.choose(judged(scene, mind), mind)
    assert goto == "finish" and changes["outcome"]["status"] == "declined" and len(asked) == 1
    [proposed] = [event for event in scene.heard if event.kind == "proposed"]
    assert proposed.declined and not proposed.candidates
    assert "rehearsed" not in scene.kinds() and "no plan that would meet" in changes["outcome"]["message"]


class Stubborn(Planner):
    """Believes in what it writes as little as it is told to."""

    def __init__(self, plan: str, belief: float) -> None:
        super().__init__(lambda prompt: [plan])
        self.belief = belief

    def complete(self, *arguments: Any, **settings: Any) -> Any:
        return [
            [replace(c, log_probability=self.belief) for c in one] for one in super().complete(*arguments, **settings)
        ]


@pytest.mark.parametrize(("belief", "holds"), [(-3.0, True), (-1.0, False)])
def test_a_revision_that_is_hardly_believed_in_is_not_rehearsed(scene: Scene, belief: float, holds: bool) -> None:
    mind = scene.mind([scene.wrong], WordCritic(other=0.3))
    mind.llm = Stubborn(scene.wrong, -3.0)
    state = judged(scene, mind)
    assert len(state["judged"]) == 1, "of a first round nothing is left out"
    mind.llm = Stubborn(scene.right, belief)
    state.update(nodes.propose(state, mind))
    assert [event.holds for event in scene.heard if event.kind == "proposed"] == [False, holds]
    assert bool(state["candidates"]) != holds
    assert nodes.rehearse(state, mind)[0] == ("choose" if holds else "revise")


def test_what_reality_refuted_is_no_reason_to_say_that_no_plan_will_do(tmp_path: Path) -> None:
    scene = Scene(tmp_path, free=True)
    mind = scene.mind()
    mind.llm = Planner(lambda prompt: [f"{NONE}\n"])
    tried = [{"plan": "go_to(red box)", "reasons": "it was in the way", "final": False}]
    with pytest.raises(GrammarError):
        nodes.propose(begin(scene="x", attempts=tried), mind)


@pytest.mark.parametrize(("times", "plans"), [(1, ["go_to(red box)", "go_to(red key)"]), (2, ["go_to(red key)"])])
def test_a_plan_that_was_given_up_twice_is_not_tried_again(scene: Scene, times: int, plans: list[str]) -> None:
    tried = [{"plan": "go_to(red box)", "reasons": "nothing changed any more", "final": False}]
    changes = nodes.propose(begin(scene="x", attempts=times * tried), scene.mind([scene.wrong, scene.right]))
    assert [candidate["plan"] for candidate in changes["candidates"]] == plans


def test_choose_stops_when_only_imagining(scene: Scene) -> None:
    mind = scene.mind([scene.right])
    state = judged(scene, mind)
    state["execute"] = False
    goto, changes = nodes.choose(state, mind)
    assert goto == "finish" and changes["outcome"]["status"] == "imagined"


@pytest.mark.parametrize("answer", [True, False])
def test_approve_asks(scene: Scene, answer: bool) -> None:
    mind = scene.mind([scene.right], approve=lambda asked: answer)
    goto, changes = nodes.approve(chosen(scene, mind), mind)
    assert goto == ("act" if answer else "finish")
    assert answer or changes["outcome"]["status"] == "not_approved"
    assert scene.kinds()[-2:] == ["approval_asked", "approval_answered"]


def test_act_reaches_the_goal(scene: Scene) -> None:
    mind = scene.mind([scene.right])
    goto, changes = nodes.act(chosen(scene, mind), mind)
    assert goto == "finish" and changes["outcome"]["status"] == "reached"
    assert changes["outcome"]["reward"] > 0 and changes["outcome"]["steps"] == scene.session.spent > 0


def test_act_replans_when_the_wrong_plan_was_carried_out(scene: Scene) -> None:
    mind = scene.mind([scene.wrong])
    goto, changes = nodes.act(chosen(scene, mind), mind)
    assert goto == "perceive" and changes["replans"] == 1
    assert changes["attempts"] == [
        {"plan": "go_to(red box)", "reasons": "the plan was carried out, but the goal was not met", "final": True}
    ]


def test_act_replans_when_a_step_runs_out_of_patience(scene: Scene) -> None:
    mind = scene.mind([scene.right], config=QUICK.model_copy(update={"patience": 2}))
    goto, changes = nodes.act(chosen(scene, mind), mind)
    assert goto == "perceive" and "not achieved in 2 actions" in changes["attempts"][0]["reasons"]


def test_act_replans_when_nothing_changes_any_more(scene: Scene) -> None:
    mind = scene.mind([scene.right])
    state = chosen(scene, mind)
    nothing = torch.tensor([[0.0, 0, 0, 0, 1, 0]]).log()  # to drop what is not in hand
    scene.trained.controller.act = lambda belief, step: nothing  # type: ignore[method-assign]
    goto, changes = nodes.act(state, mind)
    assert goto == "perceive" and "nothing changed any more" in changes["attempts"][0]["reasons"]
    assert scene.session.spent == QUICK.standstill


def test_act_replans_when_surprised(scene: Scene) -> None:
    scene.trained.model.surprises = [0.0, 500.0]  # type: ignore[attr-defined]
    mind = scene.mind([scene.right])
    goto, changes = nodes.act(chosen(scene, mind), mind)
    assert goto == "perceive" and "surprised" in changes["attempts"][0]["reasons"] and scene.session.spent == 2


def test_act_gives_up_after_its_replans(scene: Scene) -> None:
    mind = scene.mind([scene.wrong])
    state = chosen(scene, mind)
    state["replans"] = QUICK.replans
    goto, changes = nodes.act(state, mind)
    assert goto == "finish" and changes["outcome"]["status"] == "not_reached"


def test_act_heeds_a_stop(scene: Scene) -> None:
    mind = scene.mind([scene.right])
    state = chosen(scene, mind)
    mind.stop.set()
    with pytest.raises(Stopped):
        nodes.act(state, mind)


def test_finish_stores_what_happened_with_what_was_believed(scene: Scene) -> None:
    mind = scene.mind([scene.right])
    state = chosen(scene, mind)
    state.update(nodes.act(state, mind)[1])
    changes = nodes.finish(state, mind)
    [(id, episode)] = scene.store.recent(5)
    assert changes["outcome"]["episode"] == id
    assert episode.source == "agent" and episode.goal == "go to the red key" and len(episode) == scene.session.spent
    assert episode.steps == ("go_to(red key)",) and episode.achieved[-1] and episode.terminated
    assert episode.record["verdict"]["success"] == 0.9 and episode.record["outcome"]["success"] is True
    assert scene.kinds()[-2:] == ["outcome", "stored"]


def test_choose_does_not_take_to_something_else_on_the_way(scene: Scene) -> None:
    mind = scene.mind([scene.right], critic=WordCritic(satisfies=0.1))
    state = judged(scene, mind)
    state["replans"] = 1
    goto, changes = nodes.choose(state, mind)
    assert goto == "finish" and changes["outcome"]["status"] == "not_reached"
    assert "likely to be what you mean" in changes["outcome"]["message"]


def test_a_step_ends_where_something_is_seen_that_the_plan_does_not_provide_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(scene.world), "barred", lambda *_: "locked red door", raising=False)
    mind, plan = scene.mind(), scene.world.spec.parse_plan("go_to(red key)")
    known = acting.carry_out(mind, plan, scene="You see a locked red door ahead. You carry nothing.")
    assert known.ending != "barred"
    carried = acting.carry_out(mind, plan, scene="You see no objects. You carry nothing.")
    assert carried.ending == "barred" and "locked red door is in the way" in carried.why
    assert [event.result for event in scene.heard if event.kind == "step_ended"][-1] == "barred"
