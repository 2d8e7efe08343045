import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.protocol import Batch
from gedanken.worldmodel.spatial import MOTIONS, SIZES, SpatialBelief, SpatialModel
from gedanken.worldmodel.spatial_grid import FAR, LAID
from gedanken.worldmodel.spatial_nets import _ensemble, _nearness, by_members, draw
from gedanken.worlds.babyai import SPEC, BabyAIWorld

LEVEL = "BabyAI-PickupLoc-v0"
LEFT, RIGHT, FORWARD = range(3)
DYNAMICS = ("motion", "change", "sight", "completion", "reward", "continues")
HIDDEN = SPEC.observation.hidden


@dataclass
class Trained:
    model: SpatialModel
    controller: Controller
    history: list[dict[str, float]]


def fresh(seed: int = 0) -> tuple[SpatialModel, Controller]:
    torch.manual_seed(seed)
    model = SpatialModel(SPEC, SIZES["debug"])
    contract: Any = model
    return model, Controller(contract, hidden=32)


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 40)
    made = practise(BabyAIWorld, [(LEVEL, 1.0)], seeds, Practice(missions=1.0, jostled=0.0))
    return [episode for episode in made if 3 <= len(episode) <= 8][:10]


@pytest.fixture(scope="module")
def batch(episodes: list[Episode]) -> Batch:
    return Replay(SPEC, episodes).sample(np.random.default_rng(0), 6, 10)


@pytest.fixture(scope="module")
def trained(episodes: list[Episode]) -> Trained:
    model, controller = fresh()
    replay, rng = Replay(SPEC, episodes), np.random.default_rng(0)
    parameters = [*model.parameters(), *controller.parameters()]
    optimizer, history = torch.optim.Adam(parameters, lr=4e-3), []
    for _ in range(80):
        batch = replay.sample(rng, 6, 10)
        losses, belief = model.loss(batch)
        losses |= controller.loss(batch, belief)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        history.append({name: value.item() for name, value in losses.items()})
    return Trained(model.eval(), controller.eval(), history)


def one(value: float | bool) -> Tensor:
    return torch.tensor([value])


def codes(*steps: str) -> Tensor:
    return torch.tensor(SPEC.plan_codes([SPEC.parse_step(step) for step in steps]))


def filtered(model: SpatialModel, episode: Episode) -> list[SpatialBelief]:
    """Return the belief after each of an episode's observations."""
    beliefs, views = [model.initial(1)], torch.from_numpy(episode.observations)
    for t, action in enumerate([0, *episode.actions.tolist()]):
        beliefs.append(model.observe(beliefs[-1], one(action), views[t : t + 1], one(t == 0)))
    return beliefs[1:]


def same(first: SpatialBelief, second: SpatialBelief, *but: str) -> bool:
    names = [field.name for field in fields(SpatialBelief) if field.name not in but]
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


# ---- the contract, untrained -----------------------------------------------------------------------------------------


def test_shapes_are_those_of_the_contract(batch: Batch) -> None:
    model, controller = fresh()
    step, action = batch.step[:, 0].long(), batch.taken[:, 0]
    belief = model.observe(model.initial(6), batch.action[:, 0], batch.observation[:, 0], batch.is_first[:, 0])
    after = model.imagine(model.suppose(belief, step[:, None]), action)
    readout = model.readout(after)
    assert readout.observation.shape == (6, 7, 7, 3) and readout.observation.dtype == torch.uint8
    for signal in (readout.reward, readout.continues, controller.value(after, step), controller.achieved(after, step)):
        assert signal.shape == (6,) and (signal >= 0).all() and (signal <= 1).all()
    assert model.embed(after, step).shape == (6, model.embed_size)
    assert model.embed_outcome(after, step).shape == (6, model.outcome_size)
    torch.testing.assert_close(controller.act(after, step).exp().sum(1), torch.ones(6))
    assert model.known(after).shape == (6, 13, 13, 3)
    assert model.disagreement(after, action).shape == (6,)
    assert model.surprise(belief, action, batch.observation[:, 1]).shape == (6,)
    assert {value.dtype for name, value in vars(after).items() if name != "action"} == {torch.int32}


def test_what_has_just_been_seen_is_read_out_again(batch: Batch) -> None:
    model, _ = fresh()
    view = batch.observation[:, 0]
    belief = model.observe(model.initial(6), batch.action[:, 0], view, batch.is_first[:, 0])
    known = model.known(belief)[:, :7, 3:10]
    seen = view[..., 0] != HIDDEN
    assert torch.equal(known[seen], view[seen]) and (known[~seen][:, 0] == HIDDEN).all()


