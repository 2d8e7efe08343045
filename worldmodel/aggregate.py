"""Practice in which the controller acts and the demonstrator only says what it would have done (dataset aggregation).

Ross et al., "A Reduction of Imitation Learning ... to No-Regret Online Learning", AISTATS 2011.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from gedanken.worldmodel.collect import Levels, Play, Practice, Turn, play, refuse_evaluation_seeds
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.episode import AGENT, Episode
from gedanken.worldmodel.tried import Tried, states_of
from gedanken.worlds.protocol import DemonstratedWorld


class _Row:
    """One episode under way in the batch."""

    def __init__(self, taken: tuple[Any, DemonstratedWorld, Any], seed: int, practice: Practice) -> None:
        self.taken, self.rng = taken, np.random.default_rng(seed)
        self.noise = self.rng.uniform(*practice.jostle) if self.rng.random() < practice.jostled else 0.0
        self.play: Play = play(*taken[1:], seed, practice, self.rng, AGENT)
        self.turn: Turn | None = None
        self.episode: Episode | None = None
        self.action, self.fresh = 0, True

    def advance(self, action: int | None) -> None:
        """Send an action (None to begin) and keep the next turn, or the episode when it ends."""
        try:
            self.turn = next(self.play) if action is None else self.play.send(action)
        except StopIteration as end:
            self.episode, self.turn = end.value, None
        self.fresh, self.action = action is None, action or 0


CHUNK = 500
"""Episodes that one process plays in a go; the same whatever the number of processes is."""


def aggregate(
    make: Callable[[str], DemonstratedWorld],
    levels: Sequence[tuple[str, float]],
    seeds: Sequence[int],
    controller: Controller,
    practice: Practice,
    batch: int = 128,
    workers: int = 1,
) -> Iterator[Episode]:
    """Yield one episode per seed, played by the controller in parallel processes, `batch` at a time in lockstep.

    As in earnest, it does less what it did before in the same state (`tried`); ahead it does not look.

    Raises ValueError for seeds that are kept for evaluation.
    """
    refuse_evaluation_seeds(seeds)
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    play_together = partial(_lockstep, make, levels, controller, practice, batch)
    if workers == 1:
        for chunk in chunks:
            yield from play_together(chunk)
        return
    with multiprocessing.get_context("spawn").Pool(workers, _begin, (play_together,)) as processes:
        for episodes in processes.imap(_chunk, chunks):
            yield from episodes


_here: dict[str, Callable[[Sequence[int]], Iterator[Episode]]] = {}


def _begin(play_together: Callable[[Sequence[int]], Iterator[Episode]]) -> None:
    torch.set_num_threads(1)
    _here["play"] = play_together


def _chunk(seeds: Sequence[int]) -> list[Episode]:
    return list(_here["play"](seeds))


@torch.no_grad()
def _lockstep(
    make: Callable[[str], DemonstratedWorld],
    levels: Sequence[tuple[str, float]],
    controller: Controller,
    practice: Practice,
    batch: int,
    seeds: Sequence[int],
) -> Iterator[Episode]:
    model, pool, waiting = controller.model, Levels(make, levels, practice), iter(seeds)
    chance = np.random.default_rng(seeds[0] if seeds else 0)
    rows: list[_Row] = []
    belief, tried = model.initial(batch), Tried(batch, len(model.spec.actions))
    while True:
        for index in range(batch):
            while index >= len(rows) or rows[index].turn is None:
                seed = next(waiting, None)
                if seed is None:
                    break
                row = _Row(pool.take(seed), seed, practice)
                row.advance(None)
                rows[index : index + 1] = [row]
                if row.episode is not None:
                    pool.back(*row.taken)
        live = [row for row in rows if row.turn is not None]
        if not live:
            return
        if len(live) < len(rows):  # the last ones: no seeds are waiting
            left = torch.tensor([i for i, row in enumerate(rows) if row.turn is not None])
            belief, tried, rows = belief[left], tried[left], live
        turns = [row.turn for row in rows if row.turn is not None]
        belief = model.observe(
            belief[: len(rows)],
            torch.tensor([row.action for row in rows]),
            torch.from_numpy(np.stack([turn.observation for turn in turns])),
            torch.tensor([row.fresh for row in rows]),
        )
        belief = model.begin_goal(belief, torch.tensor([turn.goal_begins for turn in turns]))
        begins = torch.tensor([turn.step_begins for turn in turns])
        belief, tried = model.begin_step(belief, begins), tried[torch.arange(len(rows))]
        tried.forget(begins)
        steps = torch.tensor(model.spec.plan_codes([turn.step for turn in turns]))
        states = states_of(model, belief, len(rows))
        chances = tried.chances(states, controller.act(belief, steps).exp().double()).numpy()
        actions = []
        for row, said in zip(rows, chances, strict=True):
            wanted = int(chance.choice(len(said), p=said))
            jostled = row.rng.random() < row.noise
            actions.append(int(row.rng.integers(len(said))) if jostled else wanted)
        tried.note(states, torch.tensor(actions))
        for row, action in zip(rows, actions, strict=True):
            row.advance(action)
            if row.episode is not None:
                pool.back(*row.taken)
                if len(row.episode):
                    yield row.episode
