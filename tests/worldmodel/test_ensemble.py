import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import numbers_world as numbers

from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import CheckpointError, TrainedDynamics
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.ensemble import SIZES, EnsembleBelief, EnsembleModel, transitions
from gedanken.worldmodel.fit import fit
from gedanken.worldmodel.rssm_nets import between, symexp
from gedanken.worlds.babyai import SPEC as BABYAI
from gedanken.worlds.fields import VectorField
from gedanken.worlds.spec import SpecError, WorldSpec

SPECS = {"discrete": numbers.DISCRETE, "controls": numbers.CONTROLS}


@pytest.fixture(scope="module", params=SPECS)
def fitted(request: pytest.FixtureRequest) -> EnsembleModel:
    torch.manual_seed(0)
    spec = SPECS[request.param]
    model = EnsembleModel(spec, SIZES["debug"])
    fit(model, numbers.episodes(spec, 30), steps=500, seed=0)
    return model


def believed(model: EnsembleModel, states: np.ndarray, times: int = 1) -> EnsembleBelief:
    belief = model.initial(len(states))
    first = torch.ones(len(states), dtype=torch.bool)
    belief = model.observe(belief, torch.zeros(len(states)), torch.from_numpy(states), first).repeat(times)
    return model.suppose(belief, torch.zeros(len(states) * times, 0, 0))


def actions_for(model: EnsembleModel, pushes: list[float]) -> torch.Tensor:
    return torch.tensor(pushes)[:, None] if model.spec.controls else torch.tensor(pushes).long() + 1


def test_open_loop_prediction_beats_a_frozen_world(fitted: EnsembleModel) -> None:
    rng, steps = np.random.default_rng(5), 8
    starts = np.array(
        [[rng.uniform(-1, 1), rng.uniform(-0.5, 0.5), 0, rng.uniform(-1, 1)] for _ in range(60)], np.float32
    )
    starts[:, 2] = starts[:, 0] > 0
    belief, states = believed(fitted, starts), starts
    for _ in range(steps):
        pushes = rng.integers(-1, 2, len(starts)).astype(float).tolist()
        belief = fitted.imagine(belief, actions_for(fitted, pushes))
        states = np.stack([numbers.after(state, push) for state, push in zip(states, pushes, strict=True)])
    imagined = fitted.readout(belief).observation.numpy()
    error, frozen = (np.abs(guess - states)[:, :2].mean() for guess in (imagined, starts))
    assert error < 0.25 * frozen
    assert np.mean(imagined[:, 2] == states[:, 2]) > 0.8 and set(np.unique(imagined[:, 2])) <= {0, 1}
    assert np.array_equal(imagined[:, 3], starts[:, 3])  # nobody changes the wind


def test_the_wind_is_felt_and_can_be_set(fitted: EnsembleModel) -> None:
    belief = believed(fitted, np.zeros((30, 4), np.float32))
    ends = []
    for wind in (-1.0, 1.0):
        blown = fitted.intervene(belief, {"wind": wind})
        for _ in range(5):
            blown = fitted.imagine(blown, actions_for(fitted, [0.0] * 30))
        ends.append(float(blown.values[:, 1].mean()))
    assert ends[0] < -0.1 and ends[1] > 0.1
    with pytest.raises(SpecError, match="no exogenous variable 'rain'; it has wind"):
        fitted.intervene(belief, {"rain": 1.0})


def test_ends_and_rewards_are_predicted(fitted: EnsembleModel) -> None:
    states = np.array([[0, 0.5, 1, 0], [1.2, 0.5, 1, 0]] * 15, np.float32)
    after = fitted.readout(fitted.imagine(believed(fitted, states), actions_for(fitted, [1.0] * 30)))
    assert after.continues[::2].mean() > 0.9 > after.continues[1::2].mean() + 0.1
    assert float(after.reward[::2].mean()) == pytest.approx(0.575, abs=0.08)
    assert fitted.readout(believed(fitted, states)).continues.eq(1).all()


def test_members_disagree_and_are_surprised_where_nobody_has_been(fitted: EnsembleModel) -> None:
    near, far = (believed(fitted, np.array([[x, v, 1, 0]] * 6, np.float32)) for x, v in ((0.3, 0.1), (9.0, -7.0)))
    rest = actions_for(fitted, [0.0] * 6)
    assert (fitted.disagreement(far, rest) > 3 * fitted.disagreement(near, rest)).all()
    expected = torch.from_numpy(np.stack([numbers.after(s, 0.0) for s in near.values.numpy()]))
    usual, strange = (fitted.surprise(near, rest, seen) for seen in (expected, expected + torch.tensor([1.0, 0, 0, 0])))
    assert torch.isfinite(strange).all() and (strange > usual + 10).all()


