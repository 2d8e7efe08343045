"""The suite `serve` and `gedanken bench serve`: what is asked of a server, and what the pages say of it."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from serving import served, untrained

from gedanken.cli import run
from gedanken.evals import report, serve
from gedanken.evals.main import run_suite
from gedanken.evals.rerun import compare_rerun
from gedanken.evals.suite import Parts
from gedanken.tools.load import Load, load
from gedanken.tools.runs import Runs
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worlds.babyai import BabyAIWorld

ONE = Load(1, 2.0, latencies=[0.1, 0.2], waits=[0.1, 0.4], refusals=[0.01], memory_mib=900.0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return with what servers were put under load; nothing is."""
    asked = list[Any]()

    def load_none(arguments: Sequence[str], path: str, bodies: Any, *, clients: int, seconds: float) -> Load:
        asked.append((arguments, path, clients, seconds))
        return ONE

    monkeypatch.setattr(serve, "serve_and_load", load_none)
    return asked


def test_a_run_gets_onto_the_pages(tmp_path: Path, trained: Trained, asked: list[Any]) -> None:
    parts = Parts(BabyAIWorld, trained)
    answer = run_suite("serve", limit=2, arms=["100 clients"], seed=3, runs=tmp_path / "runs", parts=parts)
    llm = parts.config.llm
    weights = json.loads((tmp_path / "runs" / answer["run"] / "run.json").read_text())["checkpoints"]
    assert [name.split("/")[1] for name in weights] == ["adapter_model.safetensors"], "the server's"
    assert asked == [(["--llm", llm, "--seed", "300000"], "/rehearse", 100, 2)]
    docs = tmp_path / "docs"
    assert report.main([str(tmp_path / "runs" / answer["run"]), "--docs", str(docs), "--readme", "none"]) == 0
    page = (docs / "results.md").read_text()
    assert "## A server under load" in page and f"run [`{answer['run']}`]" in page
    assert "| rehearse, 100 clients: taken up, until its result | 2 | 0.15 | 0.20 | 0.20 |" in page
    assert "| rehearse, 100 clients: sent away with 429 | 1 | 0.01 | 0.01 | 0.01 |" in page
    assert "seed 3, 2 s of load" in page
    assert "| rehearse, 100 clients | 2 | 1.00 | 0 | 0 | 900 |" in page


def test_clocks_aside_a_load_is_the_same_again(trained: Trained, asked: list[Any]) -> None:
    suite, more = serve.ServeSuite(), {"task": "rehearse", "seed": 0, "arm": "1 client"}
    again = Load(1, 3.0, latencies=[0.3], waits=[0.3])
    assert compare_rerun(suite, [{**more, **ONE.as_dict()}], [{**more, **again.as_dict()}]).same


@pytest.mark.parametrize("task", serve.BODIES)
def test_what_is_asked_makes_sense_to_a_server(task: str) -> None:
    with Runs(untrained) as runs, served(runs) as url:
        runs.wake()
        found = asyncio.run(load(url, f"/{task}", serve.BODIES[task], clients=len(serve.BODIES[task]), seconds=0.01))
    assert "422" not in found.failed and found.latencies + list(found.failed.elements())


def test_the_command_prints_tables_or_json(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "serve", "--clients", "3", "--seconds", "2", "--queue", "5", "--checkpoint", "tiny"]) == 0
    assert "rehearse, 3 clients" in capsys.readouterr().out
    arguments = ["--llm", "embedded:planner", "--checkpoint", "tiny", "--queue", "5"]
    assert asked == [(arguments, "/rehearse", 3, 2.0)]
    assert run(["bench", "serve", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answered"]["n"] == 2
