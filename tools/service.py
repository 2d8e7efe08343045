"""Gedanken as an HTTP service: goals, plans and actions in, runs and their events out. Knows runs, and no agent."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Response
from fastapi import Request as Call
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel
from starlette.routing import Match, Route

from gedanken.agent.events import to_line
from gedanken.tools.answers import Dream, Report, Worlds
from gedanken.tools.dreams import Unclear, UnknownDream
from gedanken.tools.refusals import RETRY_AFTER, Asleep, Busy, Full, Refused, UnknownRun
from gedanken.tools.requests import (
    LONGEST_WAIT,
    PATIENCE,
    ActRequest,
    GenerateRequest,
    LiveIn,
    LiveRequest,
    PlanRequest,
    RehearseRequest,
    Request,
    SimulateRequest,
    WhatIfRequest,
)
from gedanken.tools.run import Run
from gedanken.tools.runs import Runs

STATUS: dict[type[Refused], int] = {Busy: 429, Full: 429, Asleep: 503, UnknownRun: 404, UnknownDream: 404}
ABOUT = """Plans are made, rehearsed in a learned world model, judged, and carried out in one environment.

What only imagines goes on side by side, what acts is done alone, in the order of the requests. A request that starts a
run waits a little (`wait`), for room and for the result: 200 has the result, 202 a run that goes on, to be asked for at
`/runs/{id}` or followed at `/runs/{id}/events`.
"""

BODY = "the body (JSON, sent as application/json)"

Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for the run to be over.")]


def _found(id: str, call: Call) -> Run:
    runs: Runs = call.app.state.runs
    return runs.find(id)


Found = Annotated[Run, Depends(_found)]


class Problem(BaseModel):
    """Why a request was not taken up, and what to do."""

    detail: str


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem} for status in statuses}


def service(runs: Runs) -> FastAPI:
    """Return the HTTP service over `runs`; put it behind a `Guard` before anybody can reach it."""
    app = FastAPI(
        title="Gedanken",
        description=ABOUT,
        version=version("gedanken"),
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        dependencies=[Depends(HTTPBearer(auto_error=False))],  # for the description; the guard decides
        responses=_problems(400, 401, 408, 413, 421, 422),
    )

    app.state.runs = runs

    @app.exception_handler(Refused)
    async def refused(_: Call, error: Refused) -> JSONResponse:
        after = error.after if isinstance(error, Busy) else RETRY_AFTER if isinstance(error, Asleep) else None
        headers = {"Retry-After": str(after)} if after else None
        return JSONResponse({"detail": str(error)}, STATUS.get(type(error), 422), headers)

    @app.exception_handler(RequestValidationError)
    async def unclear(_: Call, error: RequestValidationError) -> JSONResponse:
        wrong = [f"{'.'.join(map(str, each['loc'][1:])) or BODY}: {each['msg']}" for each in error.errors()]
        return JSONResponse({"detail": "; ".join(wrong).encode(errors="backslashreplace").decode()}, 422)

    @app.exception_handler(405)
    async def otherwise(call: Call, _: Exception) -> JSONResponse:
        routes = [route for route in app.routes if isinstance(route, Route)]
        here = [route.methods or () for route in routes if route.matches(call.scope)[0] != Match.NONE]
        allowed = ", ".join(sorted(method for methods in here for method in methods))
        return JSONResponse({"detail": f"{call.method} can't be done here, but {allowed}"}, 405, {"Allow": allowed})

    async def settled(run: Run, wait: float, response: Response) -> Report:
        await run.settled(wait)
        if isinstance(run.refused, Busy | Unclear | UnknownDream):  # found out only when its turn had come
            raise run.refused
        report = runs.report(run)
        if not report.over:
            response.status_code = 202
            response.headers["Location"] = f"/runs/{run.id}"
        return report

    async def begin(request: Request, wait: float, response: Response) -> Report:
        began = time.monotonic()
        run = await runs.admit(request, wait)
        return await settled(run, wait - (time.monotonic() - began), response)

    starting: dict[int | str, dict[str, Any]] = {
        202: {"model": Report, "description": "The run goes on"},
        **_problems(429, 503),
    }

    @app.post("/plan", responses=starting)
    async def plan(request: PlanRequest, response: Response, wait: Wait = PATIENCE) -> Report:
        """Imagine how a goal could be reached, and how likely that is; nothing is done."""
        return await begin(request, wait, response)

    @app.post("/act", responses=starting)
    async def act(request: ActRequest, response: Response, wait: Wait = PATIENCE) -> Report:
        """Reach a goal in the environment, without asking anybody."""
        return await begin(request, wait, response)

    @app.post("/rehearse", responses=starting)
    async def rehearse(request: RehearseRequest, response: Response, wait: Wait = PATIENCE) -> Report:
        """Judge the caller's own plans for a goal; nothing is done."""
        return await begin(request, wait, response)

    @app.post("/simulate", responses=starting)
    async def simulate(request: SimulateRequest, response: Response, wait: Wait = PATIENCE) -> Report:
        """Imagine plans, or a sequence of actions, from what is believed now; nothing is done."""
        return await begin(request, wait, response)

    @app.post("/whatif", responses=starting)
    async def whatif(request: WhatIfRequest, response: Response, wait: Wait = PATIENCE) -> Report:
        """Rehearse a plan as things are and as supposed of inputs that nobody controls; nothing is done."""
        return await begin(request, wait, response)

    @app.post("/generate", responses=starting)
    async def generate(request: GenerateRequest, response: Response, wait: Wait = PATIENCE) -> Report:
        """Begin a dream, a life inside the learned model, in which what the prompt names is there."""
        return await begin(request, wait, response)

    @app.post("/dreams/{id}", responses={**starting, **_problems(404)})
    async def live(id: str, request: LiveRequest, response: Response, wait: Wait = PATIENCE) -> Report:
        """Go on in a dream: take actions, or let something happen ("the door opens")."""
        return await begin(LiveIn(dream_id=id, **request.model_dump()), wait, response)

    @app.get("/dreams/{id}", responses=_problems(404, 503))
    def dream(id: str) -> Dream:
        """Tell how a dream is now."""
        return runs.place(PATIENCE).dream(id)

    @app.delete("/dreams/{id}", responses=_problems(404, 503))
    def wake(id: str) -> Dream:
        """End a dream."""
        return runs.place(PATIENCE).wake_from(id)

    @app.get("/worlds", responses=_problems(503))
    def worlds() -> Worlds:
        """Describe the environment and the plan language, and name the worlds there are."""
        return runs.wake(PATIENCE)

    @app.get("/runs/{id}", responses=_problems(404))
    async def run(run: Found, wait: Wait = 0.0) -> Report:
        """Tell how a run stands, with its result when it is over."""
        await run.settled(wait)
        return runs.report(run)

    @app.delete("/runs/{id}", responses=_problems(404))
    async def stop(run: Found) -> Report:
        """End a run: at once where it waits, at the next action or thought where it is in progress."""
        runs.stop(run)
        return runs.report(run)

    @app.get("/runs/{id}/events", response_class=EventSourceResponse, responses=_problems(404))
    async def events(run: Found, last_event_id: Annotated[int, Header(ge=0)] = 0) -> AsyncIterator[ServerSentEvent]:
        """Stream what happens, an event each (`id` counts from 1), and at the end one `report`."""
        async for number, event in run.follow(last_event_id):
            yield ServerSentEvent(raw_data=to_line(event), event=event.kind, id=str(number))
        yield ServerSentEvent(raw_data=runs.report(run).model_dump_json(), event="report")

    return app
