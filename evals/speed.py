"""The suite `speed`: seconds and tokens of single decisions, imagined steps and training frames a second.

Decisions are made one at a time, as a person waits for them; `babyai-local` batches its language model over many runs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import torch

from gedanken.agent.agent import Agent
from gedanken.agent.events import Event, Judged, Proposed, Rehearsed
from gedanken.agent.situations import first_beliefs
from gedanken.evals.babyai_local import TASKS
from gedanken.evals.measures import Estimate, Measure, mean
from gedanken.evals.run_folder import Key
from gedanken.evals.statistics import mean_interval, quantiles
from gedanken.evals.suite import Options, Parts, Table, evaluation_seeds
from gedanken.worldmodel.collect import Practice, demonstrate
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.train import TrainConfig, train

ROWS, ACTIONS, REPEATS = 128, 16, 5
EPISODES = 24


@dataclass
class _Watch:
    """Adds up the seconds of a decision's parts."""

    propose: float = 0.0
    rehearse: float = 0.0
    judge: float = 0.0
    tokens: int = 0
    prompt_tokens: int = 0
    imagined: int = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Proposed):
            self.propose += event.seconds
            self.tokens += event.tokens
            self.prompt_tokens += event.prompt_tokens
        elif isinstance(event, Rehearsed):
            self.rehearse += event.seconds
            self.imagined += event.actions
        elif isinstance(event, Judged):
            self.judge += event.seconds


