"""The search in the real environment foretells what the environment then does, and says so of no other world."""

import numpy as np
import pytest
import torch

from gedanken.evals.control import CEILING, ControlSuite
from gedanken.evals.control_learning import REWARD, world_of
from gedanken.evals.simulator import STATES, Simulator, SimulatorSearch
from gedanken.evals.suite import Options
from gedanken.worldmodel.search import SearchConfig
from gedanken.worlds.gym_world import random_action


@pytest.mark.parametrize("name", STATES)
def test_what_is_foretold_is_what_happens(name: str) -> None:
    world = world_of(name)
    env, model, rng = world.make(), Simulator(world), np.random.default_rng(0)
    seen = env.reset(seed=5)[0]
    belief, over = model.seen(seen), False
    while not over and env.inner.get_wrapper_attr("_elapsed_steps") < 30:
        action = random_action(world.spec, rng)
        taken = torch.from_numpy(action)[None] if world.spec.controls else torch.tensor([action])
        belief = model.imagine(belief, taken)
        seen, reward, terminated, truncated, _ = env.step(action)
        assert np.allclose(belief.values[0], seen, atol=2e-3)
        assert float(belief.reward[0]) == pytest.approx(reward, abs=1e-2)
        assert bool(belief.continues[0]) is not terminated
        belief, over = model.seen(seen), terminated or truncated
    env.close()


def test_an_end_lasts_and_pays_nothing_more() -> None:
    model = Simulator(world_of("CartPole-v1"))
    fallen = model.imagine(model.seen(np.array([0, 0, 0.3, 0], np.float32)), torch.tensor([1]))
    assert (float(fallen.continues[0]), float(fallen.reward[0])) == (0.0, 1.0)
    later = model.imagine(fallen, torch.tensor([1]))
    assert torch.equal(later.values, fallen.values)
    assert (float(later.continues[0]), float(later.reward[0])) == (0.0, 0.0)


def test_who_searches_there_keeps_the_pole_up() -> None:
    world = world_of("CartPole-v1")
    plan = world.spec.parse_plan(REWARD)
    act = SimulatorSearch(world, plan, SearchConfig(horizon=12, candidates=12, rounds=2), 0)
    env = world.make()
    seen, steps = env.reset(seed=1)[0], 0
    while steps < 40:
        seen, _, terminated, _, _ = env.step(act(seen))
        steps += 1
        if terminated:
            break
    assert steps == 40, "by chance it falls after 20"


def test_it_plays_where_the_state_can_be_seen_and_it_is_named() -> None:
    suite = ControlSuite()
    assert CEILING in suite.arms and CEILING not in suite.default_arms
    assert all(suite.plays(task, CEILING) == (task in STATES) for task in (*suite.tasks, *suite.more_tasks))
    assert suite.weights(Options(3, 0, (CEILING,))) == []
