from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.protocol import Batch, WorldModel
from gedanken.worldmodel.rehearse import rehearse
from gedanken.worldmodel.rssm import SIZES, RSSMBelief, RSSMConfig, RSSMModel
from gedanken.worldmodel.rssm_nets import Cells, TwoHot, gumbel, mixed, mutual_information, sample, straight_through
from gedanken.worlds.babyai import SPEC, BabyAIWorld

DEBUG = SIZES["debug"]
LEVEL = "BabyAI-GoToObjS4-v0"


@dataclass
class Trained:
    model: RSSMModel
    controller: Controller
    history: list[dict[str, float]]


def fresh(seed: int = 0) -> tuple[RSSMModel, Controller]:
    torch.manual_seed(seed)
    model = RSSMModel(SPEC, DEBUG)
    return model, Controller(model, hidden=32)


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    practice = Practice(missions=1.0, jostled=0.0)
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 40)
    made = [e for e in practise(BabyAIWorld, [(LEVEL, 1.0)], seeds, practice) if 2 <= len(e) <= 8]
    return made[:10]


@pytest.fixture(scope="module")
def batch(episodes: list[Episode]) -> Batch:
    return Replay(SPEC, episodes).sample(np.random.default_rng(0), 8, 12)


@pytest.fixture(scope="module")
def trained(episodes: list[Episode]) -> Trained:
    model, controller = fresh()
    replay, rng = Replay(SPEC, episodes), np.random.default_rng(0)
    parameters = [*model.parameters(), *controller.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=4e-3)
    history = []
    for _ in range(250):
        batch = replay.sample(rng, 8, 12)
        losses, belief = model.loss(batch)
        losses |= controller.loss(batch, belief)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        history.append({name: value.item() for name, value in losses.items()})
    return Trained(model.eval(), controller, history)


def steps_of(batch: Batch, rows: int) -> Tensor:
    return batch.step[:, 0].long()[:rows]


def one(value: float | int | bool, rows: int = 1) -> Tensor:
    return torch.full((rows,), value)


def view(episode: Episode, t: int) -> Tensor:
    return torch.from_numpy(episode.observations[t])[None]


# ---- shapes and contracts ------------------------------------------------------------------------------------------


def test_meets_the_protocol_with_the_shapes_it_names(batch: Batch) -> None:
    model, _ = fresh()
    contract: WorldModel = model
    rows, step, action = 8, steps_of(batch, 8), batch.taken[:, 0].clamp(min=0)
    belief = contract.observe(contract.initial(rows), batch.action[:, 0], batch.observation[:, 0], batch.is_first[:, 0])
    after = contract.imagine(contract.suppose(contract.begin_goal(belief, one(True, rows)), step[:, None]), action)
    readout = contract.readout(after)
    assert readout.observation.shape == (rows, 7, 7, 3) and readout.observation.dtype == torch.uint8
    assert readout.reward.shape == readout.continues.shape == (rows,)
    assert (readout.continues >= 0).all() and (readout.continues <= 1).all()
    assert contract.embed(after, step).shape == (rows, model.embed_size)
    assert contract.embed_outcome(after, step).shape == (rows, model.outcome_size)
    for doubt in (contract.disagreement(after, action), contract.surprise(belief, action, batch.observation[:, 1])):
        assert doubt.shape == (rows,) and doubt.isfinite().all() and (doubt >= 0).all()
    for part in (belief, after):
        assert {len(getattr(part, f.name)) for f in fields(part)} == {rows}
        assert torch.equal(part.stoch.sum(-1), torch.ones(rows, DEBUG.groups))
        torch.testing.assert_close(part.logits.exp().sum(-1), torch.ones(rows, DEBUG.groups))


def test_beliefs_select_repeat_and_mix(batch: Batch) -> None:
    model, _ = fresh()
    belief = model.observe(model.initial(8), batch.action[:, 0], batch.observation[:, 0], batch.is_first[:, 0])
    assert torch.equal(belief[2:3].repeat(5).deter[4], belief.deter[2])
    mixed_rows = model.initial(8).where(torch.arange(8) < 4, belief)
    assert not mixed_rows.deter[:4].any() and torch.equal(mixed_rows.stoch[4:], belief.stoch[4:])


