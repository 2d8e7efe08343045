"""The suites of all levels: which arms play, what an episode costs, new plans after failures, several checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gedanken.agent.config import LoopConfig
from gedanken.agent.llm.protocol import Training
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.cli import run
from gedanken.evals.arms import llm_replan
from gedanken.evals.babyai_levels import AIMS, BabyAILevels, BalrogBabyAI
from gedanken.evals.compare import compare
from gedanken.evals.main import run_suite
from gedanken.evals.suite import Options, Parts
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worlds.babyai import level_ids

DOOR = "BabyAI-BALROG-open-v0"
WRITTEN = ["open(door)\n", "go_to(door)\n", "put_next_to(key, door)\n"]
TOKENS = sum(len(plan.split()) for plan in WRITTEN)  # as the double counts them


class Tuned(ScriptedModel):
    """Says that it was trained on the prompt that tells of failed plans."""

    training = Training("plan")


@pytest.fixture
def parts(make_parts: Callable[..., Parts]) -> Parts:
    """Parts whose language model has three plans, and may write two new ones."""
    made = make_parts()
    made.config = LoopConfig.preset("debug", learn_steps=0, patience=5, replans=2)
    made.load_llm = lambda: Tuned(lambda prompt: WRITTEN)
    return made


def test_the_levels_exist_and_have_an_aim() -> None:
    assert set(BabyAILevels.levels) | set(BalrogBabyAI.levels) <= set(level_ids())
    assert len(AIMS) == len(BabyAILevels.levels) == 23 and len(BalrogBabyAI.levels) == 5
    assert all(90 < aim < 100 for aim in (*BabyAILevels.aims.values(), *BalrogBabyAI.aims.values()))


def test_the_loop_plays_only_where_it_is_asked_for(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    chosen = {"limit": 1, "tasks": [DOOR], "runs": tmp_path, "parts": make_parts()}
    usual = run_suite("babyai-levels", **chosen | {"tasks": ["BabyAI-GoTo-v0"]})  # type: ignore[arg-type]
    assert (usual["arm"], list(usual["arms"])) == (
        "llm-replan",
        ["llm-alone", "policy", "oracle-plan", "bot", "random", "no-op"],
    )
    assert {row["first"] for row in usual["differences"]} == {"llm-replan"}
    asked = run_suite("balrog-babyai", arms=["loop", "bot"], **chosen)  # type: ignore[arg-type]
    assert (asked["arm"], list(asked["arms"])) == ("loop", ["bot"])
    assert asked["tasks"][0]["mean_acting_seconds"] > 0 and asked["arms"]["bot"][0]["success"] == 1


def test_a_plan_that_failed_is_followed_by_another(parts: Parts) -> None:
    (sample,) = llm_replan(parts, DOOR, [3])
    llm = parts.together.llm
    assert isinstance(llm, ScriptedModel) and len(llm.prompts) == 3
    assert "Tried" not in llm.prompts[0] and "Found: open(door) was not achieved" in llm.prompts[1]
    assert "Found: go_to(door) was not achieved" in llm.prompts[2]
    assert (sample.first_plan, sample.plan) == ("open(door)", "put_next_to(key, door)"), "none is tried twice"
    assert (sample.arm, sample.decisions, sample.replans, sample.success) == ("llm-replan", 3, 2, False)
    assert sample.steps == 128, "the last plan is not given up before the level ends"
    assert sample.tokens == TOKENS and sample.prompt_tokens > 0 and sample.acting_seconds > 0


def test_without_a_new_plan_an_episode_ends(parts: Parts) -> None:
    parts.load_llm = lambda: ScriptedModel(lambda prompt: WRITTEN[:1])
    (sample,) = llm_replan(parts, DOOR, [3])
    assert (sample.plan, sample.decisions, sample.steps <= 5) == ("open(door)", 2, True)
    parts = Parts(parts.make_world, parts.trained, parts.config, lambda: ScriptedModel(lambda prompt: []))
    (nothing,) = llm_replan(parts, DOOR, [3])
    assert (nothing.plan, nothing.steps, nothing.success) == (None, 0, False)


def test_the_columns_that_balrog_reports(parts: Parts) -> None:
    suite = BalrogBabyAI([DOOR])
    options = Options(limit=2, seed=0, arms=("llm-replan", "llm-alone", "bot"))
    results = suite.summarise(list(suite.measure(parts, options, set())))
    success, costs = suite.tables(results)
    assert success.columns == ("level", "aim", "llm-replan", "llm-alone", "bot") and success.rows[0][1] == "99.5"
    assert "no result" in success.note and success.rows[0][-1].startswith("100.0")
    assert costs.columns[2:5] == ("actions", "tokens in", "tokens out")
    assert [row[:2] for row in costs.rows] == [(DOOR, "llm-replan"), (DOOR, "llm-alone")], "the bot asks nobody"
    assert [row[4] for row in costs.rows] == [str(TOKENS), "1"], "all the plans, or one of a word"


def test_checkpoints_stand_side_by_side(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path / "home"))
    ids = []
    for name in ("first", "second"):
        checkpoint.save(Trained(trained.model, trained.controller, name), checkpoint.home() / "checkpoints" / name)
        asked = ["eval", "babyai-levels", "--limit", "2", "--arm", "random", "--task", "BabyAI-GoToObj-v0", "--json"]
        assert run([*asked, "--checkpoint", name]) == 0
        ids.append(json.loads(capsys.readouterr().out)["run"])
    assert any("checkpoint first → second" in setting for setting in compare(ids[0], ids[1]).settings)
    assert run(["report", *ids, "--out", "page.html"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert all(f'id="{id}"' in page for id in ids) and "first/model.safetensors" in page and "second/model" in page


def test_nothing_is_loaded_for_what_is_done(make_parts: Callable[..., Parts]) -> None:
    parts = make_parts()
    parts.load_llm = None
    done = {(DOOR, seed, "llm-alone") for seed in range(2)}
    assert list(BalrogBabyAI([DOOR]).measure(parts, Options(2, 0, ("llm-alone",)), done)) == []
