"""Adapters: what training changed of a language model, as low-rank matrices in PEFT's files, with a card.

An adapter is added to the weights when the model is loaded, so that it costs nothing afterwards; a server takes the
same folder as it is. Knows nothing of training.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gedanken.agent.llm.protocol import LLMError, Training

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "card.json"
FORMAT = 1
SHIPPED = Path(__file__).parent / "adapters"
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


class AdapterError(LLMError):
    """An adapter is missing, damaged, or made for other weights."""


@dataclass(frozen=True)
class Adapter:
    """One adapter's folder.

    `base` is the SHA-256 of the weights that it was trained for, and
    layers before `first_layer` are as they were: what reads their hidden states need not know of the adapter.
    """

    path: Path
    training: Training
    base: str
    first_layer: int
    rank: int
    scale: float
    card: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the folder's name."""
        return self.path.name

    @classmethod
    def open(cls, path: Path) -> Adapter:
        """Read an adapter's settings. Raises AdapterError."""
        try:
            card = json.loads((path / CARD).read_text(encoding="utf-8"))
            config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
            found = int(card["format"])
            rank = int(config["r"])
            scale = float(config["lora_alpha"]) / rank
            training = Training(
                str(card["prompt"]), bool(card.get("declines", False)), bool(card.get("supposes", False))
            )
            adapter = cls(path, training, str(card["base_sha256"]), int(card["first_layer"]), rank, scale, card)
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise AdapterError(
                f"no usable adapter in {path} ({error!r}); train it again: gedanken train --planner"
            ) from error
        if found != FORMAT:
            raise AdapterError(f"adapter {path.name!r} has format {found}, this version knows {FORMAT}; train it again")
        return adapter

    def check(self, digest: str) -> None:
        """Raise AdapterError unless it was trained for the weights with this SHA-256."""
        if self.base != digest:
            raise AdapterError(
                f"adapter {self.name!r} was trained for a model with SHA-256 {self.base[:12]}…, and the one here"
                f" has {digest[:12]}…; fetch that one ({self.card.get('base', 'see its card')}), or train it again"
            )

    def merge(self, model: nn.Module) -> int:
        """Add it to a model's weights in place; return how many layers it changed. Raises AdapterError."""
        try:
            tensors = load_file(self.path / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise AdapterError(f"the weights of adapter {self.path} are damaged ({error}); train it again") from error
        names = [name.removesuffix(_DOWN) for name in tensors if name.endswith(_DOWN)]
        try:
            if not names or len(tensors) != 2 * len(names):
                raise KeyError(f"{len(tensors)} tensors, of which {len(names)} pairs")
            changes = [
                (
                    model.get_submodule(name.removeprefix(_PREFIX)).get_parameter("weight"),
                    self.scale * (tensors[name + _UP].float() @ tensors[name + _DOWN].float()),
                )
                for name in names
            ]
            for weight, change in changes:  # all of them, before any is changed
                if weight.shape != change.shape:
                    raise ValueError(f"{tuple(change.shape)} for {tuple(weight.shape)}")
            with torch.no_grad():
                for weight, change in changes:
                    weight.add_(change.to(weight))
        except (AttributeError, KeyError, RuntimeError, ValueError) as error:
            raise AdapterError(f"adapter {self.name!r} does not fit this language model ({error})") from error
        return len(names)


def adapters_home() -> Path:
    """Return the folder of the user's own adapters."""
    from gedanken.worldmodel.checkpoint import home

    return home() / "adapters"


def available() -> dict[str, Path]:
    """Return the folders of the adapters there are by name: those that ship, and the user's own."""
    folders = [path.parent for base in (SHIPPED, adapters_home()) for path in sorted(base.glob(f"*/{CONFIG}"))]
    return {folder.name: folder for folder in folders}


def resolve(name: str) -> Path:
    """Return an adapter's folder by its name or its path. Raises AdapterError naming those there are."""
    known = available()
    if name in known or (Path(name) / CONFIG).is_file():
        return known.get(name, Path(name))
    raise AdapterError(
        f"no adapter {name!r}; there are: {', '.join(known) or 'none'}. `gedanken train --planner` makes one"
    )
