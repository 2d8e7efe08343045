"""The suite `serve`: how long the clients of `gedanken serve` wait, many at a time, and what the server holds.

It serves in a process of its own, on the same machine as its clients. Those for whom there is no room are told to ask
again, and do so when they were told to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from gedanken.evals.measures import Estimate, Measure, mean
from gedanken.evals.run_folder import Key
from gedanken.evals.suite import Options, Parts, Table, evaluation_seeds
from gedanken.tools.load import serve_and_load

GOAL = "put the ball next to the box"
PLANS = ("go_to(red ball)", "pick_up(red key)", "pick_up(box)\ngo_to(door)", "put_next_to(ball, box)")
BODIES: dict[str, list[dict[str, Any]]] = {
    "rehearse": [{"goal": GOAL, "plans": [plan, PLANS[0]]} for plan in PLANS],
    "plan": [{"goal": goal} for goal in (GOAL, "go to the red ball", "pick up a key")],
}
"""What clients ask for, by the path."""

TIMES = {
    "answered": "taken up, until its result",
    "waited": "asked for, until its result, however often it was sent away",
    "refused": "sent away with 429",
}
"""What is timed of requests."""

NOTE = (
    "every client has one request at a time under way; eight runs go on at once and 32 may wait; what comes on top"
    " stands in line for 30 s, is then sent away, and asks again when it was told to. Clients and server share the"
    " machine. Requests wait for each other, so there are no intervals"
)


class ServeSuite:
    """See the module; implements `Suite`. `limit` counts seconds under load; an arm is so many clients."""

    name = "serve"
    extent = "{} s of load"
    default_limit = 60
    arms = ("1 client", "20 clients", "100 clients")
    tasks: tuple[str, ...] = ("rehearse",)
    more_tasks = ("plan",)
    elsewhere = True
    """The weights are used by another process: all that could have been loaded have a part in it."""

    clocks = ("seconds", *TIMES, "unserved", "failed", "memory_mib")
    measures: tuple[Measure, ...] = (
        Estimate(
            "p95 of answers, seconds", mean(lambda s: s["answered"]["p95"]), False, only=lambda s: s["answered"]["n"]
        ),
        Estimate("most MiB", mean(lambda s: s["memory_mib"]), False, only=lambda s: s["memory_mib"] is not None),
    )

    def __init__(self, tasks: Sequence[str] = tasks) -> None:
        self.tasks = tuple(tasks)

    def count(self, options: Options) -> int:
        """Return the number of servers put under load."""
        return len(self.tasks) * len(options.arms)

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield one sample for each number of clients."""
        seed = evaluation_seeds(options.seed, options.limit)[0]
        serving = [*server_options(parts.config.llm, parts.trained.path), "--seed", str(seed)]
        for task in self.tasks:
            for arm in options.arms:
                if (task, seed, arm) not in done:
                    yield {"task": task, "seed": seed, "arm": arm, **under_load(task, arm, options.limit, serving)}

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what came of each load."""
        return {"loads": [{name: value for name, value in sample.items() if name != "seed"} for sample in samples]}

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return the results for people."""
        times, bore = list[tuple[str, ...]](), list[tuple[str, ...]]()
        for row in results["loads"]:
            load = f"{row['task']}, {row['arm']}"
            for name, said in TIMES.items():
                if row[name]["n"]:
                    found = (f"{row[name][at]:.2f}" for at in ("p50", "p95", "p99"))
                    times.append((f"{load}: {said}", f"{row[name]['n']:,}", *found))
            rate = row["answered"]["n"] / row["seconds"]
            failed = ", ".join(f"{count} {kind}" for kind, count in row["failed"].items()) or "0"
            memory = "–" if row["memory_mib"] is None else f"{row['memory_mib']:,.0f}"
            bore.append((load, f"{row['seconds']:.0f}", f"{rate:.2f}", failed, str(row["unserved"]), memory))
        heads = ("load", "seconds", "answers a second", "failed", "clients never taken up", "most MiB")
        return [
            Table("seconds that requests took", ("requests", "n", "p50", "p95", "p99"), tuple(times)),
            Table("what the server bore", heads, tuple(bore), NOTE),
        ]


def under_load(task: str, arm: str, seconds: float, serving: Sequence[str]) -> dict[str, Any]:
    """Return what comes of a server, started with the options `serving`, under so many seconds of load."""
    return serve_and_load(serving, f"/{task}", BODIES[task], clients=int(arm.split()[0]), seconds=seconds).as_dict()


def server_options(llm: str, checkpoint: object = None) -> list[str]:
    """Return how a server is told what it thinks with."""
    return ["--llm", llm, *(["--checkpoint", str(checkpoint)] if checkpoint else [])]
