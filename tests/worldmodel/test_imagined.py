"""The learned model as a Gymnasium environment: seeded, bounded, honest about what it lacks and doubts."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from gedanken.worldmodel.checkpoint import CheckpointError, Trained, build
from gedanken.worldmodel.imagined import ImaginedEnv, Thing
from gedanken.worldmodel.rssm import SIZES as RSSM_SIZES
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.spec import SpecError

WORLD = BabyAIWorld("BabyAI-GoToLocal-v0")


def trained(family: str = "spatial") -> Trained:
    torch.manual_seed(1)
    sizes = SIZES if family == "spatial" else RSSM_SIZES
    model, controller = build(SPEC, family, sizes["debug"].model_dump())
    return Trained(model, controller.eval(), "tiny")


@pytest.fixture(scope="module")
def tiny() -> Trained:
    return trained()


@pytest.mark.parametrize("family", ["spatial", "rssm"])
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes.*:UserWarning")
def test_it_is_a_gymnasium_environment(family: str) -> None:
    check_env(ImaginedEnv(trained(family), WORLD, start_seed=3))


def test_the_seed_decides_a_dream_and_nobody_elses_chances(tiny: Trained) -> None:
    env, other = ImaginedEnv(tiny, WORLD, start_seed=3), ImaginedEnv(tiny, WORLD, start_seed=3)
    torch.manual_seed(5)
    before = torch.get_rng_state()

    def dream(env: ImaginedEnv, seed: int) -> list[np.ndarray]:
        views = [env.reset(seed=seed)[0]]
        for action in (0, 2, 2, 1, 5, 2, 0, 0, 2, 3):
            env.changes(5)  # only asks
            views.append(env.step(np.int64(action))[0])
        return views

    first, again, another = dream(env, 7), dream(other, 7), dream(env, 8)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, another, strict=True))
    assert torch.equal(before, torch.get_rng_state())


def test_it_begins_with_what_the_real_environment_shows(tiny: Trained) -> None:
    env, real = ImaginedEnv(tiny, WORLD, start_seed=3), WORLD.make(free=True)
    raw, _ = real.reset(seed=3)
    shown = WORLD.observation(raw)
    env.reset(seed=1)
    grid, (row, column) = env.known()
    assert np.array_equal(grid[row - 6 : row, column - 3 : column + 4], shown[:-1])


def test_what_is_asked_for_is_there_or_said_to_be_missing(tiny: Trained) -> None:
    env = ImaginedEnv(tiny, WORLD, start_seed=3, there=["purple box behind you", "locked blue door"])
    words = zip(SPEC.grid.channels, ("door", "blue", "locked"), strict=True)
    locked = [channel.categories.index(word) for channel, word in words]
    for seed in range(4):
        _, info = env.reset(seed=seed)
        cells = env.model.supposed(env.belief)[0].reshape(-1, 3).tolist()  # type: ignore[attr-defined]
        assert (locked in cells) != ("locked blue door" in info["missing"])


def test_info_says_how_unsure_the_model_is() -> None:
    env = ImaginedEnv(trained(), WORLD, start_seed=3)
    with torch.no_grad():
        for parameter in env.model.change.parameters():  # type: ignore[attr-defined]
            parameter += torch.randn_like(parameter)  # members that differ
    _, info = env.reset(seed=0)
    assert info["disagreement"] == 0.0 and not info["doubts"].any() and info["missing"] == []
    before = env.belief
    *_, info = env.step(np.int64(2))
    act = torch.tensor([2])
    assert info["disagreement"] == pytest.approx(float(env.model.disagreement(before, act)))
    assert info["doubts"].shape == (7, 7) and 0 < info["doubts"].sum() <= info["disagreement"] + 1e-5
    assert info["doubts"][:4].sum() == 0  # an action changes nothing far away


def test_it_ends_after_its_length(tiny: Trained) -> None:
    env = ImaginedEnv(tiny, WORLD, length=3)
    env.reset(seed=0)
    assert [env.step(np.int64(0))[3] for _ in range(3)] == [False, False, True]


def test_things_are_read_as_plans_name_them() -> None:
    thing = Thing.parse(SPEC, "locked blue door on your left")
    assert str(thing.step) == "go_to(blue door on your left)" and thing.codes == ((2, 2),)
    for text in ("blue", "dragon", "door locked", ""):
        with pytest.raises(SpecError):
            Thing.parse(SPEC, text)


def test_a_model_without_a_map_can_be_asked_for_nothing() -> None:
    with pytest.raises(CheckpointError, match="imagines no map"):
        ImaginedEnv(trained("rssm"), WORLD, there=["red ball"])


def thing(text: str) -> Thing:
    return Thing.parse(SPEC, text)


def doors(env: ImaginedEnv, state: str) -> int:
    codes = [SPEC.grid.channels[0].categories.index("door"), SPEC.grid.channels[2].categories.index(state)]
    shown = env.model.supposed(env.belief)[0]  # type: ignore[attr-defined]
    return int((shown[..., ::2] == torch.tensor(codes)).all(-1).sum())


def with_a_door(tiny: Trained) -> ImaginedEnv:
    env = ImaginedEnv(tiny, BabyAIWorld("BabyAI-OpenDoor-v0"), start_seed=3, there=["locked door"])
    for seed in range(20):
        if not env.reset(seed=seed)[1]["missing"]:
            return env
    raise AssertionError("no dream has a locked door")


def test_a_thing_becomes_another_and_what_is_so_stays(tiny: Trained) -> None:
    env = with_a_door(tiny)
    locked, opened = doors(env, "locked"), doors(env, "open")
    _, info = env.happen(thing("open door"), thing("locked door"))
    assert info["missing"] == [] and doors(env, "locked") == locked - 1 and doors(env, "open") == opened + 1
    for _ in range(locked - 1):
        env.happen(thing("open door"), thing("locked door"))
    before = env.belief
    _, info = env.happen(thing("open door"), thing("locked door"))
    assert info["missing"] == ["open door"] and bool(env.model.same(before, env.belief))
    assert env.taken == 0


def test_what_was_never_seen_does_not_happen(tiny: Trained) -> None:
    env, usual = with_a_door(tiny), tiny.model.usual.clone()  # type: ignore[attr-defined]
    tiny.model.usual.zero_()  # type: ignore[attr-defined]
    before = env.belief
    _, info = env.happen(thing("closed door"), thing("locked door"))
    tiny.model.usual.copy_(usual)  # type: ignore[attr-defined]
    assert info["missing"] == ["closed door"] and bool(env.model.same(before, env.belief))


def test_the_nearest_thing_in_sight_comes_first(tiny: Trained) -> None:
    env = ImaginedEnv(tiny, BabyAIWorld("BabyAI-OpenDoor-v0"), start_seed=3)
    env.reset(seed=0)
    cells = torch.ones(1, 13, 13, dtype=torch.bool)
    [[_, row, column]] = env._nearest(env.belief, cells).nonzero().tolist()
    assert abs(row - 6) + abs(column - 6) == 1
    known = env.model.known(env.belief)[0, ..., 0] != SPEC.grid.hidden  # type: ignore[attr-defined]
    cells = torch.zeros_like(cells)
    cells[0, 8, 6] = True
    cells[0, *known.nonzero()[0].tolist()] = True  # farther away, and seen
    assert env._nearest(env.belief, cells)[0][known].any()
    cells = torch.zeros_like(cells)
    cells[0, 6, 6] = True  # the agent's own
    assert not env._nearest(env.belief, cells).any()


def test_what_appears_is_out_of_sight_and_what_was_seen_stays(tiny: Trained) -> None:
    env = ImaginedEnv(tiny, WORLD, start_seed=3)
    view, _ = env.reset(seed=1)
    known, _ = env.known()
    _, info = env.happen(thing("purple box behind you"))
    assert bool(env._has(env.belief, thing("purple box behind you"))) != bool(info["missing"])
    assert np.array_equal(known, env.known()[0])


def test_without_a_map_nothing_happens_by_itself() -> None:
    env = ImaginedEnv(trained("rssm"), WORLD)
    with pytest.raises(CheckpointError, match="imagines no map"):
        env.happen(thing("red ball"))


def test_the_example_of_the_docs_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text()
    [example] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "ImaginedEnv(" in block]
    exec(compile(example, "embedding.md", "exec"), {})
    assert capsys.readouterr().out.count("You carry nothing.") == 3
