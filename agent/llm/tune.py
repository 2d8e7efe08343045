"""Training of a language model by low-rank adaptation on pairs of prompt and answer. Knows no world and no plans.

LoRA: Hu et al., 2021. Short examples lie end to end in one row, each blind to the others; only answers are learned.
Attention is computed example by example: over the whole row it would be a third of a step's time for nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import BaseModel, Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from gedanken.agent.llm.adapter import CARD, CONFIG, FORMAT, WEIGHTS, Adapter
from gedanken.agent.llm.embedded import quiet
from gedanken.agent.llm.protocol import LLMError
from gedanken.worldmodel.precision import fastest_dtype

Examples = Callable[[int], tuple[str, str]]
"""From an index to a prompt and its answer; the same index gives the same pair."""


EACH_ALONE = "each_alone"


def _each_alone(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: None,
    scaling: float,
    sizes: tuple[int, ...] = (),
    **_others: Any,
) -> tuple[Tensor, None]:
    """Causal attention `[1, heads, T, size]` inside each of a row's examples; without sizes it is one example."""
    parts = (torch.split(states, list(sizes) or query.shape[2], dim=2) for states in (query, key, value))
    attended = [
        F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        for q, k, v in zip(*parts, strict=True)
    ]
    return torch.cat(attended, dim=2).transpose(1, 2), None


AttentionInterface.register(EACH_ALONE, _each_alone)


class TuningError(LLMError):
    """Training can't go on; the last good state is kept."""


class TuneConfig(BaseModel):
    """How to train.

    Attributes:
        steps: gradient steps in all; the learning rate falls over them as a half cosine to a tenth.
        tokens: most tokens of one step, prompts included.
        rank, alpha: of the low-rank matrices, which are scaled by alpha / rank.
        first_layer: layers before this one stay as they are.
        rate: peak of AdamW's learning rate, reached after `warmup` steps.
        clip: largest norm of the gradient.
        seed: of the matrices' first values.
        save_every: gradient steps between two states written to disk.
    """

    steps: int = Field(default=800, ge=1)
    tokens: int = Field(default=1024, ge=16)
    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    first_layer: int = Field(default=3, ge=0)
    rate: float = Field(default=4e-4, gt=0)
    warmup: int = 40
    clip: float = 1.0
    seed: int = 0
    save_every: int = Field(default=50, ge=1)


@dataclass(frozen=True)
class Row:
    """Examples end to end: tokens `[T]`, their places `[T]`, which of them are answers `[T]`; the examples' sizes."""

    tokens: Tensor
    places: Tensor
    answers: Tensor
    sizes: tuple[int, ...]


class Packer:
    """Fills rows with as many examples as fit, one after the other."""

    def __init__(self, tokenizer: Any, examples: Examples, most: int, end: int) -> None:
        self._tokenizer, self._examples, self._most, self._end = tokenizer, examples, most, end

    def row(self, index: int) -> Row:
        """Return the row that begins with example `index`. Raises TuningError for one that fits no row."""
        tokens: list[int] = []
        places: list[int] = []
        answers: list[bool] = []
        sizes: list[int] = []
        while True:
            prompt, answer = (self._encode(text) for text in self._examples(index + len(sizes)))
            answer.append(self._end)
            size = len(prompt) + len(answer)
            if size > self._most:
                raise TuningError(
                    f"example {index + len(sizes)} has {size} tokens, a row holds {self._most}; raise `tokens`"
                )
            if len(tokens) + size > self._most:
                return Row(torch.tensor(tokens), torch.tensor(places), torch.tensor(answers), tuple(sizes))
            tokens += prompt + answer
            places += range(size)
            answers += [False] * len(prompt) + [True] * len(answer)
            sizes.append(size)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))


