"""Gedanken as an MCP server: tools that plan, rehearse and act in one environment. Knows runs, and no agent."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field, ValidationError

from gedanken.tools.answers import Report, Worlds
from gedanken.tools.refusals import Refused
from gedanken.tools.requests import (
    LONGEST_WAIT,
    MOST_PLANS,
    PATIENCE,
    ActRequest,
    ChangeText,
    EventText,
    GenerateRequest,
    GoalText,
    LiveIn,
    PlanRequest,
    PlanText,
    PromptText,
    RehearseRequest,
    Request,
    WhatIfRequest,
)
from gedanken.tools.run import Run
from gedanken.tools.runs import Runs

PULSE = 1.0
"""Most seconds without a progress notification while a call waits."""

ABOUT = """Gedanken plans in words, rehearses its plans in a learned world model, and only then acts.

It lives in one environment. `worlds` describes that, what is seen in it, and the plan language. `plan` imagines how a
goal could be reached; `rehearse` judges your own plans; `whatif` says what a change of inputs would make of one; `act`
reaches a goal for real. `dream` begins a life inside the model, and `live` goes on in it. What only imagines goes on
side by side, what acts is done alone, in the order of the calls. When a run takes longer than a few seconds, the
answer has `state` "running" or "queued" and a `run_id`: call `status` with it, and with `wait`, until it is "done".
`stop` ends a run.
"""

IMAGINES = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ACTS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False)


def mcp_server(runs: Runs) -> MCPServer[None]:
    """Return the MCP server over `runs`, which it starts; an error is the answer of a call, and the server goes on."""

    @contextlib.asynccontextmanager
    async def awake(_: MCPServer[None]) -> AsyncIterator[None]:
        with contextlib.redirect_stdout(sys.stderr):  # the transport keeps stdout itself for the protocol
            runs.start()
            yield

    server: MCPServer[None] = MCPServer(
        "gedanken",
        title="Gedanken",
        instructions=ABOUT,
        version=version("gedanken"),
        log_level="WARNING",
        lifespan=awake,
    )

    async def begin(request: Request, context: Context[None]) -> Report:
        began = time.monotonic()
        with plainly():
            run = await runs.admit(request, PATIENCE)
        try:
            await follow(run, context, PATIENCE - (time.monotonic() - began))
        except asyncio.CancelledError:  # the caller no longer wants it
            runs.stop(run)
            raise
        report = runs.report(run)
        if report.state == "failed":
            raise ToolError(report.error or "the run failed")
        return report

    @server.tool(annotations=IMAGINES)
    async def plan(goal: GoalText, context: Context[None]) -> Report:
        """Imagine how a goal could be reached, and how likely that is; nothing is done."""
        return await begin(PlanRequest(goal=goal), context)

    @server.tool(annotations=IMAGINES)
    async def rehearse(
        goal: GoalText,
        plans: Annotated[list[PlanText], Field(min_length=1, max_length=MOST_PLANS)],
        context: Context[None],
    ) -> Report:
        """Rehearse your own plans, written in the plan language, and judge them for a goal; nothing is done."""
        return await begin(RehearseRequest(goal=goal, plans=plans), context)

    @server.tool(annotations=IMAGINES)
    async def whatif(plan: PlanText, change: ChangeText, context: Context[None]) -> Report:
        """Rehearse a plan as things are and as supposed of inputs that nobody controls; nothing is done."""
        return await begin(WhatIfRequest(plan=plan, change=change), context)

    @server.tool(annotations=IMAGINES)
    async def dream(
        prompt: PromptText,
        context: Context[None],
        world: str | None = None,
        start_seed: int | None = None,
        seed: int = 0,
    ) -> Report:
        """Begin a dream, a life inside the learned model, in which what the prompt names is there."""
        with plainly():
            request = GenerateRequest(prompt=prompt, world=world, start_seed=start_seed, seed=seed)
        return await begin(request, context)

    @server.tool(annotations=IMAGINES)
    async def live(
        dream_id: str, context: Context[None], actions: tuple[str, ...] = (), event: EventText | None = None
    ) -> Report:
        """Go on in a dream: either take actions, or let something happen ("the door opens")."""
        with plainly():
            request = LiveIn(dream_id=dream_id, actions=list(actions), event=event)
        return await begin(request, context)

    @server.tool(annotations=ACTS)
    async def act(goal: GoalText, context: Context[None]) -> Report:
        """Reach a goal in the environment: plan, rehearse, then carry the best plan out, without asking anybody."""
        return await begin(ActRequest(goal=goal), context)

    @server.tool(annotations=IMAGINES)
    async def worlds() -> Worlds:
        """Describe the environment, what is seen in it, and the plan language; name the worlds there are."""
        with plainly():
            return await asyncio.to_thread(runs.wake, PATIENCE)

    @server.tool(annotations=IMAGINES)
    async def status(
        run_id: str,
        context: Context[None],
        wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT, description="Seconds to wait for the end.")] = 0.0,
    ) -> Report:
        """Tell how a run stands, and give its result when it is over."""
        with plainly():
            run = runs.find(run_id)
        await follow(run, context, wait)
        return runs.report(run)

    @server.tool(annotations=ACTS)
    async def stop(run_id: str) -> Report:
        """End a run: at once where it waits, at the next action or thought where it is in progress."""
        with plainly():
            run = runs.find(run_id)
        runs.stop(run)
        return runs.report(run)

    async def follow(run: Run, context: Context[None], seconds: float) -> None:
        began = told = time.monotonic()
        until, heard = began + seconds, 0
        while not run.over and (now := time.monotonic()) < until:
            await run.changed(heard, min(until - now, PULSE))
            report, now = runs.report(run), time.monotonic()
            if report.events > heard or now - told >= PULSE:
                heard, told = report.events, now
                await context.report_progress(now - began, message=report.news)

    return server


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Turn what was refused into an error that the caller reads."""
    try:
        yield
    except Refused as error:
        raise ToolError(str(error)) from error
    except ValidationError as error:
        [first, *_] = error.errors()
        raise ToolError(f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()) from error
