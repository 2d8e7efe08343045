"""The family `pictures`: it sees, reads and imagines what it has seen; the store stays small, and memory bounded."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from puck import write_files

from gedanken.worldmodel.checkpoint import TrainedDynamics, load_dynamics, save
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.ensemble import SIZES, EnsembleBelief
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.fit import fit, startling, untrained
from gedanken.worldmodel.pictured import PicturesModel
from gedanken.worldmodel.trying import Apprentice, TryConfig, pursue
from gedanken.worlds.adapter import read_adapter
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.spec import SpecError

pytestmark = pytest.mark.timeout(1200)  # it trains, and that takes long where others use the machine


AHEAD, FUTURES = 8, 6


@pytest.fixture(scope="module")
def puck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GymWorld]:
    folder = write_files(tmp_path_factory.mktemp("puck"))
    sys.path.insert(0, str(folder))
    yield GymWorld(read_adapter(folder / "puck.toml"), "puck")
    sys.path.remove(str(folder))
    sys.modules.pop("my_puck", None)
    gymnasium.registry.pop("Puck-v0", None)


@pytest.fixture(scope="module")
def lived(puck: GymWorld) -> list[Episode]:
    env, plan = puck.make(), puck.spec.parse_plan("maximize(reward, for 9999)")
    return [pursue(puck, env, plan, seed, None, np.random.default_rng(seed)).episode for seed in range(10)]


@pytest.fixture(scope="module")
def model(puck: GymWorld, lived: list[Episode]) -> PicturesModel:
    torch.manual_seed(0)
    made = untrained(puck.spec, "debug", SIZES["debug"])
    assert isinstance(made, PicturesModel)
    made.learn_to_see(lived, steps=500, seed=0)
    fit(made.inner, made.encoded(lived), steps=200, seed=0)
    return made


def seen_in(model: PicturesModel, episode: Episode) -> torch.Tensor:
    """Return what was seen in an episode, [T + 1, variables + pixels]."""
    assert episode.frames is not None
    return torch.from_numpy(model.picture.joined(episode.observations, model.picture.stacked(episode.frames)))


def believed(model: PicturesModel, seen: torch.Tensor) -> EnsembleBelief:
    return model.observe(model.initial(len(seen)), torch.zeros(0), seen, torch.zeros(0))


def test_ten_episodes_are_seen_and_imagined(model: PicturesModel, lived: list[Episode]) -> None:
    off = {"read": 0.0, "foretold": 0.0, "frozen": 0.0, "drawn": 0.0, "usual": 0.0}
    usual = model.eye.usual.permute(1, 2, 0) * 255
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for episode in lived:
            seen = seen_in(model, episode)
            told, film, belief = seen[:, :2], seen[:, -usual.numel() :].view(-1, *usual.shape), believed(model, seen)
            off["read"] += float((model.readout(belief).observation - told).abs().mean())
            off["drawn"] += float((model.drawn(belief).float() - film).abs().mean())
            off["usual"] += float((usual - film).abs().mean())
            begins = torch.arange(0, len(episode) - AHEAD + 1, AHEAD)
            state = model.suppose(believed(model, seen[begins].repeat_interleave(FUTURES, 0)), torch.zeros(0))
            for now in range(AHEAD):
                action = torch.from_numpy(episode.actions[begins + now])
                state = model.imagine(state, action.repeat_interleave(FUTURES, 0))
            ahead = model.readout(state).observation.view(len(begins), FUTURES, 2).mean(1)
            off["foretold"] += float((ahead - told[begins + AHEAD]).abs().mean())
            off["frozen"] += float((told[begins] - told[begins + AHEAD]).abs().mean())
    assert off["read"] / len(lived) < 0.15 * model.scale.mean(), "x and y are read off"
    assert off["foretold"] < 0.8 * off["frozen"], off
    assert off["drawn"] < 0.8 * off["usual"], "it draws more than the mean picture"


def test_motion_is_what_what_is_seen_comes_to(model: PicturesModel, lived: list[Episode]) -> None:
    seen = seen_in(model, lived[0])[5:9]
    belief = model.observe(model.initial(4), torch.zeros(4), seen, torch.ones(4, dtype=torch.bool))
    after = model.imagine(belief, torch.arange(4))
    latents = model.config.eye.latents
    now, then = belief.values[:, :latents], after.values[:, :latents]
    assert torch.equal(after.values[:, latents:], then - now)
    frames = lived[0].frames
    assert frames is not None
    before = model.eye.see(torch.from_numpy(frames[5:9]))
    assert torch.allclose(belief.values[:, latents:], now - before, atol=1e-5)
    assert model.drawn(after).shape == (4, 32, 32, 3) and model.drawn(after).dtype == torch.uint8
    assert model.features(after).shape[1] == 2 * latents + 2


def test_losses_need_the_pixels(model: PicturesModel, lived: list[Episode]) -> None:
    batch = Replay(model.spec, lived).sample(np.random.default_rng(0), 2, 4)
    whole = torch.stack([seen_in(model, lived[0])[:4]] * 2)
    losses, belief = model.loss(dataclasses.replace(batch, observation=whole))
    assert all(torch.isfinite(loss) for loss in losses.values()) and len(belief.values) == 8
    with pytest.raises(ValueError, match="has no frames"):
        model.encoded([dataclasses.replace(lived[0], frames=None)])


def test_it_is_saved_and_comes_back(model: PicturesModel, lived: list[Episode], tmp_path: Path) -> None:
    save(TrainedDynamics(model, "p"), tmp_path / "p")  # type: ignore[arg-type]
    again = load_dynamics(tmp_path / "p", model.spec).model
    assert isinstance(again, PicturesModel)
    seen, first = seen_in(model, lived[1])[:3], torch.ones(3, dtype=torch.bool)
    one, other = (m.observe(m.initial(3), torch.zeros(3), seen, first) for m in (model, again))
    assert torch.equal(one.values, other.values) and torch.equal(model.drawn(one), again.drawn(other))
    assert startling(again, lived[:2]) >= 120


def test_every_frame_is_stored_once_and_small(lived: list[Episode], tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with ExperienceStore(path) as store:
        store.append_many(lived)
        back = [episode for _, episode in store.episodes()]
    for one, other in zip(lived, back, strict=True):
        assert one.frames is not None and other.frames is not None and other.frames.dtype == np.uint8
        assert np.array_equal(one.frames, other.frames) and len(one.frames) == len(one) + 2
        assert np.array_equal(one.observations, other.observations) and one.observations.shape[1] == 2
    frames = sum(len(episode.frames) for episode in lived if episode.frames is not None)
    assert path.stat().st_size / frames < 400, "bytes a frame, of 3,072"
    with pytest.raises(ValueError, match="frames has"):
        dataclasses.replace(lived[0], frames=lived[0].frames[:3])  # type: ignore[index]


def test_no_more_pictures_are_learned_from_than_memory_holds(puck: GymWorld) -> None:
    model = untrained(puck.spec, "debug", SIZES["debug"])
    plan = puck.spec.parse_plan("maximize(reward, for 9)")
    with pytest.raises(SpecError, match=r"400,000 of them are too many .* at most 349,525 steps"):
        Apprentice(model, plan, TryConfig(steps=400_000))