class Tuner:
    """A language model being trained; all of a run is kept in the folder `work`, and taken up again where there is one.

    The first values are those of the adapter `begin`, where there is one. Raises TuningError where that is of another
    shape, and where `work` was begun with other settings.
    """

    def __init__(
        self, base: Path, examples: Examples, config: TuneConfig, work: Path, begin: Adapter | None = None
    ) -> None:
        self.config, self.work, self.base = config, work, base
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                base,
                dtype=fastest_dtype("cuda" if torch.cuda.is_available() else "cpu"),
                attn_implementation=EACH_ALONE,
                use_safetensors=True,
                local_files_only=True,
            )
        torch.manual_seed(config.seed)
        self._inner: PreTrainedModel = model
        self.model = _adapted(model, config)
        if begin is not None:
            _begin_from(begin, self.model)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self.parameters, lr=config.rate, weight_decay=0.0)
        self._packer = Packer(tokenizer, examples, config.tokens, int(tokenizer.eos_token_id))
        self.step = self.seen = self.tokens = 0
        self.seconds = 0.0
        work.mkdir(parents=True, exist_ok=True)
        self._restore()

    def train(self) -> Iterator[dict[str, float]]:
        """Train to the end; yield step, loss (nats a token of the answers), examples and tokens a second.

        Raises TuningError when the loss or its gradient is no number: the state written last stays as it is.
        """
        self.model.train()
        while self.step < self.config.steps:
            began = time.perf_counter()
            row = self._packer.row(self.seen)
            for group in self._optimizer.param_groups:
                group["lr"] = self.config.rate * _schedule(self.step, self.config)
            with self._rounding():
                loss = self.loss(row)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
            if not (torch.isfinite(loss) and torch.isfinite(norm)):
                raise TuningError(
                    f"step {self.step + 1}: loss {loss.item()}, gradient {norm.item()}; the last good state is kept"
                    f" in {self.work}: the same command goes on there, or begin anew with a smaller rate"
                )
            self._optimizer.step()
            seconds = time.perf_counter() - began
            self.step, self.seen = self.step + 1, self.seen + len(row.sizes)
            self.tokens, self.seconds = self.tokens + len(row.tokens), self.seconds + seconds
            measured = {
                "step": self.step,
                "loss": loss.item(),
                "examples": self.seen,
                "tokens_per_second": len(row.tokens) / seconds,
            }
            with (self.work / "metrics.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(measured) + "\n")
            if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                self._keep()
            yield measured

    def loss(self, row: Row) -> Tensor:
        """Return the mean cross-entropy of the answers' tokens, in nats; logits are computed for these only."""
        hidden: Tensor = self._inner.base_model(
            input_ids=row.tokens[None], position_ids=row.places[None], use_cache=False, sizes=row.sizes
        ).last_hidden_state[0]
        here = row.answers.nonzero().squeeze(1)  # an answer never begins a row: a prompt is before it
        logits = self._inner.get_output_embeddings()(hidden[here - 1])  # type: ignore[no-untyped-call]
        return F.cross_entropy(logits.float(), row.tokens[here])

    def save(self, path: Path, card: dict[str, Any]) -> Path:
        """Write the adapter into a new folder, whole or not at all. Raises TuningError where the folder exists."""
        if path.exists():
            raise TuningError(f"{path} exists; an adapter is never overwritten, choose another --name")
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            self.model.save_pretrained(str(folder))
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            config["base_model_name_or_path"] = card["base"]  # and not where it lay
            (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
            tensors = {name: tensor.half().contiguous() for name, tensor in load_file(folder / WEIGHTS).items()}
            save_file(tensors, folder / WEIGHTS)
            about = {
                "format": FORMAT,
                "first_layer": self.config.first_layer,
                **card,
                "training": self.config.model_dump(),
                "steps": self.step,
                "examples": self.seen,
                "tokens": self.tokens,
                "seconds": round(self.seconds),
                "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} torch threads",
            }
            (folder / CARD).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            (folder / "README.md").write_text(_card_text(path.name, about), encoding="utf-8")
            folder.chmod(0o755)
            for file in folder.iterdir():
                file.chmod(0o644)
            folder.rename(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return path

    @contextlib.contextmanager
    def _rounding(self) -> Iterator[None]:
        """Compute in bfloat16, the low-rank matrices, too, where the model does; on a CPU attention as plain products.

        On one with AMX a step of 1,024 tokens takes 4.6 s without either, 3.2 s without the latter, 2.9 s with both.
        """
        device, rounds = self._inner.device.type, self._inner.dtype == torch.bfloat16
        plain = sdpa_kernel(SDPBackend.MATH) if rounds and device == "cpu" else contextlib.nullcontext()
        with torch.autocast(device, torch.bfloat16, enabled=rounds), plain:
            yield

    # ---- state -----------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        state = {
            "config": self.config.model_dump_json(),
            "adapter": [parameter.detach() for parameter in self.parameters],
            "optimizer": self._optimizer.state_dict(),
            "counts": [self.step, self.seen, self.tokens, self.seconds],
        }
        torch.save(state, self.work / "state.tmp")
        (self.work / "state.tmp").replace(self.work / "state.pt")

    def _restore(self) -> None:
        path = self.work / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        begun = TuneConfig.model_validate_json(state["config"])
        if begun != self.config:
            raise TuningError(f"{self.work} was begun with other settings ({begun}); choose another --folder")
        with torch.no_grad():
            for parameter, kept in zip(self.parameters, state["adapter"], strict=True):
                parameter.copy_(kept)
        self._optimizer.load_state_dict(state["optimizer"])
        self.step, self.seen, self.tokens = (int(n) for n in state["counts"][:3])
        self.seconds = float(state["counts"][3])


def _adapted(model: PreTrainedModel, config: TuneConfig) -> PeftModel:
    depth = int(model.config.num_hidden_layers)
    if config.first_layer >= depth:
        raise TuningError(f"the language model has {depth} layers, none is left from layer {config.first_layer} on")
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    linear = {
        n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head
    }
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=0.0,
        target_modules=sorted(linear),
        layers_to_transform=list(range(config.first_layer, depth)),
        task_type="CAUSAL_LM",
    )
    adapted: PeftModel = get_peft_model(model, lora)
    return adapted


def _begin_from(adapter: Adapter, model: PeftModel) -> None:
    tensors = {name: tensor.float() for name, tensor in load_file(adapter.path / WEIGHTS).items()}
    wanted = get_peft_model_state_dict(model)
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in wanted.items()}:
        raise TuningError(f"adapter {adapter.name!r} has other layers or ranks than what is to be trained")
    set_peft_model_state_dict(model, tensors)


def _schedule(step: int, config: TuneConfig) -> float:
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done))


def _card_text(name: str, card: dict[str, Any]) -> str:
    parts = [card]
    while isinstance(before := parts[-1].get("begins_from"), dict):
        parts.append(before)
    told = ("command", "steps", "examples", "tokens", "seconds", "data")
    lines = [f"# {name}", "", "A low-rank adapter for a language model, in PEFT's format.", ""]
    lines += [f"- **{key}**: {value}" for key, value in card.items() if key not in told and not isinstance(value, dict)]
    lines += ["", "How it was trained, every part going on from the one before:", ""]
    for part in parts[::-1]:
        amounts = ", ".join(f"{part[key]} {key}" for key in told[1:5] if key in part)
        lines.append(f"1. `{part.get('command', part.get('name'))}`: {amounts}. {part.get('data', '')}".rstrip())
    return "\n".join(lines) + "\n"


def losses(work: Path, last: int = 50) -> Sequence[float]:
    """Return the losses of a run's last steps."""
    lines = (work / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [float(json.loads(line)["loss"]) for line in lines[-last:]]
