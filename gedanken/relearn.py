"""`gedanken learn` in a level of BabyAI: act there, learn from what happened, and keep that as a new checkpoint."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from gedanken.cli import NOT_REACHED, REACHED

if TYPE_CHECKING:
    from gedanken.worldmodel.checkpoint import Trained

TOGETHER = 32
"""Episodes that are played before it is said how many real actions were taken."""

MOST_EPISODES = 1000
"""Episodes that are learned from, the latest ones."""

FIRST = (1 << 30) + 900_000_000
"""Training seeds of the episodes that are played for it, from here on."""


def relearn(world_id: str, steps: int, size: str, seed: int, test: int, as_json: bool) -> int:
    """Take real actions until there are so many, learn anew from the episodes, and test on levels never lived through.

    The agent of the checkpoint that ships pursues the level's own missions, by their right plans; nobody demonstrates.
    """
    from gedanken.agent.loading import load_practice, load_trained, places
    from gedanken.worldmodel import checkpoint
    from gedanken.worldmodel.adapt import LATEST, SIZES, adapt, own_episodes, startling
    from gedanken.worldmodel.checkpoint import CheckpointError, Trained
    from gedanken.worldmodel.episode import AGENT
    from gedanken.worldmodel.experience import ExperienceStore
    from gedanken.worldmodel.learn import seen_seeds

    world, began = load_practice(world_id), time.perf_counter()
    trained = load_trained(None, world)
    if not isinstance(trained, Trained):
        raise CheckpointError(f"{trained.name} has no controller that could be taught anew")

    with ExperienceStore(places().store) as store:
        mine = [e for _, e in store.episodes(spec_hash=world.spec.hash, source=AGENT, world=world.id)]
        used, taken = store.seeds(world.id), sum(map(len, mine))
        tests = list(itertools.islice((n for n in itertools.count() if n not in used), test))
        before = _success(load_practice, world, trained, tests)
        free = (seed for seed in itertools.count(FIRST) if seed not in used)
        while taken < steps:
            seeds = list(itertools.islice(free, TOGETHER))
            played = list(own_episodes(load_practice, world.id, seeds, trained.controller))
            store.append_many(played)
            mine, taken = mine + played, taken + sum(map(len, played))
            reached = sum(float(episode.rewards.sum()) > 0 for episode in played)
            click.echo(f"{taken:>7} real actions, {reached} of the last {len(played)} missions reached", err=True)
    mine = mine[-MOST_EPISODES:]

    def tell(row: dict[str, float]) -> None:
        if row["step"] % 20 == 0:
            what = "imagined" if "imagined" in row else "real"
            losses = ", ".join(f"{k} {v:.2f}" for k, v in row.items() if k not in ("step", "frames_per_second"))
            click.echo(f"{row['step']:>7.0f} gradient steps, {what}: {losses}", err=True)

    pupil = adapt(trained, mine, SIZES[size].model_copy(update={"seed": seed}), tell)
    path = checkpoint.next_path(checkpoint.stem_of(trained.name))
    learnt = f"{len(mine)} episodes of the agent's in {world.id}, from {trained.name}"
    card = {**trained.card, "learnt": learnt, "seen": seen_seeds(trained.card, mine)}
    card |= {"surprise": startling(pupil, mine[-LATEST:])}
    kept = Trained(pupil.model, pupil.controller, path.name, path, card)
    checkpoint.save(kept, path, beside=trained.path)
    after = _success(load_practice, world, kept, tests)
    actions = sum(map(len, mine))
    answer = {"world": world.id, "steps": actions, "episodes": len(mine), "checkpoint": str(path)}
    answer |= {"seconds": time.perf_counter() - began, "test": {"before": before, "after": after}}
    tested = f"; unseen missions reached: {sum(before)} of {test} before, {sum(after)} after" if test else ""
    told = (
        f"{world.id}: learned from {actions:,} real actions{tested}; checkpoint {path}. Next: --checkpoint {path.name}"
    )
    click.echo(json.dumps(answer) if as_json else told)
    return NOT_REACHED if not all(after) else REACHED


def _success(make_world: Callable[[str], Any], world: Any, trained: Trained, seeds: Sequence[int]) -> list[bool]:
    """Tell in which levels a right plan, carried out by the controller, is rewarded."""
    from gedanken.agent.execution import Job, execute_many
    from gedanken.worlds.spec import Plan

    env, jobs = world.make(), []
    for seed in seeds:
        env.reset(seed=seed)
        jobs.append(Job(world.id, seed, Plan(steps=world.mission_steps(env))))
    patience = int(trained.card.get("patience", 48))
    return [done.success for done in execute_many(make_world, jobs, trained.controller, patience=patience)]
