"""The suite `world-model`: what a world model predicts without looking, against what was seen.

Episodes are the demonstrator's, half of them missions, half practice, from evaluation seeds. Open loop means: filter up
to a frame, suppose the rest of the world, then imagine the episode's real actions. The floor is a world that froze.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gedanken.evals.babyai_local import TASKS
from gedanken.evals.measures import Estimate, Measure, ratio
from gedanken.evals.run_folder import Key
from gedanken.evals.statistics import auroc_interval, ratio_interval
from gedanken.evals.suite import Options, Parts, Table, chunks, evaluation_seeds
from gedanken.worldmodel.collect import Practice, demonstrate
from gedanken.worldmodel.data import frames_of
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.protocol import Belief, WorldModel

HORIZONS = (1, 4, 16)
STRIDE = 4
"""Frames from one beginning of an open loop to the next."""

FUTURES = 4
"""Futures imagined from each beginning."""

CHUNK = 32
COUNTS = ("changed", "changed_right", "visible", "visible_right", "frozen_right")


def _right(horizon: int) -> Measure:
    """Return the share of changed cells that are right so many actions ahead."""

    def count(name: str) -> Callable[[Mapping[str, Any]], float]:
        return lambda sample: float(sample["horizons"][str(horizon)][name])

    name = f"changed cells right, {horizon} ahead"
    return Estimate(name, ratio(count("changed_right"), count("changed")), percent=True)


class WorldModelSuite:
    """See the module; implements `Suite`."""

    name = "world-model"
    default_limit = 20
    arms = ("model",)
    clocks: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = (
        *(_right(horizon) for horizon in HORIZONS),
        Estimate("nats a frame", ratio(lambda s: s["nats"], lambda s: s["frames"]), more_is_better=False),
    )

    def __init__(self, tasks: Sequence[str] = TASKS) -> None:
        self.tasks = tuple(tasks)

    def count(self, options: Options) -> int:
        """Return the number of episodes."""
        return len(self.tasks) * options.limit

    def measure(self, parts: Parts, options: Options, done: AbstractSet[Key]) -> Iterator[dict[str, Any]]:
        """Yield one sample per episode."""
        seeds = evaluation_seeds(options.seed, options.limit)
        for task in self.tasks:
            for chunk in chunks(seeds, CHUNK):
                left = [seed for seed in chunk if (task, seed, "model") not in done]
                if not left:
                    continue
                episodes = [_episode(parts, task, seed) for seed in chunk]
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(parts.config.seed)
                    measured = observe_and_imagine(parts.trained.model, episodes)
                for seed, sample in zip(chunk, measured, strict=True):
                    if seed in left:
                        yield {"task": task, "seed": seed, "arm": "model", **sample}

    def summarise(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return accuracies by horizon, nats a frame, and how well rewards and endings are foretold."""
        tasks = list(dict.fromkeys(sample["task"] for sample in samples))
        nats = ratio_interval([s["nats"] for s in samples], [s["frames"] for s in samples])
        return {
            "episodes": len(samples),
            "frames": sum(sample["frames"] for sample in samples),
            "horizons": [_horizon(samples, horizon) for horizon in HORIZONS],
            "tasks": [_task([sample for sample in samples if sample["task"] == task], task) for task in tasks],
            "nats_per_frame": nats.as_dict(),
            "reward": _signal(samples, "reward"),
            "ending": _signal(samples, "ending"),
        }

    def tables(self, results: Mapping[str, Any]) -> list[Table]:
        """Return the results for people."""
        rows = tuple(
            (
                str(row["horizon"]),
                str(row["changed_cells"]),
                _percent(row["changed"]),
                _percent(row["visible"]),
                _percent(row["frozen"]),
            )
            for row in results["horizons"]
        )
        nats, note = (
            results["nats_per_frame"],
            f"{results['episodes']} episodes; a frozen world has no changed cell right",
        )
        signals = tuple(
            (name, str(row["happened"]), *(_percent(row[key]) for key in ("precision", "recall", "auroc")))
            for name, row in (("reward", results["reward"]), ("ending", results["ending"]))
        )
        return [
            Table(
                "open loop, cells right, %",
                ("horizon", "changed cells", "changed", "all visible", "frozen world, all visible"),
                rows,
                note,
            ),
            Table(
                f"next observation: {nats['value']:.2f} nats a frame [{nats['low']:.2f}, {nats['high']:.2f}]",
                ("foretold one action ahead, %", "n", "precision", "recall", "AUROC"),
                signals,
            ),
        ]


def _episode(parts: Parts, task: str, seed: int) -> Episode:
    world = parts.make_world(task)
    return demonstrate(world, world.make(free=seed % 2 == 1), seed, Practice())


