"""The critic: will a plan be carried out, and does that meet the goal as it was said? One number, and words for it.

Learned from what really happened: the goal's head (`goal_match`) and the calibration of all evidence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gedanken.agent.goal_match import GoalMatch, GoalMatchConfig
from gedanken.agent.llm.protocol import Encoder
from gedanken.agent.readings import Reading, understood
from gedanken.agent.verdict import Verdict
from gedanken.worldmodel.checkpoint import CheckpointError, fill, made_by_another_version, stored
from gedanken.worldmodel.rehearse import Rehearsal
from gedanken.worlds.protocol import Observation
from gedanken.worlds.spec import Plan, WorldSpec

Describe = Callable[[Observation, tuple[int, ...]], str]
FEATURES = ("carried_out", "satisfies", "doubt")
FORMAT = 1
"""Of critic.json and critic.safetensors; a file that names none has format 1."""

NOT_ASKED = "its steps can be done, but they are not what the goal asks for"

Z90 = 1.645


@dataclass(frozen=True)
class Evidence:
    """What is known of each of N plans before it is judged; every tensor is [N]."""

    carried_out: Tensor  # share of the futures in which all steps were achieved
    satisfies: Tensor  # probability that achieving the steps meets the goal
    actions: Tensor  # mean number of actions of the futures that were carried out, NaN where none was
    disagreement: Tensor  # mean nats an action
    futures: int

    def features(self) -> Tensor:
        """Return the calibration's inputs, [N, FEATURES]."""
        share = (self.carried_out * self.futures + 0.5) / (self.futures + 1)
        satisfies = self.satisfies.clamp(1e-3, 1 - 1e-3)
        return torch.stack([share.logit(), satisfies.logit(), self.disagreement.clamp(max=1.0) * 10.0], 1)


def evidence_of(rehearsal: Rehearsal, satisfies: Tensor) -> Evidence:
    """Gather what a rehearsal says of its plans."""
    success, length = rehearsal.success, rehearsal.length.float()
    alive = rehearsal.actions >= 0
    return Evidence(
        carried_out=success.float().mean(1).cpu(),
        satisfies=satisfies.cpu(),
        actions=torch.where(success, length, torch.nan).nanmean(1).cpu(),
        disagreement=((rehearsal.disagreement * alive).sum((1, 2)) / alive.sum((1, 2)).clamp(min=1)).cpu(),
        futures=success.shape[1],
    )


