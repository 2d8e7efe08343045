"""How quick a world model imagines and learns on this machine, next to what the machine's matrix products reach."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from gedanken.evals.speed import RATES
from gedanken.evals.statistics import quantiles
from gedanken.evals.suite import Parts, Table

SIDE, PRODUCTS = 1024, 8


def matmul_rate(device: torch.device) -> float:
    """Return the floating-point operations a second of large matrix products in float32, the best of a few."""
    a, b = (torch.randn(SIDE, SIDE, device=device) for _ in range(2))
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
    peak = matmul_rate(next(parts.trained.controller.parameters()).device)
    rows = {}
    for name, rate in RATES.items():
        spread = dict(zip(("low", "median", "high"), quantiles(list(rate.timed(parts))), strict=True))
        once = rate.prepare(parts)
        with FlopCounterMode(display=False) as counter:
            once()
        operations = counter.get_total_flops() / rate.each
        rows[name] = {**spread, "operations": operations, "share": spread["median"] * operations / peak}
    return {"model": parts.trained.name, "threads": torch.get_num_threads(), "matmul": peak, "rates": rows}


def table(results: dict[str, Any]) -> Table:
    """Return the results for people."""
    rows = tuple(
        (
            name,
            *(f"{row[key]:,.0f}" for key in ("median", "low", "high")),
            f"{row['operations'] / 1e6:.2f}",
            f"{row['share']:.1%}",
        )
        for name, row in results["rates"].items()
    )
    note = f"matrix products reach {results['matmul'] / 1e9:.0f} GFLOP/s here, {results['threads']} threads, float32"
    columns = ("what", "a second", "10 %", "90 %", "MFLOP each", "of the matmul rate")
    return Table(f"{results['model']}: steps or frames", columns, rows, note)
