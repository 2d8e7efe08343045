"""`gedanken run`, `plan` and `demo`: one goal, told on stderr, answered on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gedanken.cli import INTERRUPTED, NOT_REACHED, REACHED, explain
from gedanken.options import json_option, loop_options, seed_option, split, world_option, yes_option

if TYPE_CHECKING:
    from gedanken.agent.events import Outcome
    from gedanken.agent.mind import Sink
    from gedanken.worlds.protocol import World

trace_option = click.option(
    "--trace", type=click.Path(dir_okay=False, path_type=Path), help="Write every event as a line of JSON to this file."
)
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Tell no story on stderr.")

PIPE_WIDTH = 120
"""Columns of the story where there is no terminal."""

SHOWN = 200
"""Characters of a refused goal that are repeated."""

DEMO_WORLD, DEMO_SEED = "BabyAI-UnlockLocalDist-v0", 600_003


@click.command(name="run")
@click.argument("goal", required=False)
@world_option
@seed_option
@json_option
@yes_option
@trace_option
@quiet_option
@loop_options
def run_command(goal: str | None, **options: Any) -> int:
    """Reach GOAL in a real environment, rehearsed first; without GOAL, the environment's own mission.

    In a terminal you are asked before anything is done (--yes: you are not).
    """
    return pursue(goal, execute=True, **options)


@click.command(name="plan")
@click.argument("goal", required=False)
@world_option
@seed_option
@json_option
@trace_option
@quiet_option
@loop_options
def plan_command(goal: str | None, **options: Any) -> int:
    """Imagine how GOAL could be reached, and how likely it is; nothing is done and nothing is stored."""
    return pursue(goal, execute=False, yes=True, **options)


@click.command(name="demo")
@json_option
@trace_option
@quiet_option
@loop_options
def demo_command(**options: Any) -> int:
    """Watch the whole loop once: a mission of a real BabyAI level, from words to what was learnt."""
    return pursue(None, execute=True, yes=True, world=DEMO_WORLD, seed=DEMO_SEED, **options)


def pursue(goal: str | None, *, as_json: bool, **options: Any) -> int:
    """Reach or imagine a goal and return the exit code; with --json an error is an object, too."""
    try:
        return _pursue(goal, as_json=as_json, **options)
    except click.ClickException:
        raise
    except Exception as error:
        if as_json:
            click.echo(json.dumps({"status": "error", "success": False, "message": explain(error)}))
        raise


def _pursue(
    goal: str | None,
    *,
    execute: bool,
    world: str,
    seed: int,
    as_json: bool,
    yes: bool,
    trace: Path | None,
    quiet: bool,
    **options: Any,
) -> int:
    config = split(options)
    from rich.console import Console

    from gedanken.agent.events import ApprovalAsked, Event
    from gedanken.agent.events import Outcome as Ended
    from gedanken.agent.goals import GoalError, check_goal
    from gedanken.agent.interrupts import Interrupts, whole
    from gedanken.agent.telling.story import Story
    from gedanken.agent.telling.window import waiting
    from gedanken.agent.trace import Trace

    tracer = Trace(trace)
    last: list[Outcome] = []
    console = Console(stderr=True, quiet=quiet, highlight=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)
    if goal is not None:
        try:
            goal = check_goal(goal)  # before anything slow is loaded
        except GoalError as error:
            from gedanken.agent.loading import load_world

            outcome = refusal(goal, str(error), load_world(world), seed, Story(load_world(world).spec, console), tracer)
            click.echo(json.dumps(tracer.answer(outcome)) if as_json else sentence(outcome))
            return NOT_REACHED
    with contextlib.ExitStack() as stack:
        with waiting(console, "Waking up world model, critic and language model"):
            from gedanken.agent.loading import open_agent  # takes seconds

            agent = stack.enter_context(open_agent(world, config, keep=execute))
        story, interrupts = Story(agent.world.spec, console), Interrupts()

        def hear(event: Event) -> None:
            if isinstance(event, Ended):
                last.append(event)
            tracer(event)
            story(event)
            interrupts(event)

        def ask(asked: ApprovalAsked) -> bool:
            try:
                return click.confirm(f"Do it? {asked.success:.0%} expected", default=False, err=True)
            except click.Abort:  # what click makes of Ctrl-C
                raise KeyboardInterrupt from None

        with whole():
            session = agent.session(seed, free=goal is not None)
        wanted = session.mission if goal is None else goal
        code = None
        try:
            if execute:
                approve = None if yes or not sys.stdin.isatty() else ask
                with interrupts:
                    outcome = agent.run(wanted, session, on_event=hear, approve=approve)
            else:
                outcome = agent.plan(wanted, session, on_event=hear)
        except KeyboardInterrupt:
            if not last:
                raise
            outcome, code = last[-1], INTERRUPTED
        finally:
            story.close()
            tracer.close()
            session.close()
    if as_json:
        click.echo(json.dumps(tracer.answer(outcome)))
    elif quiet or not (sys.stdout.isatty() and sys.stderr.isatty()):  # the story's reader has read it already
        click.echo(sentence(outcome))
    if code is not None:
        return code
    return REACHED if outcome.status in ("reached", "imagined") else NOT_REACHED


def refusal(goal: str, why: str, world: World, seed: int, story: Sink, tracer: Sink) -> Outcome:
    """Tell that a goal is none, and what could be one."""
    from gedanken.agent.events import Declined
    from gedanken.agent.events import Outcome as Ended
    from gedanken.agent.goals import abilities

    event = Declined(why=why, can=abilities(world.spec), sees="")
    story(event)
    tracer(event)
    return Ended(goal=goal[:SHOWN], world=world.id, seed=seed, status="declined", message=why)


def sentence(outcome: Outcome) -> str:
    """Say an outcome in one line."""
    plan = " → ".join(outcome.plan.split("\n")) if outcome.plan else "no plan"
    predicted = "" if outcome.predicted is None else f", predicted {outcome.predicted:.0%}"
    goal = outcome.goal.strip() or "(no goal)"
    return f"{outcome.status.replace('_', ' ')}: {goal}: {plan}{predicted}; {outcome.message}"
