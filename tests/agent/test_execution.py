"""Carrying many plans out is the same as one by one; rewards decide; what was done before can be taken up again."""

import numpy as np
import pytest
import torch

from gedanken.agent.execution import Executed, Job, execute, execute_many
from gedanken.agent.session import Session
from gedanken.agent.situations import situations
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.spatial import SIZES, SpatialModel
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.babyai_env import BabyAIEnv
from gedanken.worlds.spec import Plan, Step

LEVELS = [f"BabyAI-{name}-v0" for name in ("GoToLocal", "PutNextLocal", "UnlockLocalDist", "PickupLoc")]


@pytest.fixture(scope="module")
def controller() -> Controller:
    torch.manual_seed(0)
    return Controller(SpatialModel(SPEC, SIZES["debug"]))


def test_lockstep_is_the_same_as_one_at_a_time(controller: Controller) -> None:
    found = list(situations(BabyAIWorld, LEVELS, range(8), size=3))
    jobs = [Job(s.world, s.seed, p) for s in found for p in s.plans]
    heard: list[int] = []
    many = execute_many(
        BabyAIWorld, jobs, controller, seed=3, batch=5, patience=10, on_done=lambda i, _: heard.append(i)
    )
    assert sorted(heard) == list(range(len(jobs)))
    assert many == execute_many(BabyAIWorld, jobs, controller, seed=3, batch=64, patience=10)
    assert all(done.steps <= 10 * len(job.plan.steps) for job, done in zip(jobs, many, strict=True))
    assert many != execute_many(BabyAIWorld, jobs, controller, seed=4, batch=64, patience=10)


@pytest.fixture(autouse=True)
def _no_foresight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it is laid down what is done; whoever comes back to where it was does not look ahead."""
    monkeypatch.setattr("gedanken.worldmodel.foresight.foresee", lambda *_: {})


class Told:
    """A controller that presses what it is told to, in turn."""

    def __init__(self, controller: Controller, actions: list[int]) -> None:
        self.model, self.parameters, self.actions = controller.model, controller.parameters, list(actions)

    def act(self, belief: object, step: torch.Tensor) -> torch.Tensor:
        chances = torch.full((len(step), len(SPEC.actions)), -torch.inf)
        chances[:, self.actions.pop(0)] = 0.0
        return chances


def demonstrated(world: BabyAIWorld, env: BabyAIEnv, seed: int) -> tuple[tuple[Step, ...], list[int], list[int]]:
    """Return the mission's steps, the demonstrator's actions, and after how many of them each step was achieved."""
    env.reset(seed=seed)
    steps, actions, ends = world.mission_steps(env), list[int](), list[int]()
    for step in steps:
        (watch,), expert, action = world.watch(env, [step]), world.expert(env, step), None
        while True:
            action = expert.advise(action)
            assert action is not None
            env.step(action)
            actions.append(action)
            if watch.achieved(action):
                ends.append(len(actions))
                break
    return steps, actions, ends


def test_reached_counts_actions_and_the_reward_decides(controller: Controller) -> None:
    world = BabyAIWorld("BabyAI-UnlockLocalDist-v0")
    env = world.make()
    steps, actions, achieved_at = demonstrated(world, env, 5)
    right = Plan(steps=steps)
    rng = np.random.default_rng(0)
    done = execute(world, env, Told(controller, actions), right, 5, rng)  # type: ignore[arg-type]
    assert (done.success, done.steps, list(done.reached)) == (True, len(actions), achieved_at)
    key_only = Plan(steps=right.steps[:1])
    done = execute(world, env, Told(controller, actions), key_only, 5, rng)  # type: ignore[arg-type]
    assert (done.success, done.achieved) == (False, [True]), "its steps are done, the goal is not"
    door_only = Plan(steps=right.steps[1:])
    done = execute(world, env, Told(controller, [0] * 9), door_only, 5, rng, patience=9)  # type: ignore[arg-type]
    assert (done.success, done.steps, done.achieved) == (False, 9, [False])


def once(controller: Controller, job: Job, **more: bool) -> Executed:
    [done] = execute_many(BabyAIWorld, [job], controller, patience=7, **more)  # type: ignore[arg-type]
    return done


def test_a_new_plan_goes_on_from_where_the_last_one_failed(controller: Controller) -> None:
    level, seed, first, second = LEVELS[2], 5, SPEC.parse_plan("open(door)"), SPEC.parse_plan("go_to(key)")
    failed = once(controller, Job(level, seed, first), look=True)
    assert (failed.over, failed.steps, failed.reached) == (False, len(failed.actions), (-1,)) and failed.seconds > 0
    session = Session.begin(BabyAIWorld(level), Trained(controller.model, controller, "debug"), seed, free=False)
    for action in failed.actions:
        session.take(action, "", lambda _: False)
    assert failed.scene == session.world.describe(*session.known()), "what a session would know"
    session.close()
    went_on = once(controller, Job(level, seed, second, failed.actions))
    assert went_on.actions[: failed.steps] == failed.actions and failed.steps < went_on.steps <= failed.steps + 7
    assert went_on.actions != once(controller, Job(level, seed, second)).actions and went_on.scene is None


def test_what_was_done_before_is_repeated_and_the_new_plan_reaches_the_goal(controller: Controller) -> None:
    world = BabyAIWorld(LEVELS[2])
    env = world.make()
    right, actions, ends = demonstrated(world, env, 5)
    told = Told(controller, [*[0] * ends[0], *actions[ends[0] :]])  # not heard while actions are repeated
    job = Job(LEVELS[2], 5, Plan(steps=right[1:]), tuple(actions[: ends[0]]))
    [done] = execute_many(BabyAIWorld, [job], told)  # type: ignore[arg-type]
    assert (done.success, done.over, done.actions, done.reached) == (True, True, tuple(actions), (ends[1],))


def test_a_plan_is_given_up_where_a_locked_door_shows_that_it_does_not_provide_for(controller: Controller) -> None:
    plan, level = Plan(steps=(SPEC.parse_step("open(door)"),)), "BabyAI-UnlockLocalDist-v0"
    jobs = [Job(level, seed, plan, scene="You see no objects.") for seed in range(12)]
    done = execute_many(BabyAIWorld, jobs, controller, patience=20, look=True)
    barred = [one for one in done if one.why]
    assert len(barred) >= 3
    for one in barred:
        assert one.why and one.scene and not one.success and one.steps <= 20
        door = one.why.partition(": a ")[2].partition(" is in the way")[0]
        assert door.startswith("locked ") and door in one.scene
    known = [Job(level, job.seed, plan, scene=one.scene) for job, one in zip(jobs, done, strict=True) if one.why]
    assert not any(one.why for one in execute_many(BabyAIWorld, known, controller, patience=20))
    unplanned = [Job(level, job.seed, plan) for job in jobs]
    assert not any(one.why for one in execute_many(BabyAIWorld, unplanned, controller, patience=20))