def test_each_row_asks_its_own_member(fitted: EnsembleModel) -> None:
    belief = believed(fitted, numbers.episodes(fitted.spec, 1)[0].observations[:12])
    rest = actions_for(fitted, [0.0] * 12)
    inputs = fitted._inputs(belief.values, rest)
    whole = fitted._own(fitted.net, inputs, belief.member)
    mixed = torch.randperm(12, generator=torch.Generator().manual_seed(0))[:11]
    part = fitted._own(fitted.net, inputs[mixed], belief.member[mixed])
    assert torch.allclose(whole[mixed], part, atol=1e-5)
    one = fitted.net(inputs.expand(fitted.config.members, -1, -1))
    assert torch.allclose(whole[4], one[int(belief.member[4]), 4], atol=1e-5)


def test_imagination_stays_near_what_was_seen(fitted: EnsembleModel) -> None:
    belief = believed(fitted, np.zeros((5, 4), np.float32))
    for _ in range(300):
        belief = fitted.imagine(belief, actions_for(fitted, [1.0] * 5))
    assert (belief.values <= fitted.high).all() and float(fitted.high[0]) < 6


def test_transitions_never_cross_an_episodes_end() -> None:
    made = numbers.episodes(numbers.DISCRETE, 3, length=5)
    replay = Replay(numbers.DISCRETE, made)
    batch = replay.sample(np.random.default_rng(0), 40, 7, anywhere=True)
    starts = {int(at) for at in np.flatnonzero(batch.is_first[:, 0].numpy())}
    assert 0 < len(starts) < 40  # rows begin anywhere
    before, after, action, reward, _ = transitions(batch)
    wanted = np.stack([numbers.after(s, float(a) - 1) for s, a in zip(before.numpy(), action.numpy(), strict=True)])
    np.testing.assert_allclose(after.numpy(), wanted, atol=1e-6)
    np.testing.assert_allclose(reward.numpy(), after[:, 1].numpy(), atol=1e-6)


def test_large_numbers_survive_a_checkpoint(fitted: EnsembleModel, tmp_path: Path) -> None:
    fitted.mean[0] = 1e6  # more than half precision holds
    saved = checkpoint.save(TrainedDynamics(fitted, "cart"), tmp_path / "cart")  # type: ignore[arg-type]
    again = checkpoint.load_dynamics(saved, fitted.spec)
    for name, tensor in fitted.state_dict().items():
        assert torch.equal(again.parts["model"].state_dict()[name], tensor), name
    other = WorldSpec(**{**dict(fitted.spec), "actions": ("stop",)})
    with pytest.raises(CheckpointError, match="they differ in: actions.*gedanken learn cart"):
        checkpoint.load_dynamics(saved, other)
    fitted.mean[0] = 0.0


def test_only_worlds_of_numbers_have_an_ensemble() -> None:
    with pytest.raises(SpecError, match="shows a grid"):
        EnsembleModel(BABYAI, SIZES["debug"])
    with pytest.raises(CheckpointError, match="'rssm' comes with a controller"):
        checkpoint.build_dynamics(numbers.DISCRETE, "rssm", {})
    still = VectorField(name="state", variables=numbers.FIELD.variables[3:])
    with pytest.raises(SpecError, match="nothing that could change"):
        EnsembleModel(WorldSpec(**{**dict(numbers.DISCRETE), "observation": still}), SIZES["debug"])
    assert replace(EnsembleModel(numbers.DISCRETE, SIZES["debug"]).initial(2)).values.shape == (2, 4)


def test_a_number_between_uneven_bins_is_the_mean_of_its_neighbours() -> None:
    bins = symexp(torch.linspace(-4.6, 4.6, 41))
    numbers = torch.tensor([-200.0, -3.3, -0.004, 0.0, 0.1, 7.5, 90.0])
    place = between(bins, numbers)
    below = place.floor().long().clamp(max=39)
    share = place - below
    meant = (1 - share) * bins[below] + share * bins[below + 1]
    torch.testing.assert_close(meant, numbers.clamp(bins[0], bins[-1]), atol=1e-4, rtol=1e-4)


def test_a_number_that_never_differed_has_a_place() -> None:
    assert between(torch.ones(41), torch.ones(3)).isfinite().all()
