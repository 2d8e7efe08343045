import numpy as np
import torch
from torch import Tensor

from gedanken.worldmodel.spatial import SIZES, SpatialModel
from gedanken.worldmodel.tried import Tried, states_of
from gedanken.worlds.babyai import SPEC, BabyAIWorld

LEFT, RIGHT = 0, 1
HERE, THERE = torch.tensor([1, 7]), torch.tensor([2, 7])  # the second of two rows never moves
SAID = torch.tensor([[0.9, 0.09, 0.01], [0.9, 0.09, 0.01]])


def did(tried: Tried, state: Tensor, action: int) -> None:
    tried.note(state, torch.tensor([action, action]))


def test_what_was_done_in_a_state_is_done_there_less_and_nowhere_else() -> None:
    tried = Tried(2, 3)
    assert torch.allclose(tried.chances(HERE, SAID), SAID) and not tried.before(HERE).any()
    for _ in range(3):
        did(tried, HERE, 0)
        tried.chances(THERE, SAID)
    chances = tried.chances(HERE, SAID)
    assert torch.allclose(chances.sum(1), torch.ones(2)) and chances[0].argmax() == 1
    assert torch.allclose(chances[1], SAID[1]), "standing still is not counted"
    assert tried.before(HERE).tolist() == [True, False] and not tried.before(THERE).any()
    assert torch.allclose(tried.chances(THERE, SAID), SAID)


def test_rows_begin_anew_and_are_selected_alone() -> None:
    tried = Tried(2, 3)
    for state in (HERE, torch.tensor([2, 8]), torch.tensor([1, 7])):
        tried.chances(state, SAID)
        did(tried, state, 0)
    tried.chances(THERE, SAID)
    second = tried[torch.tensor([False, True])]
    assert second.chances(torch.tensor([8]), SAID[:1])[0, 0] < 0.9
    tried.forget(torch.tensor([True, False]))
    assert tried.before(torch.tensor([1, 8])).tolist() == [False, True]
    did(tried, HERE, 0)
    tried.forget(torch.tensor([True, True]))
    tried.chances(torch.tensor([3, 3]), SAID)
    assert not tried.before(HERE).any(), "what was done last was for the step before"


def test_two_states_that_lead_to_each_other_are_left() -> None:
    """A policy that is sure to turn to and fro does something else after a few rounds."""
    tried, rng = Tried(1, 3), np.random.default_rng(0)
    policy = torch.tensor([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01]], dtype=torch.double)
    state, rounds = 0, 0
    while rounds < 100:
        chances = tried.chances(torch.tensor([state]), policy[state : state + 1])
        action = int(rng.choice(3, p=chances[0].numpy()))
        tried.note(torch.tensor([state]), torch.tensor([action]))
        if action == 2:
            break
        state, rounds = 1 - state, rounds + 1
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
    assert int(states_of(model, more, 1)) != one


def test_where_a_family_can_not_tell_nothing_is_ever_the_same() -> None:
    torch.manual_seed(0)
    belief = SpatialModel(SPEC, SIZES["debug"]).initial(2)
    assert len({*states_of(object(), belief, 2).tolist(), *states_of(object(), belief, 2).tolist()}) == 4
