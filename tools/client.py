"""A thin client of the HTTP service, with the service's names. Knows no model and no agent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self, overload

import httpx

from gedanken.agent.dreaming import Moment
from gedanken.agent.events import Event, from_line
from gedanken.tools.answers import Dream, Report, Worlds
from gedanken.tools.requests import (
    LONGEST_WAIT,
    PATIENCE,
    ActRequest,
    GenerateRequest,
    LiveRequest,
    PlanRequest,
    RehearseRequest,
    Request,
    SimulateRequest,
    State,
    WhatIfRequest,
)


class ServiceError(RuntimeError):
    """The service did not take a request up; the message is its own, `retry_after` its advice in seconds."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class Client:
    """Asks a service that `gedanken serve` started.

    Every method raises ServiceError for what the service refuses, httpx.HTTPError where it can't be reached, and
    pydantic's ValidationError for a request that can't be one.
    """

    def __init__(self, url: str = "http://127.0.0.1:8642", *, token: str | None = None) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=LONGEST_WAIT + 10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # ---- starting runs: the report is of a run that is over, or goes on after `wait` seconds -------------------------

    def plan(self, goal: str, *, wait: float = PATIENCE) -> Report:
        """Imagine how a goal could be reached, and how likely that is; nothing is done."""
        return self._begin(PlanRequest(goal=goal), wait)

    def act(self, goal: str, *, wait: float = PATIENCE) -> Report:
        """Reach a goal in the environment, without asking anybody."""
        return self._begin(ActRequest(goal=goal), wait)

    def rehearse(self, goal: str, plans: Sequence[str], *, wait: float = PATIENCE) -> Report:
        """Judge your own plans for a goal; nothing is done."""
        return self._begin(RehearseRequest(goal=goal, plans=list(plans)), wait)

    def simulate(
        self,
        initial_state: State | None = None,
        policy: str | Sequence[str] = (),
        horizon: int = 40,
        *,
        plans: Sequence[str] = (),
        intervention: str | None = None,
        samples: int = 16,
        seed: int = 0,
        wait: float = PATIENCE,
    ) -> Report:
        """Imagine what a policy leads to, from a state or from what is believed now; nothing is done.

        `policy` is a plan as text, or actions one after the other; `plans` are several.
        """
        one, actions = ([policy], []) if isinstance(policy, str) else ([], list(policy))
        request = SimulateRequest(
            plans=[*one, *plans],
            actions=actions,
            initial_state=initial_state,
            intervention=intervention,
            samples=samples,
            horizon=horizon,
            seed=seed,
        )
        return self._begin(request, wait)

    def whatif(self, plan: str, change: str, *, wait: float = PATIENCE) -> Report:
        """Rehearse a plan as things are and as supposed of inputs that nobody controls; nothing is done."""
        return self._begin(WhatIfRequest(plan=plan, change=change), wait)

    # ---- dreams: these wait for what they begin ----------------------------------------------------------------------

    @overload
    def generate(
        self,
        prompt: str,
        *,
        interactive: Literal[True] = True,
        world: str | None = None,
        start_seed: int | None = None,
        seed: int = 0,
    ) -> LiveDream: ...

    @overload
    def generate(
        self,
        prompt: str,
        *,
        interactive: bool,
        world: str | None = None,
        start_seed: int | None = None,
        seed: int = 0,
    ) -> LiveDream | Dream: ...

    def generate(
        self,
        prompt: str,
        *,
        interactive: bool = True,
        world: str | None = None,
        start_seed: int | None = None,
        seed: int = 0,
    ) -> LiveDream | Dream:
        """Begin a dream in which what the prompt names is there; one that is not interactive is just its first view.

        What can be said of the rest, see `GenerateRequest`.
        """
        request = GenerateRequest(prompt=prompt, interactive=interactive, world=world, start_seed=start_seed, seed=seed)
        dream = self._dream("/generate", request)
        return LiveDream(self, dream) if interactive else dream

    def _dream(self, path: str, request: GenerateRequest | LiveRequest) -> Dream:
        answer = self._ask("POST", path, json=request.model_dump(), params={"wait": LONGEST_WAIT})
        report = self.finish(Report.model_validate(answer))
        if not isinstance(report.result, Dream):
            raise ServiceError(200, report.error or f"the run is {report.state}")
        return report.result

    # ---- looking -----------------------------------------------------------------------------------------------------

    def worlds(self) -> Worlds:
        """Describe the environment and the plan language, and name the worlds there are."""
        return Worlds.model_validate(self._ask("GET", "/worlds"))

    def run(self, run_id: str, *, wait: float = 0.0) -> Report:
        """Tell how a run stands, with its result when it is over."""
        return Report.model_validate(self._ask("GET", f"/runs/{run_id}", params={"wait": wait}))

    def stop(self, run_id: str) -> Report:
        """End a run: at once where it waits, at the next action or thought where it is in progress."""
        return Report.model_validate(self._ask("DELETE", f"/runs/{run_id}"))

    def finish(self, report: Report) -> Report:
        """Wait until a run is over."""
        while not report.over:
            report = self.run(report.run_id, wait=LONGEST_WAIT)
        return report

    def events(self, run_id: str, *, since: int = 0) -> Iterator[Event]:
        """Yield what happens in a run, without the first `since` events, until it is over."""
        with self._http.stream("GET", f"/runs/{run_id}/events", headers={"Last-Event-ID": str(since)}) as response:
            if response.is_error:
                response.read()
                raise _error(response)
            kind = ""
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind != "report":
                    yield from_line(value)

    def _begin(self, request: Request, wait: float) -> Report:
        answer = self._ask("POST", f"/{request.work}", json=request.model_dump(), params={"wait": wait})
        return Report.model_validate(answer)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        response = self._http.request(method, path, **more)
        if response.is_error:
            raise _error(response)
        return response.json()


class LiveDream:
    """A dream on a server, `now` its present moment; used as a context it is ended there at the end.

    Every method raises what those of `Client` raise.
    """

    def __init__(self, client: Client, dream: Dream) -> None:
        self._client, self._path, self.dream = client, f"/dreams/{dream.dream_id}", dream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def now(self) -> Moment:
        """Return the present moment, as last heard of."""
        return self.dream.now

    def act(self, *actions: str) -> Dream:
        """Take actions, until the dream is over."""
        self.dream = self._client._dream(self._path, LiveRequest(actions=list(actions)))
        return self.dream

    def happen(self, event: str) -> Dream:
        """Let something happen, in words: "the door opens"."""
        self.dream = self._client._dream(self._path, LiveRequest(event=event))
        return self.dream

    def look(self) -> Dream:
        """Tell how the dream is now."""
        self.dream = Dream.model_validate(self._client._ask("GET", self._path))
        return self.dream

    def end(self) -> None:
        """End the dream; one that has ended by itself may be ended, too."""
        try:
            self._client._ask("DELETE", self._path)
        except ServiceError as error:
            if error.status != 404:
                raise


def _error(response: httpx.Response) -> ServiceError:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text[:200] or response.reason_phrase
    after = response.headers.get("Retry-After", "")
    return ServiceError(response.status_code, str(detail), int(after) if after.isdigit() else None)
