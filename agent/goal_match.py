"""Does achieving a plan's steps satisfy the goal as it was said? A small head on the language model's hidden states.

Learned from plans that were carried out and goals that were met or not (`goal_practice`). Knows no world but its spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel
from torch import Tensor, nn

from gedanken.agent.goal_practice import Heard
from gedanken.agent.goals import GoalError
from gedanken.agent.llm.protocol import Encoder
from gedanken.worlds.spec import MAX_STEPS, Plan, WorldSpec

MOST_TOKENS = 96
"""Most tokens of a goal."""


class GoalMatchConfig(BaseModel):
    """Sizes of the head.

    Attributes:
        features: width of the encoder's hidden states.
        layer: the encoder's layer that is read.
        width, layers, heads: of the transformer over the goal's tokens and the plan's words.
    """

    features: int = 576
    layer: int = 3
    width: int = 96
    layers: int = 3
    heads: int = 4


class GoalMatch(nn.Module):
    """A transformer over [one summary token, the goal's tokens, the plan's words]: a skill or an argument is a word."""

    def __init__(self, spec: WorldSpec, config: GoalMatchConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        width = config.width
        self.read = nn.Linear(config.features, width)
        self.place = nn.Embedding(MOST_TOKENS, width)
        sizes = torch.tensor(spec.step_sizes)
        self.offsets: Tensor
        self.register_buffer("offsets", torch.cumsum(sizes, 0) - sizes, persistent=False)
        self.words = nn.Embedding(int(sizes.sum()), width)
        self.order = nn.Embedding(MAX_STEPS, width)
        self.parts = nn.Embedding(1 + spec.max_arguments, width)
        self.summary = nn.Parameter(torch.zeros(1, 1, width))
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 3 * width, dropout=0.05, activation="gelu", batch_first=True, norm_first=True
        )
        self.mix = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, 1)

    def forward(self, features: Tensor, mask: Tensor, steps: Tensor) -> Tensor:
        """Return logits [B] for goals [B, L, D], their mask [B, L] and plans [B, K, G], -1 where there is no step."""
        batch, length = mask.shape
        goal = self.read(features) + self.place(torch.arange(length, device=mask.device))
        here = steps[..., 0] >= 0  # [B, K]
        words = self.words(steps.clamp(min=0) + self.offsets)  # [B, K, G, width]
        per = len(self.spec.attributes)
        arguments = words[:, :, 1:].unflatten(2, (self.spec.max_arguments, per)).sum(3)
        parts = torch.cat([words[:, :, :1], arguments], 2) + self.parts.weight  # [B, K, 1 + arguments, width]
        parts = parts + self.order(torch.arange(steps.shape[1], device=mask.device))[:, None]
        x = torch.cat([self.summary.expand(batch, -1, -1), goal, parts.flatten(1, 2)], 1)
        seen = [mask.new_ones(batch, 1), mask, here.repeat_interleave(1 + self.spec.max_arguments, 1)]
        x = self.mix(x, src_key_padding_mask=~torch.cat(seen, 1))
        logits: Tensor = self.out(x[:, 0])
        return logits.squeeze(-1)

    def encode(self, encoder: Encoder, goals: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the features and mask of goals. Raises GoalError for one of more than MOST_TOKENS tokens."""
        features, mask = encoder.embed(goals, layer=self.config.layer)
        if mask.shape[1] > MOST_TOKENS:
            raise GoalError(f"the goal has {mask.shape[1]} tokens and I can read {MOST_TOKENS}; say it in fewer words")
        return features.float(), mask.bool()

    @torch.no_grad()
    def probability(self, encoder: Encoder, goal: str, plans: Sequence[Plan]) -> Tensor:
        """Return, for each plan [N], the probability that achieving its steps satisfies the goal."""
        features, mask = self.encode(encoder, [goal])
        steps = pad_plans(self.spec, plans)
        rows = len(plans)
        logits: Tensor = self(features.expand(rows, -1, -1), mask.expand(rows, -1), steps)
        return logits.sigmoid()


def pad_plans(spec: WorldSpec, plans: Sequence[Plan]) -> Tensor:
    """Encode plans as [N, K, G], K the longest one's steps, -1 where there is no step."""
    longest = max(len(plan.steps) for plan in plans)
    nothing = (-1,) * len(spec.step_sizes)
    return torch.tensor([[*spec.plan_codes(p.steps), *[nothing] * (longest - len(p.steps))] for p in plans])


def train_goal_match(
    head: GoalMatch,
    encoder: Encoder,
    heard: Sequence[Heard],
    *,
    epochs: int,
    seed: int,
    rate: float = 1e-3,
    batch: int = 256,
) -> Iterator[dict[str, float]]:
    """Train in place on what was heard; yield mean loss and accuracy of each epoch's last hundred batches."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pairs = [(i, text, met) for i, item in enumerate(heard) for text, met in zip(item.goals, item.met, strict=True)]
    plans = [item.plan for item in heard]
    batch = min(batch, len(pairs))
    texts = sorted({text for _, text, _ in pairs})
    memory = _Memory(head, encoder, texts)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.01)
    total = epochs * (len(pairs) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=max(2, total), pct_start=0.1)
    head.train()
    for epoch in range(epochs):
        recent: list[tuple[float, float]] = []
        for rows in _batches([len(text) for _, text, _ in pairs], batch, rng):
            chosen = [pairs[i] for i in rows]
            features, mask = memory([text for _, text, _ in chosen])
            steps = pad_plans(head.spec, [plans[i] for i, _, _ in chosen])
            target = torch.tensor([float(met) for _, _, met in chosen])
            logits = head(features, mask, steps)
            loss = F.binary_cross_entropy_with_logits(logits, target)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            recent.append((loss.item(), ((logits > 0) == (target > 0.5)).float().mean().item()))
        means = np.mean(recent[-100:], axis=0)
        yield {"epoch": epoch, "loss": float(means[0]), "accuracy": float(means[1])}
    head.eval()


def _batches(lengths: Sequence[int], batch: int, rng: np.random.Generator, together: int = 16) -> list[list[int]]:
    """Return an epoch's batches; of each `together` in random order the rows are sorted, so that little is padded."""
    order, batches = rng.permutation(len(lengths)), list[list[int]]()
    for start in range(0, len(order), together * batch):
        block = sorted(order[start : start + together * batch].tolist(), key=lengths.__getitem__)
        batches += [block[first : first + batch] for first in range(0, len(block) - batch + 1, batch)]
    return [batches[i] for i in rng.permutation(len(batches))]


class _Memory:
    """The goals' hidden states, computed once and kept in half precision, shortest first so that little is padded."""

    def __init__(self, head: GoalMatch, encoder: Encoder, texts: Sequence[str], chunk: int = 256) -> None:
        self._rows: dict[str, Tensor] = {}
        ordered = sorted(texts, key=len)
        for start in range(0, len(ordered), chunk):
            part = ordered[start : start + chunk]
            features, mask = head.encode(encoder, part)
            for text, row, kept in zip(part, features, mask, strict=True):
                self._rows[text] = row[kept].half()

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [self._rows[text] for text in texts]
        features = nn.utils.rnn.pad_sequence(rows, batch_first=True).float()
        lengths = torch.tensor([len(row) for row in rows])
        return features, torch.arange(features.shape[1]) < lengths[:, None]