class SpeedSuite:
    """See the module; implements `Suite`. `limit` counts decisions a level."""

    name = "speed"
    default_limit = 3
    arms = ("decide", "imagine", "act, imagine and judge", "train")
    clocks = ("seconds", "propose", "rehearse", "judge", "per_second")
    measures: tuple[Measure, ...] = (
        Estimate(
            "seconds", mean(lambda s: s["seconds"]), more_is_better=False, only=lambda sample: "seconds" in sample
        ),
        Estimate("steps or frames a second", mean(lambda s: s["per_second"]), only=lambda s: "per_second" in s),
    )

    def __init__(self, tasks: Sequence[str] = TASKS) -> None:
        self.tasks = tuple(tasks)

    def count(self, options: Options) -> int:
        """Return the number of measurements."""
        decisions = len(self.tasks) * options.limit if "decide" in options.arms else 0
        return decisions + REPEATS * sum(name in options.arms for name in RATES)

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield one sample per decision and per repetition of what is timed."""
        seeds = evaluation_seeds(options.seed, options.limit)
        for name, rate_of in RATES.items():
            left = [repeat for repeat in range(REPEATS) if ("machine", repeat, name) not in done]
            if name in options.arms and left:
                for repeat, rate in enumerate(rate_of.timed(parts)):
                    if repeat in left:
                        yield {"task": "machine", "seed": repeat, "arm": name, "per_second": rate}
        if "decide" in options.arms:
            for task in self.tasks:
                for seed in seeds:
                    if (task, seed, "decide") not in done:
                        yield _decide(parts, task, seed)

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return median and spread of the rates, and what a decision costs."""
        rates = {name: [s["per_second"] for s in samples if s["arm"] == name] for name in RATES}
        decisions = [sample for sample in samples if sample["arm"] == "decide"]
        parts = ("seconds", "propose", "rehearse", "judge", "tokens", "prompt_tokens", "imagined")
        return {
            "rates": {name: _spread(values) for name, values in rates.items() if values},
            "decisions": len(decisions),
            "decision": {part: _spread([d[part] for d in decisions]) for part in parts} if decisions else {},
            "mean_seconds": mean_interval([d["seconds"] for d in decisions]).as_dict(),
        }

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return the results for people."""
        rates = tuple((name, *_numbers(row, 0)) for name, row in results["rates"].items())
        costs = tuple(
            (part, *_numbers(row, 0 if "tokens" in part or part == "imagined" else 2))
            for part, row in results["decision"].items()
        )
        columns = ("median", "10 %", "90 %", "n")
        batch = f"{TrainConfig().batch} × {TrainConfig().time}"
        note = f"imagination in batches of {ROWS} futures; training in batches of {batch} frames"
        return [
            Table("steps or frames a second", ("what", *columns), rates, note),
            Table("one decision", ("what", *columns), costs, "seconds, tokens written and read, actions imagined"),
        ]


def _decide(parts: Parts, task: str, seed: int) -> dict[str, Any]:
    agent = Agent(
        parts.make_world(task), llm=parts.llm, trained=parts.trained, critic=parts.critic, config=parts.config
    )
    session, watch = agent.session(seed, free=False), _Watch()
    began = time.perf_counter()
    outcome = agent.plan(session.mission, session, on_event=watch)
    seconds = time.perf_counter() - began
    session.close()
    return {"task": task, "seed": seed, "arm": "decide", "seconds": seconds, "rounds": outcome.rounds, **vars(watch)}


def _imagine(parts: Parts) -> Callable[[], object]:
    model, belief, steps = parts.trained.model, *_beginning(parts)
    with torch.no_grad():
        supposed = model.suppose(belief, steps[:, None])
    actions = torch.randint(len(model.spec.actions), (ACTIONS, ROWS), device=steps.device)

    @torch.no_grad()
    def once() -> None:
        state = supposed
        for action in actions:
            state = model.imagine(state, action)

    return once


def _rehearse(parts: Parts) -> Callable[[], object]:
    model, controller, belief, steps = parts.trained.model, parts.trained.controller, *_beginning(parts)

    @torch.no_grad()
    def once() -> None:
        state = model.suppose(belief, steps[:, None])
        for _ in range(ACTIONS):
            action = torch.multinomial(controller.act(state, steps).exp(), 1).squeeze(1)
            model.disagreement(state, action)
            state = model.imagine(state, action)
            controller.achieved(state, steps)

    return once


def _beginning(parts: Parts) -> tuple[Any, torch.Tensor]:
    """Return beliefs and steps of ROWS futures."""
    world = parts.make_world(TASKS[1])
    env = world.make()
    raw, _ = env.reset(seed=0)
    world.begin_goal(env)
    belief = first_beliefs(parts.trained.model, [world.observation(raw)]).repeat(ROWS)
    device = next(iter(vars(belief).values())).device
    codes = torch.tensor([world.spec.step_codes(world.mission_steps(env)[0])], device=device)
    return belief, codes.expand(ROWS, -1)


def _train(parts: Parts) -> Callable[[], object]:
    world = parts.make_world(TASKS[1])
    env = world.make(free=True)
    episodes = [demonstrate(world, env, seed, Practice()) for seed in range(EPISODES)]
    rows = train(copy.deepcopy(parts.trained), Replay(world.spec, episodes), TrainConfig(rounded=True))
    return lambda: next(rows)


@dataclass(frozen=True)
class Rate:
    """Something that is done again and again: `prepare` makes it, each time has `each` steps or frames.

    `rounded` says that products are in bfloat16 where the machine computes in it natively.
    """

    prepare: Callable[[Parts], Callable[[], object]]
    each: int
    rounded: bool = False

    def timed(self, parts: Parts) -> Iterator[float]:
        """Yield steps or frames a second, REPEATS times, after one time to warm up."""
        once = self.prepare(parts)
        once()
        for _ in range(REPEATS):
            began = time.perf_counter()
            once()
            yield self.each / (time.perf_counter() - began)


RATES = {
    "imagine": Rate(_imagine, ROWS * ACTIONS),
    "act, imagine and judge": Rate(_rehearse, ROWS * ACTIONS),
    "train": Rate(_train, TrainConfig().batch * TrainConfig().time, rounded=True),
}
"""What is timed."""


def _spread(values: Sequence[float]) -> dict[str, Any]:
    low, median, high = quantiles(values)
    return {"median": median, "low": low, "high": high, "n": len(values)}


def _numbers(row: Mapping[str, Any], digits: int) -> tuple[str, ...]:
    return (*(f"{row[key]:,.{digits}f}" for key in ("median", "low", "high")), str(row["n"]))
