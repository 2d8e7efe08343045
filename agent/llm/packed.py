"""Linear layers whose weights lie packed in half precision, for CPUs without bfloat16; computes in single precision.

Decoding a few rows is bound by reading the weights: half of the bytes, laid out in the order of use, take a third of
the time of `torch.nn.Linear` on AVX2 (2 cores, all layers of SmolLM2-135M: 24 ms instead of 75 for 4 rows, 116 instead
of 144 for 64). Weights that were stored in float16 lose nothing. Inference only.
"""

from __future__ import annotations

import torch
from torch import Tensor


class PackedLinear(torch.nn.Module):
    """A frozen `torch.nn.Linear` in FBGEMM's float16 layout."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias = None if linear.bias is None else linear.bias.detach().float()
        self._packed = torch.ops.quantized.linear_prepack_fp16(linear.weight.detach().float(), bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs @ weight.T + bias`."""
        outputs: Tensor = torch.ops.quantized.linear_dynamic_fp16(inputs, self._packed)
        return outputs


def can_pack() -> bool:
    """Whether this build of torch and this CPU have the layout."""
    return "fbgemm" in torch.backends.quantized.supported_engines and torch.cpu._is_avx2_supported()


def pack(model: torch.nn.Module, *, keep: torch.nn.Module | None = None) -> int:
    """Replace the linear layers inside `model`, but for `keep`; returns how many."""
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear) and child is not keep:
                setattr(parent, name, PackedLinear(child))
                count += 1
    return count