class Calibration(nn.Module):
    """From evidence to real success: the plan is carried out, and it is what was meant.

    Each factor is a logistic of its own evidence, fitted to real successes together; no evidence counts the wrong way.
    """

    def __init__(self) -> None:
        super().__init__()
        # before anything has been fitted, the evidence is believed as it stands, and doubt does not count
        self.slopes = nn.Parameter(torch.tensor([1.0, 1.0, 0.01]).expm1().log())
        self.biases = nn.Parameter(torch.zeros(2))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logit of success, [N]."""
        carried_out, satisfies, doubt = features.unbind(1)
        slopes = F.softplus(self.slopes)
        done = F.logsigmoid(slopes[0] * carried_out - slopes[2] * doubt + self.biases[0])
        both = (done + F.logsigmoid(slopes[1] * satisfies + self.biases[1])).clamp(max=-1e-4)
        return both - torch.log(-torch.expm1(both))

    def fit(self, features: Tensor, happened: Tensor, shrink: float = 1e-3) -> float:
        """Fit to outcomes [N] of 0 and 1 by quasi-Newton descent; return the mean log-loss in nats."""
        optimizer = torch.optim.LBFGS(self.parameters(), max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = F.binary_cross_entropy_with_logits(self(features), happened)
            value = value + shrink * sum(parameter.square().sum() for parameter in self.parameters())
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            return float(F.binary_cross_entropy_with_logits(self(features), happened))


class Critic:
    """Judges rehearsed plans against a goal in words."""

    def __init__(self, match: GoalMatch, encoder: Encoder, calibration: Calibration | None = None) -> None:
        self.match, self.encoder = match.eval(), encoder
        self.calibration = calibration or Calibration()
        self.fit: dict[str, float] = {}

    def satisfies(self, goal: str, plans: Sequence[Plan], readings: Sequence[Reading] = ()) -> list[float]:
        """Return, for each plan, the probability that achieving its steps meets the goal."""
        return [float(p) for p in self._meant(goal, plans, readings)]

    def evidence(self, goal: str, rehearsal: Rehearsal, readings: Sequence[Reading] = ()) -> Evidence:
        """Return what is known of each plan before it is judged."""
        return evidence_of(rehearsal, self._meant(goal, rehearsal.plans, readings))

    def _meant(self, goal: str, plans: Sequence[Plan], readings: Sequence[Reading]) -> Tensor:
        """Read the goal as a language model does that was trained to; without `readings`, as it was said."""
        if readings:
            return understood(self.match, self.encoder, plans, readings)
        return self.match.probability(self.encoder, goal, plans)

    @torch.no_grad()
    def judge(
        self,
        goal: str,
        rehearsal: Rehearsal,
        describe: Describe | None = None,
        readings: Sequence[Reading] = (),
    ) -> list[Verdict]:
        """Return one verdict per plan, in the rehearsal's order; `describe` says what a view shows."""
        evidence = self.evidence(goal, rehearsal, readings)
        logits = self.calibration(evidence.features())
        return [self._verdict(rehearsal, evidence, i, float(logits[i]), describe) for i in range(len(rehearsal.plans))]

    def _verdict(
        self, rehearsal: Rehearsal, evidence: Evidence, index: int, logit: float, describe: Describe | None
    ) -> Verdict:
        plan, futures = rehearsal.plans[index], evidence.futures
        ended = (rehearsal.reached[index, :, : len(plan.steps)] >= 0).sum(1)  # steps achieved in each future
        failed = torch.bincount(ended, minlength=len(plan.steps) + 1)[: len(plan.steps)]
        failing = int(failed.argmax()) if int(failed.sum()) else None
        share = float(evidence.carried_out[index])
        success = torch.tensor(logit).sigmoid().item()
        spread = Z90 * (success * (1 - success) / futures) ** 0.5 + float(evidence.disagreement[index].clamp(max=0.2))
        actions = float(evidence.actions[index])
        verdict = Verdict(
            plan=plan,
            success=success,
            low=max(0.0, success - spread),
            high=min(1.0, success + spread),
            satisfies=float(evidence.satisfies[index]),
            carried_out=share,
            steps=None if actions != actions else actions,
            failing_step=failing,
            failing_share=0.0 if failing is None else int(failed[failing]) / futures,
            disagreement=float(evidence.disagreement[index]),
            reasons="",
            futures=futures,
        )
        state = ""
        if describe and failing is not None:
            example = int((ended == failing).nonzero()[0])
            state = self._state(rehearsal.ends[index, example].cpu().numpy(), describe)
        return verdict.model_copy(update={"reasons": reasons(verdict, state)})

    def _state(self, view: Observation, describe: Describe) -> str:
        """Say what the agent faces and holds at the end of a future."""
        field = self.match.spec.grid
        (row, column), near = field.agent, np.full_like(view, 0)
        near[..., 0] = field.hidden
        for r, c in ((row, column), (row - 1, column)):
            near[r, c] = view[r, c]
        return describe(near, field.agent)

    def save(self, path: Path, card: dict[str, object] | None = None) -> None:
        """Write critic.json and critic.safetensors into a checkpoint's folder."""
        parts = {"match": self.match, "calibration": self.calibration}
        tensors = {f"{part}.{k}": stored(v) for part, module in parts.items() for k, v in module.state_dict().items()}
        sizes, spec = self.match.config.model_dump(), self.match.spec.hash
        config = {"format": FORMAT, "config": sizes, "spec_hash": spec, "features": FEATURES}
        save_file(tensors, path / "critic.safetensors")
        (path / "critic.json").write_text(json.dumps({**config, "card": card or {}}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path, spec: WorldSpec, encoder: Encoder) -> Critic:
        """Load from a checkpoint's folder.

        Raises CheckpointError where it is missing, damaged, another world's, or made by another version.
        """
        try:
            config = json.loads((path / "critic.json").read_text(encoding="utf-8"))
            version, hash, features = config.get("format", 1), config["spec_hash"], tuple(config["features"])
            sizes = config["config"]
            tensors = load_file(path / "critic.safetensors")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            why = str(error).partition("\n")[0]
            raise CheckpointError(f"no usable critic in {path} ({why}); fetch or train the checkpoint again") from error
        if version != FORMAT or features != FEATURES:
            raise made_by_another_version(path, f"its critic has format {version} and weighs {', '.join(features)}")
        if hash != spec.hash:
            raise CheckpointError(f"the critic in {path} was trained for another world; train the checkpoint again")
        try:
            match, calibration = GoalMatch(spec, GoalMatchConfig(**sizes)), Calibration()
        except (TypeError, ValueError) as error:
            raise made_by_another_version(path, "the sizes of its critic can't be read") from error
        for part, module in (("match", match), ("calibration", calibration)):
            fill(module, part, tensors, path)
            module.requires_grad_(False)
        return cls(match, encoder, calibration)


def reasons(verdict: Verdict, state: str = "") -> str:
    """Say in one sentence what speaks for or against a plan; `state` is how a future that failed ended."""
    plan, futures = verdict.plan, verdict.futures
    if verdict.failing_step is not None and verdict.carried_out < 0.8:
        step = plan.steps[verdict.failing_step]
        times = round(verdict.failing_share * futures)
        words = f"step {verdict.failing_step + 1} {step} fails in {times} of {futures} futures"
        words += f", for example like this: {state.removesuffix('.')}" if state else ""
    elif verdict.satisfies is not None and verdict.satisfies < 0.5:
        words = NOT_ASKED
    else:
        words = f"all steps achieved in {round(verdict.carried_out * futures)} of {futures} futures"
        words += f", in about {verdict.steps:.0f} actions" if verdict.steps is not None else ""
    if verdict.disagreement > 0.1:
        words += "; the model is unsure here"
    return words
