"""In which precision this machine computes best. Knows no model."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def fastest_dtype(device: str) -> torch.dtype:
    """bfloat16 where a device computes in it natively, else float32 (emulated, it is ten times slower on a CPU)."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def rounding(device: str, enabled: bool = True) -> AbstractContextManager[object]:
    """Compute products and convolutions on a device in bfloat16, where that is native; parameters stay as they are."""
    return torch.autocast(device, torch.bfloat16, enabled=enabled and fastest_dtype(device) == torch.bfloat16)


def exact(device: str) -> AbstractContextManager[object]:
    """Compute as the tensors are, also within `rounding`."""
    return torch.autocast(device, enabled=False)


__all__ = ["exact", "fastest_dtype", "rounding"]
