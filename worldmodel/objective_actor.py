"""An actor for objectives: what a search finds or a policy says is done, really and in every imagined future.

A future is imagined with its own member of the ensemble, and acts on what a search in all members finds: what the agent
will do without knowing which member is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gedanken.worldmodel.actor import Pursuit, remaining
from gedanken.worldmodel.episode import Action
from gedanken.worldmodel.protocol import Belief, Dynamics, VectorDynamics
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worldmodel.tasks import Finder, Task, tasks_of
from gedanken.worlds.objectives import outcome
from gedanken.worlds.spec import Plan


class ObjectiveActor:
    """A model, and who says what to do, as an `Actor`; `imagined` says so inside of futures, and may be lighter."""

    def __init__(self, model: VectorDynamics, acting: Finder, imagined: Finder) -> None:
        self.model, self.acting, self.imagined = model, acting, imagined

    def pursue(self, plan: Plan, index: int) -> Pursuit:
        """See `Actor`."""
        return _Pursuit(self.acting, tasks_of(self.model.spec, plan)[index])

    def prepare(self, plans: Sequence[Plan]) -> Iterator[str]:
        """See `Actor`."""
        for plan in plans:
            for step, task in zip(plan.steps, tasks_of(self.model.spec, plan), strict=True):
                if task.then is None and not self.acting.knows(task):
                    yield str(step)
                    self.acting.practise(task)

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
        tasks = [tasks_of(model.spec, plan)[begin:] for plan, begin in zip(plans, begins, strict=True)]
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
            alive, memory = np.arange(rows), self.imagined.fresh(rows)
            for now in range(1, horizon * longest + 1):
                pursued = [replace(tasks[r // samples][current[r]], spent=int(spent[r])) for r in alive]
                found = self.imagined(state, pursued, memory, generator)
                doubt = model.disagreement(state, found.action)
                state = model.imagine(state, found.action)
                said, spent[alive] = model.readout(state), spent[alive] + 1
                done, failed = judged(model, pursued, spent[alive], said.observation, said.reward, horizon)
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
                memory = found.memory
                memory[torch.from_numpy(done)] = self.imagined.fresh(int(done.sum()))
                if not going.all():
                    kept = torch.from_numpy(going)
                    state, memory, alive = state[kept], memory[kept], alive[going]
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


class _Pursuit:
    """A step under way; what was remembered is asked with every time."""

    def __init__(self, finder: Finder, task: Task) -> None:
        self.finder, self.task = finder, task
        self.memory: Tensor | None = None

    def decide(self, belief: Belief, generator: torch.Generator, *, greedy: bool) -> Action:
        with torch.random.fork_rng(devices=[]):  # futures draw from torch's own generator
            torch.manual_seed(int(torch.randint(1 << 31, (), generator=generator)))
            found = self.finder(belief, [self.task], self.memory, generator)
        self.memory = found.memory
        self.task = replace(self.task, spent=self.task.spent + 1)
        return found.action[0].numpy().astype(np.float32) if found.action.dim() > 1 else int(found.action[0])


def judged(
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
