from typing import Any

import numpy as np
import pytest
import torch

from gedanken.worldmodel.aggregate import aggregate
from gedanken.worldmodel.checkpoint import build
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Levels, Practice, play, practise
from gedanken.worldmodel.episode import AGENT, EXPERT, Episode
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC, BabyAIWorld

LEVELS = [("BabyAI-GoToLocal-v0", 1.0), ("BabyAI-PickupLoc-v0", 2.0)]


def seeds(n: int, skip: int = 0) -> range:
    return range(FIRST_TRAINING_SEED + skip, FIRST_TRAINING_SEED + skip + n)


def collected(n: int, skip: int = 0, **changes: Any) -> list[Episode]:
    return list(practise(BabyAIWorld, LEVELS, seeds(n, skip), Practice(**changes)))


def same(first: Episode, second: Episode) -> bool:
    arrays = ("observations", "actions", "rewards", "step_index", "origin", "expert", "achieved")
    plain = ("world", "seed", "goal", "steps", "terminated")
    return all(np.array_equal(getattr(first, a), getattr(second, a)) for a in arrays) and all(
        getattr(first, name) == getattr(second, name) for name in plain
    )


def lived_through(episode: Episode, practice: Practice) -> bool:
    """Tell whether the environment of the episode's seed answers its actions with its observations."""
    key, world, env = Levels(BabyAIWorld, LEVELS, practice).take(episode.seed)
    raw, _ = env.reset(seed=episode.seed)
    views = [world.observation(raw), *(world.observation(env.step(int(a))[0]) for a in episode.actions)]
    return key[0] == episode.world and np.array_equal(np.stack(views), episode.observations)


def test_an_episode_follows_from_its_seed_whatever_came_before_it() -> None:
    together = collected(12)
    assert len({e.observations.tobytes() for e in together}) == len(together) == 12
    assert {e.world for e in together} == {name for name, _ in LEVELS}
    alone = collected(3, skip=9)
    assert all(same(a, b) for a, b in zip(together[9:], alone, strict=True))
    assert all(lived_through(e, Practice()) for e in together)


def test_evaluation_seeds_are_refused() -> None:
    bad = range(FIRST_TRAINING_SEED - 1, FIRST_TRAINING_SEED + 1)
    with pytest.raises(ValueError, match="those below are for evals"):
        next(practise(BabyAIWorld, LEVELS, bad, Practice()))
    with pytest.raises(ValueError, match="those below are for evals"):
        next(aggregate(BabyAIWorld, LEVELS, bad, build(SPEC, "spatial", SIZES["debug"].model_dump())[1], Practice()))


def test_running_out_of_time_is_not_an_ending() -> None:
    world = BabyAIWorld("BabyAI-GoToLocal-v0")
    env: Any = world.make()
    begun = play(world, env, FIRST_TRAINING_SEED, Practice(patience=1000), np.random.default_rng(0))
    next(begun)
    with pytest.raises(StopIteration) as end:
        while True:
            begun.send(0)
    assert len(end.value.value) == env.unwrapped.max_steps and not end.value.value.terminated


def test_a_step_in_which_nothing_happens_is_given_up() -> None:
    world = BabyAIWorld("BabyAI-GoToLocal-v0")
    begun = play(world, world.make(), FIRST_TRAINING_SEED, Practice(standstill=4), np.random.default_rng(0))
    next(begun)
    with pytest.raises(StopIteration) as end:
        while True:
            begun.send(4)  # drop, with nothing in hand
    assert len(end.value.value) == 4 and not end.value.value.achieved.any()


def test_undisturbed_missions_are_solved_and_followed_to_the_letter() -> None:
    episodes = collected(12, missions=1.0, jostled=0.0)
    assert sum(e.terminated and e.rewards[-1] > 0 for e in episodes) >= 11
    for episode in episodes:
        assert episode.source == EXPERT and episode.goal and episode.spec_hash == SPEC.hash
        assert np.array_equal(episode.actions, episode.expert)
        assert episode.origin.tolist() == [0] * len(episode.steps)
        assert np.flatnonzero(episode.achieved).tolist() == [
            int(np.flatnonzero(episode.step_index == k)[-1]) for k in range(len(episode.steps))
        ]


def test_practice_draws_several_steps_each_with_its_beginning() -> None:
    episodes = collected(12, missions=0.0, jostled=0.0)
    assert max(len(e.steps) for e in episodes) >= 3
    for episode in episodes:
        assert episode.goal == "" and not episode.terminated and not episode.rewards.any()
        assert [str(SPEC.parse_step(step)) for step in episode.steps] == list(episode.steps)
        assert (np.diff(episode.step_index) >= 0).all()
        for k, origin in enumerate(episode.origin):
            frames = np.flatnonzero(episode.step_index == k)
            assert not len(frames) or origin <= frames[0]


def test_jostled_episodes_keep_the_advice_beside_what_was_done() -> None:
    episodes = collected(12, jostled=1.0, jostle=(0.5, 0.5))
    astray = np.concatenate([e.actions != e.expert for e in episodes])
    assert 0.3 < astray.mean() < 0.55  # half are random, and one in six of those is what was advised
    assert all((e.expert >= 0).all() and (e.expert < len(SPEC.actions)).all() for e in episodes)


def test_the_agent_practises_many_rows_at_once_without_mixing_them_up() -> None:
    _, controller = build(SPEC, "spatial", SIZES["debug"].model_dump())
    practice = Practice(patience=10)
    episodes = list(aggregate(BabyAIWorld, LEVELS, seeds(9), controller.eval(), practice, batch=4))
    assert sorted(e.seed for e in episodes) == list(seeds(9))
    assert {e.source for e in episodes} == {AGENT}
    assert all(lived_through(e, practice) for e in episodes)
    assert np.concatenate([e.actions != e.expert for e in episodes]).mean() > 0.3  # it has learned nothing yet


def test_two_processes_play_what_one_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gedanken.worldmodel.aggregate.CHUNK", 3)
    torch.manual_seed(0)
    _, controller = build(SPEC, "spatial", SIZES["debug"].model_dump())
    alone, together = (
        list(aggregate(BabyAIWorld, LEVELS, seeds(5), controller.eval(), Practice(patience=8), batch=2, workers=n))
        for n in (1, 2)
    )
    assert len(alone) == len(together) == 5
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))