def test_an_episode_does_not_leak_into_the_next_one_of_its_row(batch: Batch) -> None:
    model, controller = fresh()
    second = int(batch.is_first[0].nonzero()[1])
    other = batch.observation.clone()
    other[0, :second] = other[1:2, :1]
    action = batch.action.clone()
    action[0, 1:second] = LEFT
    beliefs = [model.loss(b)[1] for b in (batch, replace(batch, observation=other, action=action))]
    length = batch.action.shape[1]
    assert same(*(belief[second:length] for belief in beliefs))
    assert not same(*(belief[:second] for belief in beliefs))
    alone = model.observe(model.initial(1), one(0), batch.observation[:1, second], one(True))
    assert same(beliefs[0][second : second + 1], alone)


def test_dynamics_know_nothing_of_the_step(batch: Batch) -> None:
    others = {
        "step": batch.step.flip(1),
        "step_before": batch.step_before.flip(1),
        "goal_begins": ~batch.goal_begins,
        "step_begins": ~batch.step_begins,
        "expert": batch.expert.flip(1),
    }
    losses = []
    for variant in (batch, replace(batch, **others)):
        model, _ = fresh()  # each loss also notes what is usual
        torch.manual_seed(1)
        losses.append(model.loss(variant)[0])
    assert set(losses[0]) == set(DYNAMICS)
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in DYNAMICS)
    belief = model.observe(model.initial(6), batch.action[:, 0], batch.observation[:, 0], batch.is_first[:, 0])
    every = torch.ones(6, dtype=torch.bool)
    turned = model.observe(belief, batch.action[:, 1], batch.observation[:, 1], ~every)
    imagined = []
    for variant in (turned, model.begin_step(model.begin_goal(turned, every), every)):
        torch.manual_seed(1)
        imagined.append(model.imagine(variant, batch.taken[:, 1].clamp(min=0)))
    assert same(*imagined, "places", "places_before", "hand_began")


def test_every_parameter_learns(batch: Batch) -> None:
    model, controller = fresh()
    losses, belief = model.loss(batch)
    losses |= controller.loss(batch, belief)
    assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    named = [*model.named_parameters(), *controller.named_parameters()]
    assert [name for name, parameter in named if parameter.grad is None] == []


def test_a_supposed_world_keeps_what_is_seen_and_fills_what_is_not(batch: Batch) -> None:
    model, _ = fresh()
    belief = model.observe(model.initial(6), batch.action[:, 0], batch.observation[:, 0], batch.is_first[:, 0])
    step = codes("pick_up(purple box behind you)").expand(6, 1, -1)
    torch.manual_seed(0)
    supposed = model.suppose(belief, step)
    known = belief.seen != model.grid.unknown
    assert known.any() and (~known).any()
    assert torch.equal(supposed.world[known], belief.seen[known]) and torch.equal(supposed.seen, belief.seen)
    assert (supposed.world[~known] != model.grid.unknown).float().mean() > 0.5
    named = model.grid.matches(step[:, 0], supposed.world, belief.places)[:, 0].any(1)
    assert named.float().mean() > 0.6  # a name is evidence that the thing exists
    assert not model.grid.matches(step[:, 0], belief.seen, belief.places).any()


def test_imagining_draws_one_future_for_each_seed(batch: Batch) -> None:
    model, _ = fresh()
    belief = model.observe(model.initial(6), batch.action[:, 0], batch.observation[:, 0], batch.is_first[:, 0])
    futures = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        futures.append(model.imagine(belief, batch.taken[:, 0]))
    assert same(futures[0], futures[1]) and not same(futures[0], futures[2])


def test_members_that_have_not_parted_do_not_disagree(batch: Batch) -> None:
    model, _ = fresh()
    belief = model.observe(model.initial(6), batch.action[:, 0], batch.observation[:, 0], batch.is_first[:, 0])
    for action in range(len(SPEC.actions)):
        assert model.disagreement(belief, torch.full((6,), action)).abs().max() < 1e-4


# ---- trained on ten episodes -----------------------------------------------------------------------------------------


def test_losses_fall(trained: Trained) -> None:
    names = trained.history[0]
    begun = {name: np.mean([row[name] for row in trained.history[:2]]) for name in names}
    ended = {name: np.mean([row[name] for row in trained.history[-10:]]) for name in names}
    shares = {name: float(ended[name] / begun[name]) for name in names}
    most = dict.fromkeys(names, 0.4) | {"value": 0.95, "motion": 0.2, "change": 0.2, "sight": 0.1, "completion": 0.2}
    assert {name: share for name, share in shares.items() if share > most[name]} == {}


