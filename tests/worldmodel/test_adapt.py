import copy
from dataclasses import replace

import pytest
import torch

from gedanken.agent.loading import load_trained
from gedanken.worldmodel.adapt import SURPRISE, AdaptConfig, adapt, copied, own_episodes, startling
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.imagination import ImaginationConfig
from gedanken.worldmodel.intentions import teacher
from gedanken.worldmodel.protocol import Belief
from gedanken.worldmodel.spatial import SpatialModel
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.babyai_shifts import ShiftedWorld

LEVEL = "BabyAI-GoToObj-v0"
SWAPPED = f"{LEVEL}+swapped-turns"
LEFT, RIGHT, FORWARD = 0, 1, 2


@pytest.fixture(scope="module")
def shipped() -> Trained:
    trained = load_trained("babyai", BabyAIWorld(LEVEL))
    assert isinstance(trained, Trained)
    return trained


def first_views(count: int) -> torch.Tensor:
    world = BabyAIWorld(LEVEL)
    env = world.make()
    return torch.stack([torch.from_numpy(world.observation(env.reset(seed=seed)[0])) for seed in range(count)])


def beliefs(model: SpatialModel, count: int = 12) -> Belief:
    first = torch.ones(count, dtype=torch.bool)
    return model.observe(model.initial(count), torch.zeros(count, dtype=torch.long), first_views(count), first)


def test_actions_do_what_they_do_in_the_same_model(shipped: Trained) -> None:
    same = shipped.model.counterparts(shipped.model, beliefs(shipped.model))  # type: ignore[attr-defined]
    assert (same[:, LEFT, LEFT] > 0.9).all() and (same[:, RIGHT, RIGHT] > 0.9).all()
    assert (same[:, LEFT, RIGHT] < 0.1).all() and (same[:, LEFT, FORWARD] < 0.1).all()


def test_a_teacher_does_what_was_meant_where_turns_are_swapped(shipped: Trained) -> None:
    now = copied(shipped)
    motion = now.model.motion  # type: ignore[attr-defined]
    forward = motion.forward

    def swapped(codes: torch.Tensor, hand: torch.Tensor, action: torch.Tensor, turn: int | None = None) -> torch.Tensor:
        other = torch.where(action == LEFT, RIGHT, torch.where(action == RIGHT, LEFT, action))
        return forward(codes, hand, other, turn)  # type: ignore[no-any-return]

    motion.forward = swapped
    belief = beliefs(shipped.model)
    step = torch.tensor([SPEC.step_codes(SPEC.parse_step("go_to(ball)"))]).repeat(12, 1)
    taught = teacher(shipped.controller, now.model)
    assert taught is not None
    wanted, meant = taught.act(belief, step), shipped.controller.act(belief, step).exp()
    order = [RIGHT, LEFT, *range(2, len(SPEC.actions))]
    assert torch.allclose(wanted[:, :2], meant[:, order][:, :2], atol=0.02)
    assert torch.allclose(wanted.sum(1), torch.ones(12))


def test_what_nothing_does_any_more_is_still_tried(shipped: Trained) -> None:
    class Stuck:
        def counterparts(self, other: object, belief: object) -> torch.Tensor:
            return torch.zeros(12, len(SPEC.actions), len(SPEC.actions))

    taught = teacher(shipped.controller, Stuck())
    assert taught is not None
    step = torch.tensor([SPEC.step_codes(SPEC.parse_step("go_to(ball)"))]).repeat(12, 1)
    belief = beliefs(shipped.model)
    assert torch.allclose(taught.act(belief, step), shipped.controller.act(belief, step).exp(), atol=1e-5)


def test_swapped_turns_are_found_out_from_a_few_episodes(shipped: Trained) -> None:
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 24)
    episodes = list(own_episodes(ShiftedWorld, SWAPPED, seeds, shipped.controller))
    assert all((episode.expert == -1).all() for episode in episodes), "nobody demonstrates"
    before = copy.deepcopy(shipped.controller.state_dict())
    few = ImaginationConfig(futures=16, horizon=4)
    config = AdaptConfig(steps=40, dreams=2, batch=8, imagination=few)
    rows: list[dict[str, float]] = []
    learned = adapt(shipped, episodes, config, rows.append)
    assert [("imagined" in row, "motion" in row) for row in rows] == [(False, True)] * 40 + [(True, False)] * 2
    assert "taught" in rows[-1]
    same = learned.model.counterparts(shipped.model, beliefs(learned.model))  # type: ignore[attr-defined]
    assert same[:, LEFT, RIGHT].mean() > 0.6 > 0.4 > same[:, LEFT, LEFT].mean()
    assert all(torch.equal(value, before[name]) for name, value in shipped.controller.state_dict().items())


def test_without_episodes_there_is_nothing_to_learn_from(shipped: Trained) -> None:
    with pytest.raises(ValueError, match="no episodes"):
        adapt(shipped, [], AdaptConfig())


def test_steps_that_were_never_pursued_cost_nothing(shipped: Trained) -> None:
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 2)
    episodes = own_episodes(ShiftedWorld, SWAPPED, seeds, shipped.controller)
    bare = [replace(e, step_index=e.step_index * 0 - 1) for e in episodes]
    rows: list[dict[str, float]] = []
    adapt(shipped, bare, AdaptConfig(steps=1, dreams=1, batch=2, time=8), rows.append)
    assert rows[-1]["imagined"] == 0.0


def test_what_was_learned_from_few_episodes_says_how_much_surprise_is_usual(shipped: Trained) -> None:
    seeds = range(FIRST_TRAINING_SEED + 40, FIRST_TRAINING_SEED + 43)
    usual = list(own_episodes(BabyAIWorld, LEVEL, seeds, shipped.controller))
    shifted = list(own_episodes(ShiftedWorld, SWAPPED, seeds, shipped.controller))
    assert SURPRISE <= startling(shipped, usual) < startling(shipped, shifted)
    assert startling(shipped, []) == SURPRISE


def test_what_ships_is_startled_by_exchanged_turns_and_not_by_rooms_full_of_things(shipped: Trained) -> None:
    seeds = range(FIRST_TRAINING_SEED + 920_000_000, FIRST_TRAINING_SEED + 920_000_012)
    limit = shipped.card["surprise"]
    full = "BabyAI-GoToLocal-v0"
    for make, level, fewest, most in ((BabyAIWorld, full, 0, 0), (ShiftedWorld, f"{full}+swapped-turns", 6, 12)):
        episodes = own_episodes(make, level, seeds, shipped.controller)
        startled = sum(startling(shipped, [episode], 1.0) > limit for episode in episodes)
        assert fewest <= startled <= most
