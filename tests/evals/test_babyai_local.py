"""The suite `babyai-local`: every arm over the same seeds, the same results when resumed, JSON that others can read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gedanken.evals import arms
from gedanken.evals.arms import IDLE, idle_action
from gedanken.evals.babyai_local import TASKS, BabyAILocal
from gedanken.evals.errors import EvalError
from gedanken.evals.main import load_suite, run_suite
from gedanken.evals.suite import Options, Parts, evaluation_seeds
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worlds.babyai import SPEC, BabyAIWorld
from gedanken.worlds.fields import Axis


def test_evaluation_seeds_never_reach_the_training_seeds() -> None:
    assert evaluation_seeds(3, 5) == range(300_000, 300_005)
    last = FIRST_TRAINING_SEED // 100_000 - 1
    assert evaluation_seeds(last, 100_000).stop <= FIRST_TRAINING_SEED
    for seed, limit in ((last + 1, 100_000), (last + 10, 1), (-1, 1), (0, 0), (0, 100_001)):
        with pytest.raises(EvalError):
            evaluation_seeds(seed, limit)


def test_every_arm_plays_the_same_seeds(make_parts: Callable[..., Parts]) -> None:
    suite = BabyAILocal(["BabyAI-GoToObj-v0", "BabyAI-OpenDoor-v0"])
    options = Options(limit=2, seed=1, arms=tuple(arms.ARMS))
    samples = list(suite.measure(make_parts(), options, set()))
    assert len(samples) == suite.count(options) == 2 * 7 * 2
    assert {(s["task"], s["seed"]) for s in samples if s["arm"] == "loop"} == {
        (s["task"], s["seed"]) for s in samples if s["arm"] == "random"
    }
    assert all(s["success"] for s in samples if s["arm"] == "bot")
    loop = [s for s in samples if s["arm"] == "loop"]
    assert all(s["decisions"] == 1 and s["tokens"] > 0 and s["candidates"] >= 1 for s in loop)
    alone = {(s["task"], s["seed"]): s["plan"] for s in samples if s["arm"] == "llm-alone"}
    assert all(s["first_plan"] == alone[s["task"], s["seed"]] for s in loop), "the same first proposal in both arms"
    results = suite.summarise(samples)
    assert [row["task"] for row in results["tasks"]] == list(suite.tasks)
    assert set(results["arms"]) == {"llm-alone", "policy", "oracle-plan", "bot", "random", "no-op"}
    assert {d["second"] for d in results["differences"]} == set(results["arms"])
    assert suite.tables(results)[0].columns == ("level", *arms.ARMS)


def test_who_does_nothing_is_the_floor(make_parts: Callable[..., Parts]) -> None:
    suite = BabyAILocal([TASKS[0]])
    assert all(
        IDLE in load_suite(name).default_arms  # type: ignore[attr-defined]
        for name in ("babyai-local", "babyai-levels", "balrog-babyai", "shift", "loop-ablation", "control")
    )
    samples = list(suite.measure(make_parts(), Options(limit=3, seed=0, arms=(IDLE,)), set()))
    env: Any = BabyAIWorld(TASKS[0]).make()
    env.reset(seed=0)
    done = env.unwrapped.actions.done
    assert all(s["arm"] == IDLE and not s["success"] and set(s["actions"]) == {done} for s in samples)
    assert samples[0]["steps"] == env.unwrapped.max_steps
    push = SPEC.model_copy(update={"actions": (Axis(name="push", low=-2, high=2), Axis(name="heat", low=1, high=3))})
    assert idle_action(env, push).tolist() == [0.0, 1.0]


def test_the_policy_without_a_plan_goes_for_the_end_at_once(make_parts: Callable[..., Parts]) -> None:
    task = "BabyAI-UnlockLocalDist-v0"
    told, alone = (
        list(arms.ARMS[arm](make_parts(), task, range(3)))  # a locked door, and its key
        for arm in ("oracle-plan", "policy")
    )
    assert all(len(t.plan.split(" → ")) == 2 and t.plan.endswith(a.plan) for t, a in zip(told, alone, strict=True))
    assert all(a.plan.startswith("open(") and a.arm == "policy" for a in alone)


def test_what_is_done_is_not_done_again(make_parts: Callable[..., Parts]) -> None:
    suite = BabyAILocal([TASKS[0]])
    options = Options(limit=3, seed=0, arms=("oracle-plan", "random"))
    everything = list(suite.measure(make_parts(), options, set()))
    done = {(s["task"], s["seed"], s["arm"]) for s in everything[:2]}
    rest = list(suite.measure(make_parts(), options, done))
    assert timeless([*everything[:2], *rest]) == timeless(everything), "seeds fix everything"


def timeless(samples: list[dict[str, Any]]) -> list[str]:
    return sorted(str({name: value for name, value in s.items() if name not in BabyAILocal.clocks}) for s in samples)


def test_one_object_on_stdout(
    make_parts: Callable[..., Parts], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = {"limit": 1, "seed": 2, "arms": ["bot", "random"], "runs": tmp_path, "parts": make_parts()}
    returned = run_suite("babyai-local", json=True, **chosen)  # type: ignore[arg-type]
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(returned))
    assert printed["arm"] == "bot" and len(printed["tasks"]) == 7
    assert list(printed["tasks"][0])[:5] == ["task", "n", "success", "ci_low", "ci_high"]
    samples = (tmp_path / printed["run"] / "samples.jsonl").read_text().splitlines()
    assert len(samples) == 14
    again = run_suite("babyai-local", resume="last", **chosen)  # type: ignore[arg-type]
    assert again["tasks"] == returned["tasks"]
    assert "babyai-local" in capsys.readouterr().out
    assert len((tmp_path / printed["run"] / "samples.jsonl").read_text().splitlines()) == 14


def test_unknown_names_are_refused_with_those_there_are(make_parts: Callable[..., Parts], tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="no suite 'babyai'; .*there are babyai-local"):
        load_suite("babyai")
    with pytest.raises(EvalError, match="no arm oracle; there are loop"):
        run_suite("babyai-local", arms=["oracle"], runs=tmp_path, parts=make_parts())
