"""`gedanken worlds` and `learn`: add somebody's own environment, and learn it by trying."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from gedanken.cli import NOT_REACHED, REACHED
from gedanken.options import json_option


@click.group(name="worlds", invoke_without_command=True)
@json_option
@click.pass_context
def worlds_command(context: click.Context, as_json: bool) -> int:
    """List the worlds there are; `gedanken worlds add` adds one."""
    from gedanken.agent.added import added
    from gedanken.worlds.babyai import SPEC, level_ids
    from gedanken.worlds.shipped import shipped_adapters

    if context.invoked_subcommand:
        return REACHED
    specs = {id: SPEC for id in level_ids()} | dict.fromkeys(shipped_adapters()) | added()
    if as_json:  # an environment that ships is made when it is used, so nobody knows yet whether it can be
        rows = [
            {"id": id, "kind": spec.name if spec else id, "spec": spec.hash if spec else None}
            for id, spec in specs.items()
        ]
        click.echo(json.dumps({"worlds": rows}))
    else:
        click.echo("\n".join(specs))
    return REACHED


@worlds_command.command(name="add")
@click.argument("environment", metavar="ID")
@click.option("--adapter", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A TOML file with names.")
@click.option("--as", "id", metavar="NAME", help="What to call the world.  [default: its id]")
@json_option
def add_command(environment: str, adapter: Path | None, id: str | None, as_json: bool) -> int:
    """Try a Gymnasium environment and keep it as a world.

    ID is what `gymnasium.make` takes, my_package:MyEnv-v0 for one that is in no registry yet, or an adapter's file.
    """
    from gedanken.agent.added import add_world

    world = add_world(environment, adapter=adapter, id=id)
    field = world.spec.vector
    if as_json:
        shown = {"id": world.id, "spec": world.spec.hash, "variables": list(field.names)}
        click.echo(json.dumps(shown | {"actions": list(world.spec.action_names)}))
        return REACHED
    parts = [*(["a picture"] if field.picture else []), *field.names[:-1]]
    click.echo(f"{world.id} is a world now: it shows {', '.join(parts)}")
    click.echo(f"and takes {', '.join(world.spec.action_names)}. Next: gedanken learn {world.id}")
    return REACHED


@click.command(name="learn")
@click.argument("world_id", metavar="WORLD", required=False)
@click.option("--planner", is_flag=True, help="The language model learns to plan instead; needs no WORLD.")
@click.option("--llm", default="embedded:planner", show_default=True, help="With --planner: the adapter to begin with.")
@click.option("--name", default="learned", show_default=True, help="With --planner: adapters NAME-1, NAME-2 are made.")
@click.option("--goals", type=click.IntRange(1, 10_000), default=100, help="With --planner: a round.  [default: 100]")
@click.option("--steps", type=click.IntRange(1), default=5000, show_default=True, help="Real actions in all.")
@click.option("--random", type=click.IntRange(1), default=500, show_default=True, help="So many at random, first.")
@click.option("--plan", "text", default="maximize(reward, for 9999)", show_default=True, help="Steps, joined by ';'.")
@click.option(
    "--acting",
    type=click.Choice(["policy", "search"]),
    default="policy",
    show_default=True,
    help="Practise a policy in imagination, or search before every action.",
)
@click.option(
    "--explored", type=click.FloatRange(0, 1), default=0.2, show_default=True, help="Share that seeks the unknown."
)
@click.option("--method", type=click.Choice(["cem", "mppi"]), default="cem", show_default=True, help="How to search.")
@click.option("--horizon", type=click.IntRange(1, 500), default=20, show_default=True, help="Actions imagined ahead.")
@click.option("--candidates", type=click.IntRange(2, 10_000), default=64, show_default=True, help="Tried in a round.")
@click.option(
    "--rounds",
    type=click.IntRange(1, 50),
    default=3,
    show_default=True,
    help="Rounds of a search; with --planner, of trying and training.",
)
@click.option("--size", type=click.Choice(["debug", "small", "base"]), default="small", show_default=True)
@click.option("--seed", type=click.IntRange(0, 1 << 30), default=0, show_default=True, help="Seed of everything.")
@click.option("--test", type=click.IntRange(0), default=0, show_default=True, help="Unseen episodes at the end.")
@json_option
def learn_command(
    world_id: str | None,
    planner: bool,
    llm: str,
    name: str,
    goals: int,
    steps: int,
    random: int,
    text: str,
    acting: str,
    explored: float,
    method: str,
    horizon: int,
    candidates: int,
    rounds: int,
    size: str,
    seed: int,
    test: int,
    as_json: bool,
) -> int:
    """Learn WORLD by trying: at random first, then what the model knows least, then what serves a plan.

    A policy is practised in imagination meanwhile, or with --acting search actions are searched for. The model and what
    was practised are kept as a checkpoint.

    A world of logs is learned from its logs alone, and --steps counts gradient steps. Where an adapter says under
    [learning] how its world is best learned, that is how, but for what is given here.

    Episodes that are stored already count, so the same command with more steps goes on. With --test the exit code is 3
    where the plan fails in some unseen episode.

    In a level of BabyAI the agent acts as its checkpoint lets it, and the checkpoint is taught anew by what happened:
    useful where actions do something else than it learned, as in BabyAI-GoToLocal-v0+swapped-turns. Only --steps,
    --size, --seed and --test count there.

    With --planner BabyAI's goals are pursued in rounds, and the language model is trained on the plans that met them;
    --test goals in other words are pursued with every round's adapter, to measure it.
    """
    if planner:
        return _learn_to_plan(llm, name, {"rounds": rounds, "goals": goals, "seed": seed, "test": test})
    if world_id is None:
        raise click.UsageError("say which WORLD to learn, or --planner")
    if world_id.startswith("BabyAI-"):
        from gedanken.relearn import relearn

        return relearn(world_id, steps, size, seed, test, as_json)
    import numpy as np
    import torch
    from pydantic import ValidationError
    from rich.console import Console

    from gedanken.agent.added import keep_learned, load_added, slug, unknown
    from gedanken.agent.loading import places
    from gedanken.agent.telling.window import Stages
    from gedanken.worldmodel import checkpoint
    from gedanken.worldmodel.ensemble import SIZES, EnsembleConfig
    from gedanken.worldmodel.experience import ExperienceStore
    from gedanken.worldmodel.fit import untrained
    from gedanken.worldmodel.trying import POLICIES, Apprentice, TryConfig, pursue, try_out
    from gedanken.worlds.adapter import said
    from gedanken.worlds.logs import LogWorld
    from gedanken.worlds.spec import SpecError

    world = load_added(world_id)
    if world is None:
        raise unknown(world_id)
    plan = world.spec.parse_plan(text.replace(";", "\n"))
    given = {name for name in ("steps", "random", "explored") if _said(name)}
    usual = {name: value for name, value in world.adapter.learning.items() if name not in given}
    known = TryConfig.model_fields.keys() - {"acting", "search", "seed"} | {"ways"}
    if strange := sorted(usual.keys() - known):
        raise SpecError(f"the adapter of {world_id} has under [learning] what nobody knows: {', '.join(strange)}")
    ways, policy, steps = usual.pop("ways", 1), usual.pop("policy", {}), usual.get("steps", steps)
    how = {"method": method, "horizon": horizon, "candidates": candidates, "rounds": rounds}
    offline = isinstance(world, LogWorld)
    tries = {"random": 1, "explored": 0.0} if offline else {"random": random, "explored": explored}
    practised = POLICIES[size].model_dump() | policy if isinstance(policy, dict) else policy
    try:
        sizes = EnsembleConfig.model_validate(SIZES[size].model_dump() | {"ways": ways})
        config = TryConfig.model_validate(
            {"steps": steps, "acting": acting, "seed": seed, **tries, **usual}
            | {"search": how | {"futures": sizes.members}, "policy": practised}
        )
    except ValidationError as error:
        raise SpecError(f"the adapter of {world_id}, [learning], {said(error)}") from error
    torch.manual_seed(seed)
    model, began = untrained(world.spec, size, sizes), time.perf_counter()
    ends = []
    with Stages(Console(stderr=True, highlight=False)) as stages:
        apprentice = Apprentice(model, plan, config, stages.begin)
        with ExperienceStore(places().store) as store:
            past = [episode for _, episode in store.episodes(spec_hash=world.spec.hash)]
            taken, rewards = sum(map(len, past)), list[float]()
            what = "logged transitions" if offline else "real actions"
            if offline:
                apprentice.learn(past, seed, steps=steps, last=True)
            else:
                stages.begin("acting")
            for tried in () if offline else try_out(world, apprentice, past):
                store.append(tried.episode)
                taken, rewards = taken + len(tried.episode), [*rewards, tried.reward]
                source = tried.episode.source
                stages.note(f"{taken:>7} steps  {source:<6}  {tried.ending:<8}  reward {tried.reward:.1f}")
            stages.begin("keeping what was learned")
            lived = [episode for _, episode in store.episodes(spec_hash=world.spec.hash)]
            path = checkpoint.next_path(slug(world.id))
            trained = keep_learned(apprentice, lived, path, {"data": f"{taken} {what}"})
        answer = {"world": world.id, "steps": taken, "checkpoint": str(path), "seconds": time.perf_counter() - began}
        answer["rewards"] = rewards
        if tests := 0 if offline else test:
            stages.begin(f"trying the plan in {tests} unseen episode{'s' if tests > 1 else ''}")
        for number in range(tests):
            env = world.make()
            ends.append(pursue(world, env, plan, number, trained.objective_actor, np.random.default_rng(number)))
            env.close()
            stages.note(f"test seed {number}: {ends[-1].ending}, reward {ends[-1].reward:.1f}")
    answer["test"] = [{"seed": e.episode.seed, "ending": e.ending, "reward": e.reward} for e in ends]
    told = f"{world.id}: {taken} {what}, checkpoint {path}. Next: gedanken chat --world {world.id}"
    click.echo(json.dumps(answer) if as_json else told)
    return NOT_REACHED if any(e.ending == "failed" for e in ends) else REACHED


def _said(name: str) -> bool:
    """Tell whether an option was given, and is not only what it usually is."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def _learn_to_plan(llm: str, name: str, values: dict[str, int]) -> int:
    from gedanken.upkeep import need_peft

    need_peft()
    from gedanken.agent import llm as language
    from gedanken.agent.agent import Agent
    from gedanken.agent.config import LoopConfig
    from gedanken.agent.llm.adapter import Adapter, resolve
    from gedanken.agent.llm.fetch import fetch
    from gedanken.agent.loading import load_judge, load_trained
    from gedanken.agent.plan_learning import PlanLearning, learn_to_plan
    from gedanken.worldmodel.checkpoint import home
    from gedanken.worlds.babyai import BabyAIWorld
    from gedanken.worlds.babyai_aims import LEVELS

    if values["seed"] >= 20:
        raise click.UsageError("--planner takes a --seed from 0 to 19")
    kind, _, adapter = llm.partition(":")
    if kind != "embedded" or not adapter:
        raise click.UsageError(f"{llm} can't learn here; choose an adapter of the embedded model, embedded:NAME")
    world = BabyAIWorld(LEVELS[0])
    trained = load_trained(None, world, *LEVELS)

    def agent(begin: Adapter, changes: dict[str, Any]) -> Agent:
        model = language.load(f"embedded:{begin.path}")
        config = LoopConfig.preset(**changes).practised(trained.card)
        judge = load_judge(trained, world, model, config)
        return Agent(world, llm=model, trained=trained, critic=judge, store=None, config=config)

    path = learn_to_plan(
        agent,
        BabyAIWorld,
        LEVELS,
        Adapter.open(resolve(adapter)),
        fetch(),
        PlanLearning.model_validate(values),
        name=name,
        folder=home() / "training" / name,
        say=lambda line: click.echo(line, err=True),
    )
    click.echo(str(path))
    return REACHED
