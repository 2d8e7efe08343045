"""Search as an actor: objectives pursued by model-predictive control, really and in every imagined future.

A future is imagined with its own member of the ensemble, and acts on what a search in all members finds: what the agent
will do without knowing which member is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gedanken.worldmodel.actor import Pursuit, remaining
from gedanken.worldmodel.episode import Action
from gedanken.worldmodel.protocol import Belief, Dynamics, VectorDynamics
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worldmodel.search import Search, SearchConfig, Task
from gedanken.worlds.objectives import objective_of, outcome, standing
from gedanken.worlds.spec import Plan


class Searched:
    """A model and how to search in it, as an `Actor`; `imagined` is the lighter search inside of futures."""

    def __init__(self, model: VectorDynamics, acting: SearchConfig, imagined: SearchConfig | None = None) -> None:
        self.model = model
        self.search = Search(model, acting)
        self.imagined = Search(model, imagined or acting.lighter())

    def pursue(self, plan: Plan, index: int) -> Pursuit:
        """See `Actor`."""
        return _SearchedPursuit(self.search, tasks_of(self.model, plan)[index])

    @torch.no_grad()
    def rehearse(
        self,
        belief: Belief,
        plans: Sequence[Plan],
        begins: Sequence[int],
        *,
        samples: int,
        horizon: int,
        standstill: int,
        seed: int,
        inputs: Mapping[str, float] | None = None,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Rehearsal:
        """See `Actor`; nothing stands still too long here, for keeping things as they are may be what is asked for.

        A step is imagined for `horizon` actions at most. One that holds until then, and would have to hold longer, is
        taken to be achieved; the critic says so.
        """
        if not plans:
            raise ValueError("no plans to rehearse")
        model, rows = self.model, len(plans) * samples
        tasks = [tasks_of(model, plan)[begin:] for plan, begin in zip(plans, begins, strict=True)]
        longest = max(map(len, tasks))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            state = model.suppose(belief.repeat(rows), torch.zeros(rows, 0, 0))
            if inputs:
                state = model.intervene(state, inputs)
            current, spent = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
            reached = torch.full((rows, longest), -1)
            ends = model.readout(state).observation.clone()  # [N·S, variables]
            frames, tracks = [ends[::samples].clone()], []
            alive, proposal = np.arange(rows), self.imagined.fresh(rows)
            for now in range(1, horizon * longest + 1):
                pursued = [replace(tasks[r // samples][current[r]], spent=int(spent[r])) for r in alive]
                found = self.imagined(state, pursued, proposal, generator)
                doubt = model.disagreement(state, found.action)
                state = model.imagine(state, found.action)
                said, spent[alive] = model.readout(state), spent[alive] + 1
                done, failed = _judged(model, pursued, spent[alive], said.observation, said.reward, horizon)
                rowwise = torch.from_numpy(alive)
                track = torch.full((rows,), -1), torch.zeros(rows), torch.zeros(rows)
                action = torch.zeros(len(alive)) if model.spec.controls else found.action
                for column, values in zip(track, (action, torch.from_numpy(done), doubt), strict=True):
                    column[rowwise] = values.to(column.dtype)
                tracks.append(track)
                ends[rowwise] = said.observation
                frames.append(ends[::samples].clone())
                if watch:
                    watch(frames[-1])
                reached[rowwise[done], torch.from_numpy(current[alive][done])] = now
                current[alive[done]] += 1
                spent[alive[done]] = 0
                left = np.array([current[r] < len(tasks[r // samples]) for r in alive])
                going = left & ~failed & (said.continues > 0.5).numpy()
                proposal = found.proposal
                proposal[torch.from_numpy(done)] = self.imagined.fresh(int(done.sum()))
                if not going.all():
                    kept = torch.from_numpy(going)
                    state, proposal, alive = state[kept], proposal[kept], alive[going]
                if not len(alive):
                    break
        shape = (len(plans), samples)
        actions, expected, doubts = (torch.stack(list(column), 1).view(*shape, -1) for column in zip(*tracks))  # noqa: B905
        return Rehearsal(
            plans=tuple(remaining(plans, begins)),
            reached=reached.view(*shape, -1),
            actions=actions,
            expected=expected,
            disagreement=doubts,
            ends=ends.view(*shape, -1),
            views=torch.stack(frames, 1),
        )


class _SearchedPursuit:
    """A step under way; each search begins with the last one's proposal."""

    def __init__(self, search: Search, task: Task) -> None:
        self.search, self.task = search, task
        self.proposal: Tensor | None = None

    def decide(self, belief: Belief, generator: torch.Generator, *, greedy: bool) -> Action:
        with torch.random.fork_rng(devices=[]):  # futures draw from torch's own generator
            torch.manual_seed(int(torch.randint(1 << 31, (), generator=generator)))
            found = self.search(belief, [self.task], self.proposal, generator)
        self.proposal = found.proposal
        self.task = replace(self.task, spent=self.task.spent + 1)
        return found.action[0].numpy().astype(np.float32) if not self.search.discrete else int(found.action[0])


def tasks_of(model: Dynamics, plan: Plan) -> list[Task]:
    """Return what a search has to serve at each step of a plan, before its first action."""
    spec, steps = model.spec, plan.steps
    return [Task(objective_of(spec, step), standing(spec, steps[: k + 1])) for k, step in enumerate(steps)]


def _judged(
    model: Dynamics, pursued: Sequence[Task], spent: np.ndarray, seen: Tensor, reward: Tensor, horizon: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tell of each row's step whether it is achieved, and whether it, or what stands beside it, has failed."""
    done, failed = np.zeros(len(pursued), np.bool_), np.zeros(len(pursued), np.bool_)
    groups: dict[Task, list[int]] = {}
    for row, task in enumerate(pursued):
        groups.setdefault(replace(task, spent=0), []).append(row)
    for task, indices in groups.items():
        field = model.spec.vector
        values = field.values(seen[indices].double().numpy(), reward[indices].double().numpy())
        met, missed = outcome(task.objective, spent[indices], values, most=horizon)
        for condition in task.standing:
            missed = missed | ~condition.holds(values)
        done[indices], failed[indices] = met & ~missed, missed
    return done, failed