def test_losses_are_finite_and_beliefs_are_row_major_with_their_graph(batch: Batch) -> None:
    model, controller = fresh()
    losses, belief = model.loss(batch)
    assert set(losses) == {"reconstruction", "dynamics", "representation", "reward", "continues", "ensemble"}
    assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
    assert len(belief.deter) == batch.action.numel() and belief.deter.requires_grad
    assert torch.equal(belief.goal_begins.view(batch.is_first.shape)[:, 1:], batch.is_first[:, 1:])
    with torch.no_grad():  # the first frame's deterministic part depends on nothing seen
        first = model.observe(model.initial(8), batch.action[:, 0], batch.observation[:, 0], one(True, 8))
    torch.testing.assert_close(belief.deter.detach().view(8, 12, -1)[:, 0], first.deter)
    torch.testing.assert_close(belief.logits.detach().view(8, 12, DEBUG.groups, -1)[:, 0], first.logits)
    assert controller.loss(batch, belief)["policy"].requires_grad


@pytest.mark.parametrize("size", sorted(SIZES))
def test_every_size_can_be_built(size: str) -> None:
    model = RSSMModel(SPEC, SIZES[size])
    count = sum(p.numel() for p in model.parameters())
    assert count < {"debug": 3e5, "small": 7e6, "base": 2e7}[size]


def test_config_refuses_blocks_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="multiple of blocks, 8"):
        RSSMConfig(deter=100)


# ---- dynamics ------------------------------------------------------------------------------------------------------


def test_first_frames_forget_the_past(batch: Batch) -> None:
    model, _ = fresh()
    torch.manual_seed(1)
    past = model.observe(model.initial(8), batch.action[:, 0], batch.observation[:, 0], one(True, 8))
    first = torch.arange(8) % 2 == 0
    results = []
    for belief, action in ((past, batch.action[:, 1]), (model.initial(8), (batch.action[:, 1] + 1) % 6)):
        torch.manual_seed(2)
        results.append(model.observe(belief, action, batch.observation[:, 1], first))
    one_way, other = results
    for name in ("deter", "stoch", "logits", "goal_begins"):
        assert torch.equal(getattr(one_way, name)[first], getattr(other, name)[first]), name
    assert not torch.equal(one_way.deter[~first], other.deter[~first])


def test_loss_forgets_the_past_at_first_frames(batch: Batch) -> None:
    model, _ = fresh()
    seam = torch.zeros_like(batch.is_first)
    seam[:, [0, 6]] = True
    cut = replace(batch, is_first=seam)
    changed = replace(cut, observation=cut.observation.clone(), action=cut.action.clone())
    changed.observation[:, :6] = 1
    changed.action[:, :6] = 5
    beliefs = []
    for case in (cut, changed):
        torch.manual_seed(3)
        beliefs.append(model.loss(case)[1].map(lambda t: t.detach().unflatten(0, (8, 12))))
    for name in ("deter", "stoch", "logits"):
        a, b = (getattr(belief, name) for belief in beliefs)
        assert torch.equal(a[:, 6:], b[:, 6:]), name
        assert not torch.equal(a[:, :6], b[:, :6]), name


def test_a_goals_beginning_is_remembered_and_its_words_are_not(batch: Batch) -> None:
    model, controller = fresh()
    belief = model.observe(model.initial(8), batch.action[:, 0], batch.observation[:, 0], one(True, 8))
    assert belief.goal_begins.all()
    action = batch.action[:, 1]
    plain = replace(belief, goal_begins=one(False, 8))
    begun = model.begin_goal(plain, torch.arange(8) < 4)
    torch.manual_seed(0)
    without = model.imagine(plain, action)
    torch.manual_seed(0)
    having = model.imagine(begun, action)
    assert not having.goal_begins.any()
    assert torch.equal(having.deter[4:], without.deter[4:])
    assert (having.deter[:4] != without.deter[:4]).any(1).all()
    seen = model.observe(begun, action, batch.observation[:, 1], one(False, 8))
    torch.testing.assert_close(seen.deter, having.deter)


