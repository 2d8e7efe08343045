"""Rehearsal: every plan imagined many times, all futures advancing together in one batch. Knows no goal, no words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.episode import STANDSTILL
from gedanken.worldmodel.protocol import Belief
from gedanken.worldmodel.tried import Tried, states_of
from gedanken.worlds.spec import Plan


@dataclass(frozen=True)
class Rehearsal:
    """N plans × S futures of at most H actions; K is the length of the longest plan.

    `reached[n, s, k]` is the number of actions after which step k was achieved, -1 where it was not.
    `expected[n, s, h]` is the probability, by the model, that action h achieved the step then pursued.
    """

    plans: tuple[Plan, ...]
    reached: Tensor  # [N, S, K] int
    actions: Tensor  # [N, S, H] int, -1 after the plan's end
    expected: Tensor  # [N, S, H]
    disagreement: Tensor  # [N, S, H] nats, 0 after the plan's end
    ends: Tensor  # [N, S, height, width, C] decoded view at the end of each future
    views: Tensor | None  # [N, H + 1, height, width, C] decoded views of each plan's first future, when asked for

    def __getitem__(self, rows: Sequence[int]) -> Rehearsal:
        """Select plans."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen = {name: value[list(rows)] for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, plans=tuple(self.plans[row] for row in rows), **chosen)

    @property
    def success(self) -> Tensor:
        """Tell which futures achieved all their steps, [N, S]."""
        last = torch.tensor([len(plan.steps) - 1 for plan in self.plans], device=self.reached.device)
        return self.reached.gather(2, last.view(-1, 1, 1).expand(-1, self.reached.shape[1], 1)).squeeze(2) >= 0

    @property
    def length(self) -> Tensor:
        """Return the number of actions of each future, [N, S]."""
        return (self.actions >= 0).sum(2)


@torch.no_grad()
def rehearse(
    controller: Controller,
    belief: Belief,
    plans: Sequence[Plan],
    *,
    samples: int = 16,
    horizon: int = 40,
    standstill: int = STANDSTILL,
    seed: int = 0,
    intervention: Mapping[str, float] | None = None,
    views: bool = False,
    watch: Callable[[Tensor], None] | None = None,
) -> Rehearsal:
    """Imagine every plan `samples` times from a belief of one row.

    Each future supposes its own world out of sight, acts on its own step, doing less what it did before in the same
    state, and goes on to the next when the model says that it is achieved; it ends with its plan, after `horizon`
    actions a step, or after `standstill` in a row that change nothing. With `views`, `watch` is shown the first
    futures' ``[N, height, width, C]`` after every action.
    Raises ValueError for no plans, and for an intervention on what the world does not name as exogenous.
    """
    model = controller.model
    unknown = sorted(set(intervention or {}) - set(model.spec.exogenous))
    if unknown:
        raise ValueError(f"{model.spec.name} has no exogenous variable {', '.join(unknown)}")
    if not plans:
        raise ValueError("no plans to rehearse")
    device = next(controller.parameters()).device
    longest = max(len(plan.steps) for plan in plans)
    nothing = (-1,) * len(model.spec.step_sizes)
    codes = [[*model.spec.plan_codes(plan.steps), *[nothing] * (longest - len(plan.steps))] for plan in plans]
    steps = torch.tensor(codes, device=device).repeat_interleave(samples, 0)  # [N·S, K, G]
    lengths = torch.tensor([len(plan.steps) for plan in plans], device=device).repeat_interleave(samples)
    rows = len(steps)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        state = model.suppose(belief.repeat(rows), steps)
        state = model.begin_step(state, torch.ones(rows, dtype=torch.bool, device=device))
        current = torch.zeros(rows, dtype=torch.long, device=device)
        spent, still = torch.zeros_like(current), torch.zeros_like(current)
        tried = Tried(rows, len(model.spec.actions), device)
        reached = torch.full((rows, longest), -1, device=device)
        tracks: list[tuple[Tensor, ...]] = []
        frames = [model.readout(state[::samples]).observation] if views else []
        ends = model.readout(state).observation
        alive = torch.arange(rows, device=device)
        for now in range(1, horizon * longest + 1):
            step = steps[alive, current[alive]]
            states = states_of(model, state, len(alive))
            action = torch.multinomial(tried.chances(states, controller.act(state, step).exp()), 1).squeeze(1)
            tried.note(states, action)
            doubt = model.disagreement(state, action)
            before, state = state, model.imagine(state, action)
            chance = controller.achieved(state, step)
            done = torch.rand_like(chance) < chance
            track = (
                torch.full((rows,), -1, device=device),
                torch.zeros(rows, device=device),
                torch.zeros(rows, device=device),
            )
            for column, values in zip(track, (action, chance, doubt), strict=True):
                column[alive] = values.to(column.dtype)
            tracks.append(track)
            reached[alive[done], current[alive[done]]] = now
            current[alive[done]] += 1
            state = model.begin_step(state, done)
            tried.forget(done)
            spent[alive] = torch.where(done, 0, spent[alive] + 1)
            still[alive] = torch.where(done | ~model.same(before, state), 0, still[alive] + 1)
            if views:
                frames.append(_first_views(model.readout(state).observation, alive, samples, frames[-1]))
                if watch:
                    watch(frames[-1])
            going = (current[alive] < lengths[alive]) & (spent[alive] < horizon) & (still[alive] < standstill)
            if not going.all():
                ends[alive[~going]] = model.readout(state[~going]).observation
                state, tried, alive = state[going], tried[going], alive[going]
            if not len(alive):
                break
        else:
            ends[alive] = model.readout(state).observation
    shape = (len(plans), samples)
    return Rehearsal(
        plans=tuple(plans),
        reached=reached.view(*shape, -1),
        actions=torch.stack([t[0] for t in tracks], 1).view(*shape, -1),
        expected=torch.stack([t[1] for t in tracks], 1).view(*shape, -1),
        disagreement=torch.stack([t[2] for t in tracks], 1).view(*shape, -1),
        ends=ends.view(*shape, *ends.shape[1:]),
        views=torch.stack(frames, 1) if views else None,
    )


def _first_views(views: Tensor, alive: Tensor, samples: int, previous: Tensor) -> Tensor:
    """Return the view of each plan's first future, the last one again where it has ended."""
    frame = previous.clone()
    first = alive % samples == 0
    frame[alive[first] // samples] = views[first]
    return frame
