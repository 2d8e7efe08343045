"""How quick a world model imagines and learns on this machine, next to what the machine's matrix products reach."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from gedanken.evals.speed import RATES
from gedanken.evals.statistics import quantiles
from gedanken.evals.suite import Parts, Table
from gedanken.worldmodel.precision import fastest_dtype

SIDE, PRODUCTS = 1024, 8


def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Return the floating-point operations a second of large matrix products, the best of a few."""
    a, b = (torch.randn(SIDE, SIDE, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * SIDE**3 / best


def bench_model(parts: Parts) -> dict[str, Any]:
    """Measure rates, the arithmetic of a step or frame, and the share of the matmul rate that it comes to."""
    device = next(parts.trained.controller.parameters()).device
    types = {rounded: fastest_dtype(device.type) if rounded else torch.float32 for rounded in (False, True)}
    peaks = {rounded: matmul_rate(device, dtype) for rounded, dtype in types.items()}
    rows = {}
    for name, rate in RATES.items():
        spread = dict(zip(("low", "median", "high"), quantiles(list(rate.timed(parts))), strict=True))
        once = rate.prepare(parts)
        with FlopCounterMode(display=False) as counter:
            once()
        operations = counter.get_total_flops() / rate.each
        share = spread["median"] * operations / peaks[rate.rounded]
        dtype = str(types[rate.rounded]).removeprefix("torch.")
        rows[name] = {**spread, "operations": operations, "share": share, "matmul": peaks[rate.rounded], "dtype": dtype}
    return {"model": parts.trained.name, "threads": torch.get_num_threads(), "rates": rows}


def table(results: dict[str, Any]) -> Table:
    """Return the results for people."""
    rows = tuple(
        (
            name,
            *(f"{row[key]:,.0f}" for key in ("median", "low", "high")),
            f"{row['operations'] / 1e6:.2f}",
            f"{row['share']:.1%}",
            f"{row['matmul'] / 1e9:.0f}, {row['dtype']}",
        )
        for name, row in results["rates"].items()
    )
    note = f"{results['threads']} threads; matmul rate: GFLOP/s of large products here, in the same precision"
    columns = ("what", "a second", "10 %", "90 %", "MFLOP each", "of the matmul rate", "matmul rate")
    return Table(f"{results['model']}: steps or frames", columns, rows, note)