def test_steps_never_change_the_dynamics(batch: Batch) -> None:
    model, controller = fresh()
    other = replace(batch, step=batch.step.flip(0) * 0 + 1, step_before=batch.step_before * 0 + 2)
    outcomes = []
    for case in (batch, other):
        torch.manual_seed(4)
        losses, belief = model.loss(case)
        controller.act(belief[:8], steps_of(case, 8))
        torch.manual_seed(5)
        outcomes.append((losses, model.imagine(model.suppose(belief[:8], case.step[:, :1]), case.action[:, 1])))
    for name, loss in outcomes[0][0].items():
        assert torch.equal(loss, outcomes[1][0][name]), name
    for name in ("deter", "stoch", "logits"):
        assert torch.equal(getattr(outcomes[0][1], name), getattr(outcomes[1][1], name)), name


def test_supposing_resamples_only_the_stochastic_part(batch: Batch) -> None:
    model, _ = fresh()
    belief = model.observe(model.initial(8), batch.action[:, 0], batch.observation[:, 0], one(True, 8))
    many = belief[:1].repeat(200)
    supposed = model.suppose(many, steps_of(batch, 1)[:, None].expand(200, -1, -1))
    assert torch.equal(supposed.deter, many.deter) and torch.equal(supposed.logits, many.logits)
    assert (supposed.stoch != many.stoch).any()
    torch.testing.assert_close(supposed.stoch.mean(0), belief.logits[0].exp(), atol=0.15, rtol=0)


def test_repeatable_with_a_seed(batch: Batch) -> None:
    model, _ = fresh()
    runs = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        belief = model.observe(model.initial(8), batch.action[:, 0], batch.observation[:, 0], one(True, 8))
        for t in range(3):
            belief = model.imagine(belief, batch.action[:, t])
        losses, _ = model.loss(batch)
        runs.append((belief.state, losses["reconstruction"]))
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][0], runs[2][0])


# ---- learning ------------------------------------------------------------------------------------------------------


def test_gradient_reaches_every_parameter(batch: Batch) -> None:
    model, controller = fresh()
    losses, belief = model.loss(batch)
    losses |= controller.loss(batch, belief)
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in [*model.named_parameters(), *controller.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_the_controllers_losses_reach_the_past_through_time(batch: Batch) -> None:
    model, controller = fresh()
    _, belief = model.loss(replace(batch, is_first=torch.zeros_like(batch.is_first)))
    controller.policy(model.embed(belief, batch.step.flatten(0, 1))).view(8, 12, -1)[:, -1].sum().backward()
    assert all(table.weight.grad.any() for table in model.encoder.tables)
    assert model.posterior.out.weight.grad.any() and model.core.gates.weight.grad.any()


def test_the_ensemble_trains_nothing_but_itself(batch: Batch) -> None:
    model, _ = fresh()
    model.loss(batch)[0]["ensemble"].backward()
    touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"ensemble"}


def test_free_nats_leave_small_divergences_alone(batch: Batch) -> None:
    torch.manual_seed(0)
    model = RSSMModel(SPEC, DEBUG.model_copy(update={"free_nats": 1e3}))
    losses, _ = model.loss(batch)
    assert losses["dynamics"].item() == 1e3 and losses["representation"].item() == pytest.approx(1e2)
    losses["dynamics"].backward()
    assert not model.prior.out.weight.grad.any()


def test_loss_falls_and_ten_episodes_are_learned_by_heart(trained: Trained) -> None:
    first, last = trained.history[0], trained.history[-1]
    assert sum(last.values()) < 0.1 * sum(first.values())
    assert last["reconstruction"] < 2.0, "nats for 49 cells"
    assert last["policy"] < 0.3 and last["reward"] < first["reward"]


def test_imagining_episodes_known_by_heart_shows_their_views(trained: Trained, episodes: Sequence[Episode]) -> None:
    model, right, cells = trained.model, 0, 0
    torch.manual_seed(0)
    for episode in episodes:
        belief = model.observe(model.initial(1), one(0), view(episode, 0), one(True))
        for t, action in enumerate(episode.actions, 1):
            belief = model.imagine(belief, one(int(action)))
            shown = model.readout(belief).observation
            right += int((shown == view(episode, t)).all(-1).sum())
            cells += 49
    assert right / cells > 0.97


def test_surprise_tells_what_happens_from_what_cannot(trained: Trained, episodes: Sequence[Episode]) -> None:
    model = trained.model
    torch.manual_seed(0)
    expected, scrambled = [], []
    for episode in episodes:
        belief = model.observe(model.initial(1), one(0), view(episode, 0), one(True))
        action = one(int(episode.actions[0]))
        expected.append(model.surprise(belief, action, view(episode, 1)).item())
        scrambled.append(model.surprise(belief, action, view(episode, 1).flip(1)).item())
    assert np.mean(scrambled) > np.mean(expected) + 10


