"""Suites as tasks of inspect-ai: the same samples as `gedanken eval` has, scored and readable in its logs."""

import gc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

inspect_ai = pytest.importorskip("inspect_ai", reason="inspect-ai is not installed")

from gedanken.evals.babyai_local import BabyAILocal  # noqa: E402
from gedanken.evals.errors import EvalError  # noqa: E402
from gedanken.evals.inspect_tasks import FOUND, suite  # noqa: E402
from gedanken.evals.suite import Options, Parts  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

LEVELS = ("BabyAI-GoToObj-v0", "BabyAI-OpenDoor-v0")


@pytest.fixture(autouse=True)
def nothing_left_over() -> Iterator[None]:
    """inspect-ai leaves streams open, and pytest would blame the test during which they are collected."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BabyAILocal, "levels", LEVELS)


def ran(task: Any, folder: Path, **more: Any) -> Any:
    [log] = inspect_ai.eval(task, model="none/none", log_dir=str(folder), display="none", **more)
    return log


@pytest.mark.usefixtures("ours")
def test_an_arm_is_played_as_gedanken_eval_plays_it(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    parts = make_parts()
    log = ran(suite("babyai-local", "bot", limit=2, seed=1, parts=parts), tmp_path)
    assert log.status == "success", log.error
    own = list(BabyAILocal(LEVELS).measure(parts, Options(2, 1, ("bot",)), set()))
    assert {sample.id for sample in log.samples} == {f"{s['task']} {s['seed']}" for s in own}
    by_id = {f"{s['task']} {s['seed']}": s for s in own}
    for sample in log.samples:
        wanted = by_id[sample.id]
        assert sample.store[FOUND]["steps"] == wanted["steps"] and sample.messages[0].text == wanted["goal"]
        assert (sample.scores["success"].value == "C") == wanted["success"]
    metrics = log.results.scores[0].metrics
    assert metrics["all"].value == 1.0 and set(LEVELS) <= set(metrics)


@pytest.mark.usefixtures("ours")
def test_a_seed_that_was_learned_from_is_refused(make_parts: Callable[..., Parts]) -> None:
    parts = make_parts()
    known = replace(parts.trained, card={**parts.trained.card, "seen": {LEVELS[0]: [100_001]}})
    with pytest.raises(EvalError, match="learnt from BabyAI-GoToObj-v0 with seed 100001"):
        suite("babyai-local", "bot", limit=2, seed=1, parts=replace(parts, trained=known))


@pytest.mark.usefixtures("ours")
def test_epochs_have_other_draws(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    log = ran(suite("babyai-local", "llm-alone", limit=1, parts=make_parts()), tmp_path, epochs=2)
    assert log.status == "success" and len(log.samples) == 4
    assert {sample.epoch for sample in log.samples} == {1, 2}


@pytest.mark.usefixtures("ours")
def test_an_episode_that_raises_is_an_error_in_the_log(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    parts = make_parts()
    parts.load_llm = None
    log = ran(suite("babyai-local", "llm-alone", limit=1, parts=parts), tmp_path, fail_on_error=False)
    assert all("needs a language model" in sample.error.message for sample in log.samples)


@pytest.mark.parametrize(
    ("name", "arm", "why"),
    [("planner", None, "no suite of episodes"), ("babyai-local", "nobody", "has no arm 'nobody'")],
)
def test_what_can_not_be_played_is_refused(name: str, arm: str | None, why: str) -> None:
    with pytest.raises(EvalError, match=why):
        suite(name, arm)
