from pathlib import Path
from typing import Any

import pytest

from gedanken.agent.config import LoopConfig
from gedanken.evals.errors import EvalError
from gedanken.evals.shift import ShiftSuite
from gedanken.evals.shift_learning import FIRST, ShiftSetting, shifted_path
from gedanken.evals.suite import Options, Parts, assemble
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.adapt import SIZES
from gedanken.worldmodel.experience import ExperienceStore

TASK = "BabyAI-GoToObj-v0+swapped-turns"
TINY = ShiftSetting(budgets=(2, 3), training_seeds=1, adapting=SIZES["debug"])


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path))
    return assemble("babyai", LoopConfig())


def measured(suite: ShiftSuite, parts: Parts, *arms: str) -> list[dict[str, Any]]:
    return list(suite.measure(parts, Options(limit=2, seed=1, arms=arms), set()))


def test_stages_learn_from_more_and_more_episodes_on_training_seeds(parts: Parts) -> None:
    suite = ShiftSuite([TASK], TINY)
    samples = measured(suite, parts, "after 3", "after 2", "before", "random")
    assert [s["arm"] for s in samples] == ["random"] * 2 + ["before"] * 2 + ["after 2"] * 2 + ["after 3"] * 2
    with ExperienceStore(checkpoint.home() / "shift" / "shift-BabyAI-GoToObj-v0-swapped-turns-0.sqlite") as store:
        episodes = [episode for _, episode in store.episodes()]
    assert sorted(e.seed for e in episodes) == list(range(FIRST, FIRST + 3))
    assert all((e.expert == -1).all() and e.world == TASK for e in episodes)
    options = Options(limit=2, seed=1, arms=("after 3", "after 2"))
    assert all(path.is_file() for path in suite.weights(options)) and len(suite.weights(options)) == 2
    assert measured(suite, parts, "after 3")[0]["actions"] == samples[-2]["actions"], "kept, and the same again"
    tables = suite.tables(suite.summarise(samples))
    assert tables[0].columns == ("level", "after 3", "after 2", "before", "random")


def test_the_ceiling_is_the_level_as_it_was(parts: Parts) -> None:
    samples = measured(ShiftSuite([TASK], TINY), parts, "not shifted", "no-op")
    assert [(s["arm"], s["task"]) for s in samples] == [("no-op", TASK)] * 2 + [("not shifted", TASK)] * 2
    assert [s["success"] for s in samples] == [False] * 2 + [True] * 2


def test_without_imagination_as_many_steps_are_taken_on_what_is_real() -> None:
    real, imagined = (TINY.config(0, imagined) for imagined in (False, True))
    assert (real.steps, real.dreams) == (imagined.steps + imagined.dreams, 0)
    assert shifted_path(TASK, 0, 50, True) != shifted_path(TASK, 0, 50, False)


def test_what_was_learned_otherwise_is_not_taken_for_the_same(parts: Parts) -> None:
    measured(ShiftSuite([TASK], TINY), parts, "after 2")
    other = TINY.model_copy(update={"adapting": SIZES["debug"].model_copy(update={"rate": 1e-4})})
    with pytest.raises(EvalError, match="learned otherwise"):
        measured(ShiftSuite([TASK], other), parts, "after 2")
