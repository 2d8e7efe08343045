"""Practice in imagination, in models that are always right: what is learned is what was asked for."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import numbers_world as numbers
from numbers_world import State

from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import TrainedDynamics
from gedanken.worldmodel.ensemble import SIZES, EnsembleModel
from gedanken.worldmodel.fit import fit
from gedanken.worldmodel.objective_actor import ObjectiveActor
from gedanken.worldmodel.policy import Policy, PolicyConfig
from gedanken.worldmodel.policy_practice import Practice
from gedanken.worldmodel.practised import Policies, Repertoire
from gedanken.worldmodel.protocol import Readout
from gedanken.worldmodel.tasks import Task, practised_for, tasks_of
from gedanken.worlds.objectives import Reach
from gedanken.worlds.spec import WorldSpec

BRIEF = PolicyConfig(hidden=32, rows=90, rate=5e-3, life=30, epochs=3)
ROUNDS = 50
CARTS = pytest.mark.parametrize("spec", [numbers.DISCRETE, numbers.CONTROLS], ids=["discrete", "controls"])


class Truth:
    """The cart's own laws; it ends beyond `edge`, and nobody knows what happens where x is positive."""

    def __init__(self, spec: WorldSpec, edge: float = 2.0) -> None:
        self.spec, self.edge = spec, edge

    def at(self, x: Tensor, v: Tensor) -> State:
        values = torch.stack([x, v, (x > 0).float(), torch.zeros_like(x)], 1)
        return State(values, v, (x.abs() <= self.edge).float())

    def initial(self, batch: int) -> State:
        return self.at(torch.zeros(batch), torch.zeros(batch))

    def moments(self) -> State:
        return self.at(torch.linspace(-1, 1, 101), torch.linspace(-0.3, 0.3, 101).flip(0))

    def features(self, belief: State) -> Tensor:
        return belief.values[:, :2] * torch.tensor([1.0, 3.0])

    def suppose(self, belief: State, steps: Tensor) -> State:
        return belief

    def imagine(self, belief: State, action: Tensor) -> State:
        push = action[:, 0] if self.spec.controls else action.float() - 1
        v = 0.95 * belief.values[:, 1] + 0.1 * push
        return self.at(belief.values[:, 0] + 0.2 * v, v)

    def readout(self, belief: State) -> Readout:
        return Readout(belief.values, belief.reward, belief.continues)

    def disagreement(self, belief: State, action: Tensor) -> Tensor:
        return (belief.values[:, 0] > 0.5).float()


def practised(spec: WorldSpec, plan: str, rounds: int = ROUNDS, **more: Any) -> Practice:
    model: Any = Truth(spec)
    practice = Practice(model, tasks_of(spec, spec.parse_plan(plan))[-1], BRIEF, seed=0, **more)
    practice.practise(rounds, settling=True)
    return practice


def path(practice: Practice, start: tuple[float, float], actions: int) -> list[tuple[float, float]]:
    """Do what is likeliest; return where the cart was."""
    model: Any = practice.model
    now, seen = model.at(*(torch.tensor([n]) for n in start)), []
    with torch.no_grad():
        for _ in range(actions):
            now = model.imagine(now, practice.policy.likeliest(model.features(now)))
            seen.append((float(now.values[0, 0]), float(now.values[0, 1])))
    return seen


@CARTS
class TestWhatIsPractisedIsWhatWasAsked:
    def test_a_target_is_reached_from_either_side(self, spec: WorldSpec) -> None:
        practice = practised(spec, "reach(x, 0.5 ± 0.05, within 40)")
        for start in (-0.5, 1.2):
            assert any(abs(x - 0.5) <= 0.05 for x, _ in path(practice, (start, 0.0), 40))

    def test_a_range_is_kept(self, spec: WorldSpec) -> None:
        practice = practised(spec, "keep(x, -0.3..0.3, for 40)")
        assert all(abs(x) <= 0.3 for x, _ in path(practice, (0.0, 0.3), 60))

    def test_the_worlds_reward_is_earned_and_its_end_shunned(self, spec: WorldSpec) -> None:
        earned = path(practised(spec, "maximize(reward, for 99)"), (-1.0, 0.0), 15)
        assert earned[-1][1] > 0.3  # the reward is the speed
        slow = path(practised(spec, "minimize(abs(x - 5), for 99)", 2 * ROUNDS), (0.0, 0.0), 60)
        assert all(abs(x) <= 2.0 for x, _ in slow) and slow[-1][0] > 1.0

    def test_what_is_to_be_avoided_is(self, spec: WorldSpec) -> None:
        plan = "avoid(v > 0.3)\nreach(x, 0.9 ± 0.05, within 60)"
        seen = path(practised(spec, plan), (-0.9, 0.0), 60)
        assert any(abs(x - 0.9) <= 0.05 for x, _ in seen)
        there = next(i for i, (x, _) in enumerate(seen) if abs(x - 0.9) <= 0.05)
        assert max(v for _, v in seen[: there + 1]) <= 0.3

    def test_curiosity_goes_where_nobody_knows(self, spec: WorldSpec) -> None:
        practice = practised(spec, "minimize(x, for 99)", curiosity=1.0)
        assert path(practice, (0.0, 0.0), 25)[-1][0] > 0.5
        assert path(practised(spec, "minimize(x, for 99)"), (0.0, 0.0), 25)[-1][0] < -0.5


