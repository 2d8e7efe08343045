import numpy as np
import torch

from gedanken.worldmodel.spatial import SIZES, SpatialModel
from gedanken.worldmodel.tried import Tried, states_of
from gedanken.worlds.babyai import SPEC, BabyAIWorld

LEFT, RIGHT = 0, 1


def test_what_was_done_in_a_state_is_done_there_less_and_nowhere_else() -> None:
    tried, said = Tried(3), np.array([0.9, 0.09, 0.01])
    assert np.allclose(tried.chances("here", said), said)
    for _ in range(3):
        tried.note("here", 0)
        tried.chances("there", said)
    chances = tried.chances("here", said)
    assert np.isclose(chances.sum(), 1) and chances.argmax() == 1
    assert np.allclose(tried.chances("there", said), said)


def test_standing_still_is_not_counted() -> None:
    tried, said = Tried(2), np.array([0.9, 0.1])
    for _ in range(5):
        assert np.allclose(tried.chances("before a lock", said), said)
        tried.note("before a lock", 0)


def test_two_states_that_lead_to_each_other_are_left() -> None:
    """A policy that is sure to turn to and fro does something else after a few rounds."""
    tried, rng = Tried(3), np.random.default_rng(0)
    policy = {"a": np.array([0.98, 0.01, 0.01]), "b": np.array([0.01, 0.98, 0.01])}
    state, rounds = "a", 0
    while rounds < 100:
        action = int(rng.choice(3, p=tried.chances(state, policy[state])))
        tried.note(state, action)
        if action == 2:
            break
        state, rounds = ("b" if state == "a" else "a"), rounds + 1
    assert rounds < 40


def test_turning_there_and_back_is_the_same_state_and_seeing_more_is_not() -> None:
    torch.manual_seed(0)
    world, model = BabyAIWorld("BabyAI-GoToObj-v0"), SpatialModel(SPEC, SIZES["debug"])
    raw, _ = world.make().reset(seed=1)
    first = torch.from_numpy(world.observation(raw))[None]
    begun = model.observe(model.initial(1), torch.tensor([0]), first, torch.tensor([True]))
    again = model.observe(model.initial(1), torch.tensor([LEFT]), first, torch.tensor([True]))
    [one], [other] = states_of(model, begun, 1), states_of(model, again, 1)
    assert one == other
    more = model.observe(model.initial(1), torch.tensor([0]), first.roll(1, 1), torch.tensor([True]))
    assert states_of(model, more, 1) != [one]


def test_where_a_family_can_not_tell_nothing_is_ever_the_same() -> None:
    torch.manual_seed(0)
    belief = SpatialModel(SPEC, SIZES["debug"]).initial(2)
    assert len({*states_of(object(), belief, 2), *states_of(object(), belief, 2)}) == 4
