"""Load on a server: many clients that ask and ask again, and how long they waited. Knows HTTP, and no agent."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from gedanken.tools.refusals import Refused
from gedanken.tools.requests import LONGEST_WAIT

IMPATIENT = 0.05
"""Least seconds between two requests of a client."""


@dataclass
class Load:
    """What came of it; times in seconds.

    `latencies` are of runs that were taken up, from the request to the result; `waits` of the same, from the first time
    that it was asked for; `refusals` from a request to its 429. `unserved` clients were sent away each time.
    """

    clients: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    unserved: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    memory_mib: float | None = None  # the server's peak, where the system tells it

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "clients": self.clients,
            "seconds": round(self.seconds, 1),
            "answered": quantiles(self.latencies),
            "waited": quantiles(self.waits),
            "refused": quantiles(self.refusals),
            "unserved": self.unserved,
            "failed": dict(self.failed),
            "memory_mib": self.memory_mib,
        }


def quantiles(seconds: Sequence[float]) -> dict[str, Any]:
    """Return how many there are, their median, and their 95th and 99th percentile; None of nothing."""
    found = np.quantile(seconds, [0.5, 0.95, 0.99]).round(3).tolist() if seconds else [None] * 3
    return {"n": len(seconds), **dict(zip(("p50", "p95", "p99"), found, strict=True))}


def serve_and_load(
    arguments: Sequence[str], path: str, bodies: Sequence[dict[str, Any]], *, clients: int, seconds: float
) -> Load:
    """Put a server of its own under load, see `process` and `load`, and note its memory. Raises Refused."""
    with process(arguments) as (url, pid):
        found = asyncio.run(load(url, path, bodies, clients=clients, seconds=seconds))
        found.memory_mib = peak_memory(pid)
    return found


async def load(url: str, path: str, bodies: Sequence[dict[str, Any]], *, clients: int, seconds: float) -> Load:
    """Let clients ask `path` for `seconds`, each with the bodies in turn; who is sent away waits as he was told."""
    found = Load(clients)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=LONGEST_WAIT + 30, limits=limits) as http:
        began = time.monotonic()
        until = began + seconds

        async def finish(answer: httpx.Response) -> httpx.Response:
            while answer.status_code == 202 or (answer.is_success and answer.json()["state"] in ("queued", "running")):
                answer = await http.get(f"/runs/{answer.json()['run_id']}", params={"wait": LONGEST_WAIT})
            return answer

        async def ask(number: int) -> None:
            asked, refused, served, since = False, False, False, 0.0
            while not asked or time.monotonic() <= until:  # everybody asks once
                now = time.monotonic()
                since = since if refused else now
                asked, refused = True, False
                try:
                    answer = await http.post(path, json=bodies[number % len(bodies)], params={"wait": LONGEST_WAIT})
                    if answer.status_code == 429:
                        refused = True
                        found.refusals.append(time.monotonic() - now)
                        after = float(answer.headers["Retry-After"])
                        await asyncio.sleep(min(after, max(0.0, until - time.monotonic())))
                        continue
                    answer = await finish(answer)
                    state = answer.json()["state"] if answer.is_success else str(answer.status_code)
                except httpx.HTTPError as error:
                    state = type(error).__name__
                if state == "done":
                    found.latencies.append(time.monotonic() - now)
                    found.waits.append(time.monotonic() - since)
                else:
                    found.failed[state] += 1
                served = True
                number += 1
                await asyncio.sleep(IMPATIENT)
            found.unserved += not served

        await asyncio.gather(*(ask(number) for number in range(clients)))
    found.seconds = time.monotonic() - began
    return found


@contextlib.contextmanager
def process(arguments: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Start `gedanken serve` with arguments on a free port; yield its address and process. Raises Refused."""
    command = [sys.executable, "-m", "gedanken", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().strip()
            if not url:
                raise Refused("the server did not start; what it said is above")
            yield url, server.pid
        finally:
            server.terminate()


def peak_memory(pid: int) -> float | None:
    """Return the most MiB that a process has held, where the system tells it."""
    try:
        said = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    except OSError:
        return None
    return round(int(said[1]) / 1024, 1) if said else None
