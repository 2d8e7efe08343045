from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from gedanken.worldmodel.data import Replay, frames_of
from gedanken.worldmodel.episode import EXPERT, Episode
from gedanken.worldmodel.protocol import Batch
from gedanken.worlds.babyai import SPEC

STEPS = ("pick_up(red ball)", "open(blue door behind you)")
LEFT, RIGHT, FORWARD, PICKUP = range(4)
NOTHING = (-1,) * len(SPEC.step_sizes)


def tiny(mark: int = 1, length: int = 4, *, terminated: bool = True) -> Episode:
    """Return an episode of two steps: the first achieved by transition 1, the second never; `mark` is in every view."""
    views = np.full((length + 1, 7, 7, 3), mark, np.uint8)
    views[:, 0, 0, 0] = np.arange(length + 1)
    return Episode(
        world="BabyAI-GoToLocal-v0",
        spec_hash=SPEC.hash,
        seed=mark,
        source=EXPERT,
        goal="",
        observations=views,
        actions=np.array([FORWARD, PICKUP, LEFT, FORWARD][:length], np.uint8),
        rewards=np.array([0, 0, 0, 1][:length], np.float32),
        terminated=terminated,
        steps=STEPS,
        step_index=np.array([0, 0, 1, 1][:length], np.int16),
        origin=np.array([0, 2], np.int16),
        expert=np.array([FORWARD, PICKUP, RIGHT, FORWARD][:length], np.int8),
        achieved=np.array([False, True, False, False][:length]),
    )


def test_every_column_is_aligned_on_observations() -> None:
    first, second = (SPEC.step_codes(SPEC.parse_step(step)) for step in STEPS)
    frames = {name: column.tolist() for name, column in frames_of(SPEC, tiny()).items()}
    assert set(frames) == {field.name for field in fields(Batch)}
    assert [view[0][0][0] for view in frames["observation"]] == [0, 1, 2, 3, 4]
    assert frames["is_first"] == [True, False, False, False, False]
    assert frames["action"] == [0, FORWARD, PICKUP, LEFT, FORWARD]
    assert frames["taken"] == [FORWARD, PICKUP, LEFT, FORWARD, -1]
    assert frames["expert"] == [FORWARD, PICKUP, RIGHT, FORWARD, -1]
    assert frames["reward"] == [0, 0, 0, 0, 1]
    assert frames["continues"] == [1, 1, 1, 1, 0]
    assert frames["goal_begins"] == [True, False, True, False, False]
    assert frames["step_begins"] == [True, False, True, False, False]
    assert list(map(tuple, frames["step"])) == [first, first, second, second, NOTHING]
    assert list(map(tuple, frames["step_before"])) == [NOTHING, first, first, second, second]
    assert frames["achieved"] == [False, False, True, False, False]
    assert frames["to_go"] == [2, 1, -1, -1, -1]


def test_an_episode_that_was_cut_off_goes_on() -> None:
    assert frames_of(SPEC, tiny(terminated=False))["continues"].tolist() == [1] * 5


def test_frames_without_a_step_pursue_nothing() -> None:
    episode = replace(tiny(), step_index=np.array([0, 0, -1, 1], np.int16))
    frames = frames_of(SPEC, episode)
    assert [tuple(step) == NOTHING for step in frames["step"]] == [False, False, True, False, True]
    assert [tuple(step) == NOTHING for step in frames["step_before"]] == [True, False, False, True, False]


def test_to_go_counts_to_the_first_time_that_a_step_is_achieved() -> None:
    episode = replace(tiny(), step_index=np.zeros(4, np.int16), achieved=np.array([False, False, True, True]))
    assert frames_of(SPEC, episode)["to_go"].tolist() == [3, 2, 1, -1, -1]


def test_rows_are_packed_end_to_end_and_begin_where_episodes_do() -> None:
    marks = (1, 2, 3)
    replay = Replay(SPEC, [tiny(mark) for mark in marks])
    assert len(replay) == 3 and replay.frames == 15
    batch = replay.sample(np.random.default_rng(0), 64, 8)
    assert batch.observation.shape == (64, 8, 7, 7, 3) and batch.step.shape == (64, 8, len(SPEC.step_sizes))
    assert batch.is_first[:, 0].all() and batch.is_first.sum(1).eq(2).all() and batch.is_first[:, 5].all()
    which, frame = batch.observation[..., 6, 6, 0], batch.observation[..., 0, 0, 0]
    assert set(which[:, 0].tolist()) == {1, 2}  # a row from the third would run over the end
    assert torch.equal(which[:, 5], which[:, 0] + 1)
    assert torch.equal(frame[0], torch.tensor([0, 1, 2, 3, 4, 0, 1, 2], dtype=torch.uint8))
    assert torch.equal(batch.taken[:, 4], torch.full((64,), -1))


def test_rows_longer_than_all_episodes_begin_again() -> None:
    batch = Replay(SPEC, [tiny()]).sample(np.random.default_rng(0), 2, 12)
    assert batch.is_first.nonzero()[:, 1].tolist() == [0, 5, 10] * 2


def test_sampling_repeats_with_its_seed() -> None:
    replay = Replay(SPEC, [tiny(mark) for mark in range(1, 9)])
    first, second, other = (replay.sample(np.random.default_rng(seed), 6, 5).observation for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_episodes_of_another_spec_and_none_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="episode of spec 0123"):
        Replay(SPEC, [tiny(), replace(tiny(), spec_hash="0123")])
    with pytest.raises(ValueError, match="gedanken collect"):
        Replay(SPEC, [])


def test_an_episode_whose_lengths_contradict_each_other_is_refused() -> None:
    with pytest.raises(ValueError, match="observations has 4, needs 5"):
        replace(tiny(), observations=tiny().observations[1:])
    with pytest.raises(ValueError, match="origin has 2, needs 1"):
        replace(tiny(), steps=STEPS[:1])
