"""`gedanken learn` in a level of BabyAI: act there, learn from what happened, and keep that as a new checkpoint."""

from __future__ import annotations

import json
import time

import click

from gedanken.cli import NOT_REACHED, REACHED

TOGETHER = 32
"""Episodes that are played before it is said how many real actions were taken."""

MOST_EPISODES = 1000
"""Episodes that are learned from, the latest ones."""


def relearn(world_id: str, steps: int, size: str, seed: int, test: int, as_json: bool) -> int:
    """Take real actions until there are so many, learn anew from the episodes, and test on unseen ones.

    The agent pursues the level's own missions, by their right plans; nobody demonstrates how.
    """
    import numpy as np

    from gedanken.agent.execution import Job, execute_many
    from gedanken.agent.loading import load_practice, load_trained, places
    from gedanken.worldmodel import checkpoint
    from gedanken.worldmodel.adapt import SIZES, adapt, own_episodes
    from gedanken.worldmodel.checkpoint import CheckpointError, Trained
    from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
    from gedanken.worldmodel.experience import ExperienceStore
    from gedanken.worldmodel.learn import seen_seeds
    from gedanken.worlds.spec import Plan

    world, began = load_practice(world_id), time.perf_counter()
    trained = load_trained(None, world)
    if not isinstance(trained, Trained):
        raise CheckpointError(f"{trained.name} has no controller that could be taught anew")

    def success(one: Trained) -> list[bool]:
        env, jobs = world.make(), []
        for number in range(test):
            env.reset(seed=number)
            jobs.append(Job(world.id, number, Plan(steps=world.mission_steps(env))))
        patience = int(one.card.get("patience", 48))
        return [done.success for done in execute_many(load_practice, jobs, one.controller, patience=patience)]

    before = success(trained)
    with ExperienceStore(places().store) as store:
        mine = [e for _, e in store.recent(MOST_EPISODES, spec_hash=world.spec.hash) if e.world == world.id]
        used = {episode.seed for episode in mine}
        free = (s for s in range(FIRST_TRAINING_SEED + 70_000_000, FIRST_TRAINING_SEED + 80_000_000) if s not in used)
        while (taken := sum(map(len, mine))) < steps:
            seeds = [next(free) for _ in range(TOGETHER)]
            played = list(own_episodes(load_practice, world.id, seeds, trained.controller))
            store.append_many(played)
            mine += played
            reached = np.mean([episode.rewards.sum() > 0 for episode in played])
            click.echo(f"{sum(map(len, mine)):>7} real actions, {reached:.0%} of the last missions reached", err=True)
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
    kept = Trained(pupil.model, pupil.controller, path.name, path, card)
    checkpoint.save(kept, path, beside=trained.path)
    after = success(kept)
    answer = {"world": world.id, "steps": taken, "episodes": len(mine), "checkpoint": str(path)}
    answer |= {"seconds": time.perf_counter() - began, "test": {"before": before, "after": after}}
    tested = f"; unseen missions reached: {sum(before)} of {test} before, {sum(after)} after" if test else ""
    told = f"{world.id}: learned from {taken:,} real actions, checkpoint {path}{tested}. Next: --checkpoint {path.name}"
    click.echo(json.dumps(answer) if as_json else told)
    return NOT_REACHED if not all(after) else REACHED