def test_settling_loses_no_policy_and_practising_on_may() -> None:
    def wild() -> Practice:
        practice = practised(numbers.CONTROLS, "maximize(v, for 9)", rounds=0)
        practice.practise(ROUNDS)
        for group in practice.optimizer.param_groups:
            group["eps"] = 1e-12
        practice.config = practice.config.model_copy(update={"rate": 1.0, "epochs": 1})
        return practice

    lost, kept = wild(), wild()
    before = kept.worth()
    assert before > practised(numbers.CONTROLS, "maximize(v, for 9)", rounds=0).worth()
    lost.practise(3)
    kept.practise(3, settling=True)
    assert lost.worth() < before - 0.1 * abs(before)
    assert kept.worth() == before


@pytest.mark.parametrize(("worths", "practised"), [([0, 1, 1.5, 1.51], 4), ([0, 0], 2), ([1, 2, 3, 4, 5, 6], 5)])
def test_practice_goes_on_as_long_as_it_helps_and_then_settles(
    worths: list[float], practised: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, coming = [], iter(worths)
    monkeypatch.setattr(Practice, "worth", lambda self: next(coming))
    monkeypatch.setattr(Practice, "practise", lambda self, rounds, *, settling=False: done.append(settling))
    [task] = practised_for(numbers.DISCRETE, numbers.DISCRETE.parse_plan("reach(x, 0.5 ± 0.1, within 30)"))
    practice = Practice(Truth(numbers.DISCRETE), task, BRIEF, seed=0)
    practice.practise_well(3)
    assert done == [False] * (practised - 1) + [True]
    assert isinstance(practice.objective, Reach) and practice.objective.tolerance == pytest.approx(0.08)
    assert practice.task is task, "what was asked for is kept as it was"


def test_what_is_done_while_avoiding_is_done_for_the_next_step() -> None:
    spec = numbers.CONTROLS
    plan = spec.parse_plan("avoid(v > 5)\nreach(x, 1 ± 0.1, within 9)\navoid(x > 2)\nkeep(x, 0..2, for 9)")
    tasks = tasks_of(spec, plan)
    reach, keep = (tasks[at].practised for at in (1, 3))
    assert [task.practised for task in tasks] == [reach, reach, keep, keep]
    assert reach.standing == tasks[1].standing and keep.standing == tasks[3].standing
    assert practised_for(spec, plan) == [reach, keep]
    longer = spec.parse_plan("avoid(v > 5)\nreach(x, 1 ± 0.1, within 500)")
    assert practised_for(spec, longer) == [reach], "policies know no clock"
    only = spec.parse_plan("avoid(v > 5)")
    assert practised_for(spec, only) == tasks_of(spec, only), "nothing else is asked for"


def test_the_same_seed_makes_the_same_policy_whatever_else_is_drawn() -> None:
    weights = []
    for before in (1, 2):
        torch.manual_seed(before)
        weights.append(practised(numbers.CONTROLS, "maximize(v, for 9)").policy.state_dict())
        assert torch.initial_seed() == before
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_task_is_practised_once_and_rows_are_asked_by_their_tasks() -> None:
    spec = numbers.DISCRETE
    model: Any = Truth(spec)
    repertoire = Repertoire(model, BRIEF.model_copy(update={"rounds": ROUNDS}))
    finder, generator = Policies(model, repertoire), torch.Generator().manual_seed(0)
    right, left = (tasks_of(spec, spec.parse_plan(text))[0] for text in ("maximize(v, for 9)", "minimize(v, for 9)"))
    later = Task(right.objective, spent=5)
    now = model.initial(1).repeat(4)
    found = finder(now, [right, left, later, left], None, generator)
    assert found.action.tolist() == [2, 0, 2, 0] and len(repertoire.policies) == 2
    actor, plan = (
        ObjectiveActor(model, finder, finder),
        spec.parse_plan("avoid(x > 5)\nmaximize(v, for 9)\nminimize(x, for 9)"),
    )
    before = len(repertoire.policies)
    told = [(text, len(repertoire.policies)) for text in actor.prepare([plan, plan])]
    assert told == [("maximize(v, for 9)", before), ("minimize(x, for 9)", before + 1)], "told before it is practised"
    assert not list(actor.prepare([plan]))
    policies = dict(repertoire.policies)
    finder(now, [later] * 4, found.memory, generator)
    assert all(repertoire.policies[task] is policy for task, policy in policies.items())
    drawn = Policies(model, lambda _: Policy(spec, 2, BRIEF), drawn=True)
    assert len(set(drawn(now.repeat(30), [right] * 120, None, generator).action.tolist())) == 3


def test_what_a_first_policy_does_already_is_not_practised() -> None:
    spec = numbers.CONTROLS
    model: Any = Truth(spec)
    [still] = practised_for(spec, spec.parse_plan("keep(x, -1.9..1.9, for 9)"))
    kept = practised(spec, "keep(x, -0.3..0.3, for 40)").policy
    repertoire = Repertoire(model, BRIEF.model_copy(update={"rounds": 1}), known={still: kept})
    within, beyond, there = (
        practised_for(spec, spec.parse_plan(text))[0]
        for text in ("keep(x, -1.5..1.5, for 9)", "keep(x, 0.6..1.5, for 9)", "reach(x, 0 ± 1, within 9)")
    )
    assert repertoire(within) is kept
    assert repertoire(beyond) is not kept and repertoire(there) is not kept


def test_what_acting_can_not_bring_about_is_not_practised() -> None:
    spec = numbers.CONTROLS
    bounded = tuple(variable.model_copy(update={"low": -2.0, "high": 2.0}) for variable in spec.vector.variables)
    model: Any = Truth(spec.model_copy(update={"observation": spec.vector.model_copy(update={"variables": bounded})}))
    repertoire = Repertoire(model, BRIEF.model_copy(update={"rounds": 1}))
    for text, practises in (("reach(x, 3 ± 0.5, within 9)", False), ("reach(x, 1.5 ± 0.5, within 9)", True)):
        [task] = practised_for(model.spec, model.spec.parse_plan(text))
        begun, now = Practice(model, task, repertoire.config, seed=0).policy, repertoire(task)
        same = [torch.equal(a, b) for a, b in zip(begun.parameters(), now.parameters(), strict=True)]
        assert all(same) is not practises, text


@CARTS
def test_policies_are_kept_with_the_model_that_they_were_practised_in(spec: WorldSpec, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: Any = EnsembleModel(spec, SIZES["debug"])
    fit(model, numbers.episodes(spec, 20), steps=5, seed=0)
    config = PolicyConfig(hidden=8, rows=30, rounds=2)
    text = "avoid(v > 5);maximize(reward, for 9)"
    tasks = practised_for(spec, spec.parse_plan(text.replace(";", "\n")))
    policies = tuple(Practice(model, task, config, seed=1).policy for task in tasks)
    card = {"plan": text, "policy": config.model_dump(mode="json")}
    folder = checkpoint.save(TrainedDynamics(model, "cart", None, card, policies), tmp_path / "cart")
    loaded = checkpoint.load_dynamics(folder, spec)
    finder: Any = loaded.objective_actor.acting
    assert list(finder.policy.policies) == tasks, "what was practised is not practised again"
    moments: Any = model.moments()
    torch.testing.assert_close(moments.values, loaded.model.moments().values)  # type: ignore[attr-defined]
    for mine, theirs in zip(policies, loaded.policies, strict=True):
        seen = model.features(moments)
        torch.testing.assert_close(mine.likeliest(seen), theirs.likeliest(seen))
    bare = TrainedDynamics(model, "cart", None, {"search": {"horizon": 3}})
    assert type(bare.objective_actor.acting).__name__ == "Search"


def test_the_moments_that_a_model_remembers_went_on_and_many_are_beginnings() -> None:
    model: Any = EnsembleModel(numbers.DISCRETE, SIZES["debug"])
    lived = numbers.episodes(numbers.DISCRETE, 30)
    fit(model, lived, steps=1, seed=0)
    moments = model.moments()
    begins = {tuple(episode.observations[0].tolist()) for episode in lived}
    share = np.mean([tuple(row) in begins for row in moments.values.tolist()])
    assert 0.2 < share < 0.5 and (moments.values[:, 0].abs() <= 1.2).all() and len(moments.values) == 64


def test_a_reward_that_never_differed_is_foretold_to_the_last_digit() -> None:
    model: Any = EnsembleModel(numbers.DISCRETE, SIZES["debug"])
    lived = numbers.episodes(numbers.DISCRETE, 10)
    for episode in lived:
        episode.rewards[:] = 1.0
    fit(model, lived, steps=2, seed=0)
    belief = model.imagine(model.moments(), torch.zeros(64).long())
    assert (model.readout(belief).reward == 1.0).all()