def test_it_imagines_what_it_has_lived_through(trained: Trained, episodes: list[Episode]) -> None:
    """Of what it knows, it foresees what the action really taken will let it see."""
    model, right, as_before, foreseen = trained.model, [], [], []
    torch.manual_seed(0)
    for episode in episodes:
        views = torch.from_numpy(episode.observations)
        for t, belief in enumerate(filtered(model, episode)[:-1]):
            said = model.readout(model.imagine(belief, one(int(episode.actions[t])))).observation[0]
            claimed, visible = said[..., 0] != HIDDEN, views[t + 1, ..., 0] != HIDDEN
            right.append((said == views[t + 1]).all(-1)[claimed].float().mean())
            as_before.append((views[t] == views[t + 1]).all(-1)[claimed].float().mean())
            foreseen.append((claimed & visible).sum() / visible.sum())
    assert np.mean(right) > 0.85 and np.mean(right) > np.mean(as_before) + 0.2 and np.mean(foreseen) > 0.5


def test_it_acts_as_it_was_shown_and_knows_when_a_step_is_achieved(trained: Trained, batch: Batch) -> None:
    model, controller = trained.model, trained.controller
    _, belief = model.loss(batch)
    acting = model.begin_step(model.begin_goal(belief, batch.goal_begins.flatten()), batch.step_begins.flatten())
    step, expert = batch.step.flatten(0, 1).long(), batch.expert.flatten()
    asked = expert >= 0
    likeliest = controller.act(acting[asked], step[asked]).argmax(1)
    assert (likeliest == expert[asked]).float().mean() > 0.85
    before, arrived = batch.step_before.flatten(0, 1).long(), ~batch.is_first.flatten()
    said = controller.achieved(belief[arrived], before[arrived])
    happened = batch.achieved.flatten()[arrived]
    assert ((said > 0.5) == happened).float().mean() > 0.95 and happened.any() and not happened.all()


def test_a_wrong_observation_surprises_more_than_the_true_one(trained: Trained, episodes: list[Episode]) -> None:
    model, pairs = trained.model, []
    for episode, other in zip(episodes, episodes[1:], strict=False):
        for t, belief in enumerate(filtered(model, episode)[:-1]):
            if episode.actions[t] in (LEFT, RIGHT):  # a turn shows what nobody could know
                continue
            action = one(int(episode.actions[t]))
            elsewhere = other.observations[min(t + 1, len(other))]
            views = (torch.from_numpy(view)[None] for view in (episode.observations[t + 1], elsewhere))
            pairs.append([float(model.surprise(belief, action, view)) for view in views])
    true, wrong = np.array(pairs).T
    assert (true >= 0).all() and (wrong > true).mean() > 0.95 and np.median(wrong) > 2 * np.median(true)


def test_members_disagree_more_about_what_they_have_not_seen(trained: Trained, episodes: list[Episode]) -> None:
    model, familiar, strange = trained.model, [], []
    generator = torch.Generator().manual_seed(0)
    for episode in episodes:
        for t, belief in enumerate(filtered(model, episode)[:-1]):
            action = one(int(episode.actions[t]))
            noise = torch.randint(model.grid.codes, belief.world.shape, generator=generator)
            familiar.append(float(model.disagreement(belief, action)))
            strange.append(float(model.disagreement(replace(belief, world=noise), action)))
    assert min(familiar + strange) >= 0 and np.mean(strange) > 2 * np.mean(familiar)


# ---- filtering -------------------------------------------------------------------------------------------------------


