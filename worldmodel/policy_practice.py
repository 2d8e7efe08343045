"""Practice in imagination: a policy tries a task in a learned model, and is bettered by what comes of it.

Futures go on from one round to the next, each with its own member of the ensemble, and begin where something was really
seen. Every task is made one of rewards: the world's own as they are, and otherwise up to 1 an action for being near, or
for keeping to what is asked; what is achieved pays 1 for ever after, what has failed nothing any more.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gedanken.worldmodel.policy import Policy, PolicyConfig
from gedanken.worldmodel.protocol import Belief, VectorDynamics
from gedanken.worldmodel.tasks import Task
from gedanken.worlds.objectives import Avoid, Keep, Objective, Optimize, Reach, outcome

_STRANGEST = 10.0
"""Most that an unknown transition pays, in means of those that were imagined."""

_AGAIN, _WORTH_IT = 4, 0.03
"""How often a task is practised by its rounds before it settles, as long as that makes it so much better."""

_INSIDE = 0.8
"""Share of a tolerance to which one practises: what a model takes for just inside may be just outside."""

_LOOKS = 2.0
"""How far ahead a policy is judged, in 1 / (1 - discount) actions; what comes later is worth an eighth of all."""


@dataclass(frozen=True)
class _Frames:
    """What a round imagined; T actions, B futures."""

    features: Tensor  # [T, B, F] before the action
    raw: Tensor  # [T, B] or [T, B, A] drawn
    log: Tensor  # [T, B] its log-probability
    pay: Tensor  # [T, B]
    after: Tensor  # [T, B, F] features after the action
    over: Tensor  # [T, B] bool: nothing comes after
    cut: Tensor  # [T, B] bool: over, or cut off there


class Practice:
    """Practice of one task in one model; what is imagined goes on from round to round.

    With `curiosity` the task is paid that much less, and what the ensemble's members do not agree about that much more
    (Sekar et al., "Planning to explore via self-supervised world models", 2020).
    """

    def __init__(
        self, model: VectorDynamics, task: Task, config: PolicyConfig, *, seed: int, curiosity: float = 0.0
    ) -> None:
        self.model, self.task, self.config, self.curiosity = model, task, config, curiosity
        self.objective = _narrower(task.objective)
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = Policy(model.spec, model.features(model.initial(1)).shape[1], config)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=config.rate, eps=1e-5)
        self.strange, self._rounds = 0.0, 0
        self.begin()

    def begin(self) -> None:
        """Begin all futures anew, at moments that the model has seen by now and at which the task can be begun."""
        starts, objective = self.model.moments(), self.objective
        said = self.model.readout(starts)
        values = self.model.spec.vector.values(said.observation, said.reward, torch)
        fine = torch.ones(len(said.reward), dtype=torch.bool)
        for condition in (*self.task.standing, *(() if isinstance(objective, Reach) else (objective,))):
            fine = fine & condition.holds(values, torch)
        if bool(fine.any()):
            starts, values = starts[fine], {name: value[fine] for name, value in values.items()}
        loss = objective.loss(values, torch).float().nan_to_num()
        self.paid = isinstance(objective, Optimize) and objective.paid
        unit = float(loss.square().mean().sqrt() if self.paid else loss.std(unbiased=False))
        self.unit, self.worst = (unit if unit > 1e-6 else 1.0), float(loss.quantile(0.95))
        self.starts, self.count = starts, len(loss)
        self.rows = self.model.suppose(self._fresh(self.config.rows), torch.zeros(self.config.rows, 0, 0))

    def practise_well(self, rounds: int) -> None:
        """Practise by so many rounds, again and again while it helps, and settle."""
        worth = self.worth()
        for _ in range(_AGAIN):
            self.practise(rounds)
            before, worth = worth, self.worth()
            if worth <= before + _WORTH_IT * abs(before):
                break
        self.practise(rounds, settling=True)

    def practise(self, rounds: int, *, settling: bool = False) -> None:
        """Begin all futures anew and do so many rounds; `settling`, the rate falls to nothing over them.

        A policy that is practised on and on is lost now and then: a step was too large, or the model was fitted anew.
        After settling, it is what it was before where that earns more.
        """
        self.begin()
        before = (self.worth(), copy.deepcopy(self.policy.state_dict())) if settling and self._rounds else None
        for done in range(rounds):
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.rate * (1 - done / rounds if settling else 1)
            self.round()
        self._rounds += rounds
        if before and before[0] > self.worth():
            self.policy.load_state_dict(before[1])

    @property
    def most(self) -> float | None:
        """Return what `worth` is where nothing is missing; None where more, or sooner, is always better."""
        return 1 - self.config.discount**self._far if isinstance(self.task.objective, Keep | Avoid) else None

    @property
    def _far(self) -> int:
        return round(_LOOKS / (1 - self.config.discount))

    @torch.no_grad()
    def trial(self) -> tuple[float, float]:
        """Return what the likeliest actions earn in imagination, discounted, and the share of futures that last.

        Both are over 2 / (1 - discount) actions, from moments that were seen.
        """
        c, earned = self.config, torch.zeros(self.config.rows)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same futures' noise for all that are compared
            picked = torch.randint(self.count, (c.rows,))
            rows, going = self.model.suppose(self.starts[picked], torch.zeros(c.rows, 0, 0)), torch.ones(c.rows)
            for at in range(self._far):
                rows = self.model.imagine(rows, self.policy.likeliest(self.model.features(rows)))
                pay, over = self._worth(rows)
                earned += c.discount**at * going * pay
                going = going * ~over
        return float(earned.mean()), float(going.mean())

    def worth(self) -> float:
        """Return what the likeliest actions earn, see `trial`."""
        return self.trial()[0]

    @torch.enable_grad()
    def round(self) -> dict[str, float]:
        """Imagine, and better the policy; return mean pay an action, share of futures that ended, and entropy."""
        with torch.random.fork_rng(devices=[]):  # futures draw from torch's own generator
            torch.manual_seed(int(torch.randint(1 << 31, (), generator=self.generator)))
            frames = self._imagined()
        c = self.config
        with torch.no_grad():
            value, then = self.policy.value(frames.features), self.policy.value(frames.after)
            gain = frames.pay + c.discount * then * ~frames.over - value
            advantage, carried = torch.zeros_like(gain), torch.zeros(gain.shape[1])
            for t in reversed(range(len(gain))):
                carried = gain[t] + c.discount * c.trace * carried * ~frames.cut[t]
                advantage[t] = carried
        target = (advantage + value).flatten()
        features, raw, log = (x.flatten(0, 1) for x in (frames.features, frames.raw, frames.log))
        standard = ((advantage - advantage.mean()) / (advantage.std() + 1e-8)).flatten()
        told = torch.zeros(())
        for _ in range(c.epochs):
            for picked in torch.randperm(len(target), generator=self.generator).chunk(c.batches):
                now, entropy = self.policy.judge(features[picked], raw[picked])
                ratio, better = (now - log[picked]).exp(), standard[picked]
                least = torch.minimum(ratio * better, ratio.clamp(1 - c.clip, 1 + c.clip) * better)
                missed = (self.policy.value(features[picked]) - target[picked]) ** 2
                loss = -(least + c.entropy * entropy).mean() + 0.5 * missed.mean()
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                for part in (self.policy.acting, self.policy.critic.parameters()):  # values may be of any size
                    torch.nn.utils.clip_grad_norm_(part, 0.5)
                self.optimizer.step()
                told = entropy.detach().mean()
        ended = float(frames.over.float().mean())
        return {"pay": float(frames.pay.mean()) / (1 - c.discount), "ended": ended, "entropy": float(told)}

    @torch.no_grad()
    def _imagined(self) -> _Frames:
        c, parts = self.config, list[tuple[Tensor, ...]]()
        features = self.model.features(self.rows)
        for _ in range(c.ahead):
            drawn = self.policy.draw(features, self.generator)
            doubt = self.model.disagreement(self.rows, drawn.action) if self.curiosity else torch.zeros(())
            rows = self.model.imagine(self.rows, drawn.action)
            pay, over = self._worth(rows)
            if self.curiosity:
                mean = float(doubt.mean())
                self.strange = 0.99 * self.strange + 0.01 * mean if self.strange else mean
                strange = (doubt / max(self.strange, 1e-9)).clamp(max=_STRANGEST)
                pay = (1 - self.curiosity) * pay + self.curiosity * (1 - c.discount) * strange
            after = self.model.features(rows)
            cut = over | (torch.rand(len(over), generator=self.generator) < 1 / c.life)
            parts.append((features, drawn.raw, drawn.log, pay, after, over, cut))
            features = after
            if bool(cut.any()):
                rows = self.model.suppose(self._fresh(len(cut)), torch.zeros(len(cut), 0, 0)).where(cut, rows)
                features = self.model.features(rows)
            self.rows = rows
        return _Frames(*(torch.stack(list(column)) for column in zip(*parts, strict=True)))

    def _worth(self, rows: Belief) -> tuple[Tensor, Tensor]:
        """Return what arriving pays, [B], and what is over, [B]; the unit is 1 an action for ever after."""
        c, said, objective = self.config, self.model.readout(rows), self.objective
        values = self.model.spec.vector.values(said.observation, said.reward, torch)
        loss = objective.loss(values, torch).float().nan_to_num(1e6, 1e6, -1e6)
        achieved, failed = outcome(objective, 1, values, torch)
        for condition in self.task.standing:
            failed = failed | ~condition.holds(values, torch)
        ended = (said.continues <= 0.5) | failed
        if self.paid:
            return -loss * (1 - c.discount) / self.unit, ended
        if isinstance(objective, Optimize):
            pay = ((self.worst - loss) / self.unit).clamp(min=0)
        else:
            pay = 1 / (1 + loss / self.unit)
        if isinstance(objective, Reach):
            done = achieved & ~failed
            return torch.where(done, 1.0, pay * (1 - c.discount) * ~ended), ended | done
        return pay * (1 - c.discount) * ~ended, ended

    def _fresh(self, count: int) -> Belief:
        return self.starts[torch.randint(self.count, (count,), generator=self.generator)]


def _narrower(objective: Objective) -> Objective:
    """Return an objective that asks for a little more."""
    if isinstance(objective, Reach):
        return replace(objective, tolerance=_INSIDE * objective.tolerance)
    return objective