def test_rehearses_through_the_protocol(trained: Trained, episodes: Sequence[Episode]) -> None:
    model = trained.model
    torch.manual_seed(0)
    belief = model.observe(model.initial(1), one(0), view(episodes[0], 0), one(True))
    plan = SPEC.parse_plan("\n".join(episodes[0].steps))
    controller = trained.controller
    runs = [rehearse(controller, belief, [plan] * 2, samples=4, horizon=10, seed=0, views=True) for _ in range(2)]
    assert runs[0].success.shape == (2, 4) and runs[0].views is not None
    assert torch.equal(runs[0].actions, runs[1].actions)
    assert (runs[0].disagreement >= 0).all()


# ---- the parts -----------------------------------------------------------------------------------------------------


def test_cells_are_joined_and_split_without_loss() -> None:
    cells = Cells(SPEC.observation)
    every = torch.arange(cells.codes)
    assert cells.codes == 11 * 6 * 3
    assert torch.equal(cells.join(cells.split(every).view(1, cells.codes, 1, 3)), every[None])


def test_categories_are_not_intensities() -> None:
    """Renaming a channel's categories is undone exactly by permuting its table."""
    model, _ = fresh()
    order = torch.randperm(11)
    observation = torch.randint(0, 3, (4, 7, 7, 3))
    renamed = torch.cat([order[observation[..., :1]], observation[..., 1:]], -1)
    before = model.encoder(model.cells.join(observation))
    with torch.no_grad():
        model.encoder.tables[0].weight[order] = model.encoder.tables[0].weight.clone()
    torch.testing.assert_close(model.encoder(model.cells.join(renamed)), before)


def test_two_hot_means_what_it_was_told() -> None:
    twohot = TwoHot(81, 20.0)
    numbers = torch.tensor([0.0, 0.93, -2.5, 1e4])
    logits = torch.zeros(4, 81, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        twohot.loss(logits, numbers).sum().backward()
        optimizer.step()
    torch.testing.assert_close(twohot.mean(logits.detach()), numbers, rtol=0.05, atol=0.02)
    assert twohot.loss(logits, torch.full((4,), 1e12)).isfinite().all()


def test_samples_follow_their_probabilities_above_the_floor() -> None:
    torch.manual_seed(0)
    logs = torch.tensor([0.0, 0.7, 0.29, 0.01]).clamp(min=1e-9).log().expand(4000, 4)
    share = sample(logs, 0.02).mean(0)
    torch.testing.assert_close(share, torch.tensor([0.0, 0.7, 0.29, 0.0]) / 0.99, atol=0.03, rtol=0)
    flat = sample(torch.full((4000, 100), 0.01).log(), 0.02)
    assert (flat.sum(0) > 0).all(), "where nothing is above the floor, everything stays possible"


def test_straight_through_samples_pass_gradients() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 3, 4, requires_grad=True)
    chosen = straight_through(mixed(logits, 0.01), gumbel((5, 3, 4), logits.device))
    assert set(chosen.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    (chosen * torch.randn(5, 3, 4)).sum().backward()
    assert logits.grad is not None and logits.grad.any()


def test_mutual_information_is_zero_for_members_that_agree() -> None:
    torch.manual_seed(0)
    agreeing = mixed(torch.randn(1, 6, 3, 4), 0.01).expand(5, -1, -1, -1)
    torch.testing.assert_close(mutual_information(agreeing), torch.zeros(6), atol=1e-5, rtol=0)
    sure = mixed(torch.eye(2)[:, None, None] * 50, 0.0).clamp(min=-30.0)
    assert mutual_information(sure).item() == pytest.approx(np.log(2), abs=1e-3)


def test_unimix_keeps_every_category_possible() -> None:
    logs = mixed(torch.tensor([[1e4, 0.0, 0.0, 0.0]]), 0.01)
    torch.testing.assert_close(logs.exp(), torch.tensor([[0.9925, 0.0025, 0.0025, 0.0025]]))


def test_beliefs_are_of_the_family() -> None:
    assert isinstance(fresh()[0].initial(2), RSSMBelief) and RSSMModel.family == "rssm"