def truth(env: Any, ahead: int, right: int) -> tuple[int, int]:
    """Return the position in the level of a cell of the map."""
    base = env.unwrapped
    (dx, dy), (x, y) = base.dir_vec, base.agent_pos
    return int(x + ahead * dx - right * dy), int(y + ahead * dy + right * dx)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_walk_is_remembered_as_a_map_of_what_was_in_sight(trained: Trained, seed: int) -> None:
    model, world = trained.model, BabyAIWorld(LEVEL)
    env: Any = world.make(free=True)
    raw, _ = env.reset(seed=seed)
    base = env.unwrapped
    seen: set[tuple[int, int]] = set()
    belief, action = model.initial(1), 0
    for t, following in enumerate([LEFT, LEFT, FORWARD, RIGHT, FORWARD, RIGHT, RIGHT, FORWARD, LEFT, FORWARD, LEFT]):
        view = torch.from_numpy(world.observation(raw))[None]
        belief = model.observe(belief, one(action), view, one(t == 0))
        shown = (view[0, ..., 0] != HIDDEN).nonzero().tolist()
        seen |= {truth(env, 6 - row, column - 3) for row, column in shown if (row, column) != (6, 3)}
        at = {truth(env, 6 - row, column - 6): (row, column) for row in range(13) for column in range(13)}
        known = model.known(belief)[0]
        here = tuple(int(x) for x in base.agent_pos)
        for position, (row, column) in at.items():
            if position == here:
                continue
            assert bool(known[row, column, 0] != HIDDEN) == (position in seen), (t, position)
            if position in seen:
                thing = base.grid.get(*position)
                expected = [1, 0, 0] if thing is None else list(thing.encode())
                assert known[row, column].tolist() == expected, (t, position)
        action = following
        raw, *_ = env.step(action)


def test_views_tell_a_turn_from_a_slide_before_motions_are_learned(batch: Batch) -> None:
    model, _ = fresh()
    for _ in range(50):  # what is usual, and nothing else, is learned here
        model.loss(batch)
    right = total = 0
    for seed in range(12):
        env = BabyAIWorld("BabyAI-OpenDoor-v0").make()
        raw, _ = env.reset(seed=seed)
        first = torch.from_numpy(raw["image"].transpose(1, 0, 2).copy())[None]
        belief = model.observe(model.initial(1), torch.tensor([0]), first, torch.tensor([True]))
        for action in (LEFT, LEFT, LEFT, LEFT, RIGHT, RIGHT):
            raw, *_ = env.step(action)
            view = torch.from_numpy(raw["image"].transpose(1, 0, 2).copy())[None]
            codes = model.grid.encode(view)
            belief, _, posterior = model.filter(belief, torch.tensor([action]), codes, torch.tensor([False]))
            right += MOTIONS[int(posterior.argmax())][0] == (1 if action == LEFT else 3)
            total += 1
    assert right >= 0.9 * total, f"{right} of {total}"


def test_categories_are_drawn_as_often_as_they_weigh() -> None:
    torch.manual_seed(0)
    weights = torch.tensor([[0.0, 1.0, 2.0, 0.0, 1.0, 0.0]])
    shares = draw(weights.expand(20_000, -1)).bincount(minlength=6) / 20_000
    assert shares.tolist() == pytest.approx((weights[0] / 4).tolist(), abs=0.02)
    assert shares[weights[0] == 0].sum() == 0


def test_a_row_may_ask_its_own_member_only() -> None:
    net, x = _ensemble(3, 4, 5, 2), torch.randn(7, 4)
    torch.nn.init.normal_(net[-1].weight)
    every = by_members(net, x, 3, None)
    for turn in range(3):
        [own] = by_members(net, x, 3, turn)
        expected = torch.stack([every[(row + turn) % 3, row] for row in range(7)])
        torch.testing.assert_close(own, expected)
    assert not torch.allclose(every[0], every[1])


def test_what_the_hand_becomes_can_be_asked_alone() -> None:
    model, _ = fresh()
    codes = torch.randint(0, model.grid.codes, (5, model.grid.cells))
    hand, action, motion = codes[:, 0], torch.arange(5), torch.zeros(5, dtype=torch.long)
    every = model.change(codes, hand, action, motion)
    alone = model.change(codes, hand, action, motion, hand_only=True)
    assert torch.allclose(alone, every[:, :, -1:], atol=1e-6)


def test_what_is_barred_is_told_from_what_is_far() -> None:
    near = _nearness(torch.tensor([0.0, 10.0, LAID - 1, LAID, LAID + 10, FAR]))
    assert near[0] == 1 and near[3] == -1
    assert torch.allclose(near[[1, 4]], torch.tensor([math.exp(-1), -math.exp(-1)]))
    assert (near[[2, 5]].abs() < 0.01).all()


def test_certainty_about_motions_is_lost_in_part() -> None:
    model, _ = fresh()
    torch.nn.init.normal_(model.motion.certainty.weight, std=4.0)  # type: ignore[arg-type]
    codes = torch.randint(0, model.grid.codes, (4, model.grid.cells))
    actions = torch.arange(4)

    def spread() -> float:
        return float(model.motion(codes, codes[:, 0], actions).detach().exp().amax(-1).mean())

    sure = spread()
    model.forget(0.95)
    assert 1 / len(MOTIONS) <= spread() < sure - 0.2
