"""`gedanken whatif`: rehearse a plan under an input that nobody controls; nothing is done."""

from __future__ import annotations

from typing import Any

import click

from gedanken.cli import REACHED
from gedanken.options import json_option, loop_options, seed_option, split, world_option


@click.command(name="whatif")
@click.argument("change")
@click.option("--plan", "text", metavar="STEPS", help="Steps, joined by ';'.  [default: the plan chosen last]")
@world_option
@seed_option
@json_option
@loop_options
def whatif_command(change: str, text: str | None, world: str, seed: int, as_json: bool, **options: Any) -> int:
    """Say what CHANGE would make of a plan: the same futures, as things are and as supposed.

    CHANGE is exact ("outside = 2", "outside * 0.8") or in words ("outside is 20 % lower"). Without --plan the plan
    chosen last in the last conversation is taken, from where that conversation is.
    """
    config = split(options)
    from gedanken.agent import whatif
    from gedanken.agent.chat.commands import read_plan
    from gedanken.agent.loading import open_agent
    from gedanken.agent.session import Session, SessionError

    with open_agent(world, config) as agent:
        _ = agent.world.spec.vector  # a world that shows a grid has nothing to suppose
        session, plan = None, None
        if text is not None:
            plan, session = (
                read_plan(agent.world.spec, text),
                Session.begin(agent.world, agent.trained, seed, free=True),
            )
        elif agent.journal and (last := agent.journal.last()) and last.world == world:
            outcomes = [turn.outcome for turn in agent.journal.turns(last.id) if turn.outcome]
            plans = [outcome["plan"] for outcome in outcomes if outcome["plan"]]  # what was declined has none
            if plans:
                plan = agent.world.spec.parse_plan(plans[-1])
                session = Session.replay(agent.world, agent.trained, last, agent.journal)
        if plan is None or session is None:
            raise SessionError(f"there is no plan in {world} yet; give one with --plan, or `gedanken run` a goal first")
        try:
            now = whatif.inputs_now(session)
            meant, supposed = whatif.understand(agent.world.spec, agent.llm, change, now, config.seed)
            if meant != change:
                click.echo(f"{change!r} is taken to mean: {meant}", err=True)
            compared = whatif.compare(
                agent,
                session,
                plan,
                supposed,
                practising=lambda step: click.echo(f"practising {step} in imagination", err=True),
            )
        finally:
            session.close()
    click.echo(compared.model_dump_json() if as_json else "\n".join(whatif.told(compared)))
    return REACHED