@torch.no_grad()
def observe_and_imagine(model: WorldModel, episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """Filter episodes side by side; return per episode what was surprising, foretold, and right open loop."""
    device = next(iter(vars(model.initial(1)).values())).device
    columns = [frames_of(model.spec, episode) for episode in episodes]
    lengths = torch.tensor([len(episode) for episode in episodes], device=device)
    frames = {name: _padded([column[name] for column in columns], device) for name in columns[0]}
    totals = [_empty() for _ in episodes]
    belief = model.initial(len(episodes))
    first = torch.ones(len(episodes), dtype=torch.bool, device=device)
    for now in range(int(lengths.max()) + 1):
        action, seen = frames["action"][:, now], frames["observation"][:, now]
        if now:
            nats, told = model.surprise(belief, action, seen), model.readout(model.imagine(belief, action))
            for row in (lengths >= now).nonzero().flatten().tolist():
                totals[row]["frames"] += 1
                totals[row]["nats"] += float(nats[row])
                rewarded, ended = bool(frames["reward"][row, now] > 0), bool(frames["continues"][row, now] < 0.5)
                totals[row]["reward"].append([round(float(told.reward[row]), 4), rewarded])
                totals[row]["ending"].append([round(1 - float(told.continues[row]), 4), ended])
        belief = model.observe(belief, action, seen, first & (now == 0))
        belief = model.begin_goal(belief, frames["goal_begins"][:, now])
        belief = model.begin_step(belief, frames["step_begins"][:, now])
        if now % STRIDE == 0:
            _open_loop(model, belief, frames, lengths, now, totals)
    return totals


def _open_loop(
    model: WorldModel,
    belief: Belief,
    frames: Mapping[str, Tensor],
    lengths: Tensor,
    begin: int,
    totals: Sequence[dict[str, Any]],
) -> None:
    """Imagine what the episodes did from frame `begin` on, and count the cells that came out right."""
    rows = (lengths > begin).nonzero().flatten()
    last = frames["observation"][rows, begin]  # the last real view
    steps = frames["step"][rows, begin].long()[:, None].repeat_interleave(FUTURES, 0)  # [n·F, 1, G]
    state = model.suppose(belief[rows].repeat(FUTURES), steps)
    for horizon in range(1, min(HORIZONS[-1], int(lengths.max()) - begin) + 1):
        action = frames["action"][rows, begin + horizon].repeat_interleave(FUTURES, 0)
        state = model.imagine(state, action)
        if horizon not in HORIZONS:
            continue
        views = model.readout(state).observation.view(len(rows), FUTURES, *last.shape[1:])  # [n, F, h, w, C]
        there = frames["observation"][rows, begin + horizon]
        visible = there[..., 0] != model.spec.grid.hidden
        changed = visible & (there != last).any(-1)
        right = (views == there[:, None]).all(-1).float().mean(1)  # share of the futures, [n, height, width]
        counts = torch.stack(
            [
                changed.sum((1, 2)).float(),
                (right * changed).sum((1, 2)),
                visible.sum((1, 2)).float(),
                (right * visible).sum((1, 2)),
                (visible & ~changed).sum((1, 2)).float(),
            ],
            1,
        ).tolist()
        for row, values in zip(rows.tolist(), counts, strict=True):
            if begin + horizon <= int(lengths[row]):
                kept = totals[row]["horizons"][str(horizon)]
                for name, value in zip(COUNTS, values, strict=True):
                    kept[name] += value


def _empty() -> dict[str, Any]:
    horizons = {str(horizon): dict.fromkeys(COUNTS, 0.0) for horizon in HORIZONS}
    return {"frames": 0, "nats": 0.0, "reward": [], "ending": [], "horizons": horizons}


def _padded(parts: Sequence[np.ndarray[Any, Any]], device: torch.device) -> Tensor:
    """Put columns of different lengths into one tensor [B, T, …], zeros behind the ends."""
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(part) for part in parts], batch_first=True).to(device)


def _horizon(samples: Sequence[Mapping[str, Any]], horizon: int) -> dict[str, Any]:
    counts = {name: [sample["horizons"][str(horizon)][name] for sample in samples] for name in COUNTS}
    return {
        "horizon": horizon,
        "changed_cells": int(sum(counts["changed"])),
        "changed": ratio_interval(counts["changed_right"], counts["changed"]).as_dict(),
        "visible": ratio_interval(counts["visible_right"], counts["visible"]).as_dict(),
        "frozen": ratio_interval(counts["frozen_right"], counts["visible"]).as_dict(),
    }


def _task(samples: Sequence[Mapping[str, Any]], task: str) -> dict[str, Any]:
    rows = {f"changed_{horizon}": _horizon(samples, horizon)["changed"]["value"] for horizon in HORIZONS}
    frames = sum(sample["frames"] for sample in samples)
    return {
        "task": task,
        "n": len(samples),
        **rows,
        "nats_per_frame": sum(sample["nats"] for sample in samples) / max(frames, 1),
    }


def _signal(samples: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Return precision and recall at 0.5, and AUROC, of something that is foretold one action ahead."""
    pairs = [(told, happened, number) for number, s in enumerate(samples) for told, happened in s[name]]
    told = np.array([pair[0] > 0.5 for pair in pairs])
    happened, groups = np.array([bool(pair[1]) for pair in pairs]), [pair[2] for pair in pairs]
    return {
        "happened": int(happened.sum()),
        "precision": ratio_interval(told & happened, told, groups).as_dict(),
        "recall": ratio_interval(told & happened, happened, groups).as_dict(),
        "auroc": auroc_interval([pair[0] for pair in pairs], happened, groups).as_dict(),
    }


def _percent(interval: Mapping[str, Any]) -> str:
    if interval["value"] is None:
        return "–"
    low, high = ("–" if interval[key] is None else f"{100 * interval[key]:.1f}" for key in ("low", "high"))
    return f"{100 * interval['value']:.1f} [{low}, {high}]"
