from typing import Any

import numpy as np
import pytest

from gedanken.agent.config import LoopConfig
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.evals import control, control_goals
from gedanken.evals.control import ControlSuite
from gedanken.evals.control_goals import ADAPTERS, GOALS, goal_of, met
from gedanken.evals.control_learning import Setting, peers_missing, world_of
from gedanken.evals.errors import EvalError
from gedanken.evals.main import load_suite
from gedanken.evals.suite import Options, Parts, keys
from gedanken.worldmodel.search import SearchConfig

QUICK = Setting(60, 0, SearchConfig(horizon=3, candidates=8, futures=3, rounds=1), random=60, size="debug", first=20)
KEEP = "keep(angle, -0.2..0.2, for 3)"


def parts(says: str) -> Parts:
    unused: Any = None
    config = LoopConfig.preset("debug", candidates=1, samples=3)
    return Parts(unused, unused, config, load_llm=lambda: ScriptedModel(lambda prompt: [f"{says}\n"]))


def test_returns_and_goals_in_words_are_measured_on_one_learned_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(control_goals.GOALS, "CartPole-v1", (("keep the angle small for 3 actions", KEEP),))
    suite = ControlSuite(["CartPole-v1"], {"CartPole-v1": QUICK})
    options = Options(1, 0, ("search", "random", "no-op", "words", "words-alone", "words-right"))
    samples = list(suite.measure(parts(KEEP), options, set()))
    assert len(samples) == suite.count(options) == 6
    assert keys(suite, options) == [(s["task"], s["seed"], s["arm"]) for s in samples]
    by_arm = {sample["arm"]: sample for sample in samples}
    assert by_arm["search"]["real_steps"] == by_arm["words"]["real_steps"] == 60
    assert 8 <= by_arm["no-op"]["return"] == by_arm["no-op"]["steps"] <= 11  # falls over to one side
    assert by_arm["words-right"]["right_plan"] and by_arm["words"]["plan"] == KEEP
    for arm in ("words", "words-alone", "words-right"):
        assert by_arm[arm]["steps"] >= 1 and isinstance(by_arm[arm]["success"], bool)
    key = ("CartPole-v1", 0, "random")
    again = [sample["arm"] for sample in suite.measure(parts(KEEP), options, {key})]
    assert "random" not in again and len(again) == 5  # and the model was found where it was kept
    results = suite.summarise(samples)
    assert [row["arm"] for row in results["arms"]][:2] == ["search", "random"]
    returns, words = suite.tables(results)
    assert len(returns.rows) == len(words.rows) == 3 and returns.rows[0][4] == "60"


def test_a_peer_that_is_not_there_is_named() -> None:
    if not peers_missing():
        pytest.skip("stable-baselines3 is installed")
    suite = load_suite("control")
    assert "ppo" not in suite.default_arms  # type: ignore[attr-defined]
    assert "stable-baselines3" in suite.tables(suite.summarise([{**sample(), "arm": "random"}]))[0].note
    with pytest.raises(EvalError, match=r"ppo: stable-baselines3 is not installed; `pip install gedanken\[peers\]`"):
        next(iter(suite.measure(parts(KEEP), Options(1, 0, ("ppo",)), set())))


def test_samples_are_known_beforehand_though_not_every_arm_has_every_task() -> None:
    suite, options = ControlSuite(["CartPole-v1", "Pendulum-v1"]), Options(1, 0, ("random", "dqn"))
    assert [key[0] for key in keys(suite, options) if key[2] == "dqn"] == ["CartPole-v1"]
    assert len(keys(suite, options)) == suite.count(options) == 3


def sample() -> dict[str, Any]:
    return {"task": "CartPole-v1", "seed": 0, "arm": "search", "return": 9.0, "steps": 9}


@pytest.mark.parametrize("task", GOALS)
def test_every_world_has_ten_goals_whose_plans_it_understands(task: str) -> None:
    world = world_of(task)
    goals = [goal_of(world.spec, task, seed) for seed in range(10)]
    assert len(GOALS[task]) == 10 and len({str(goal.plan) for goal in goals}) == 10
    assert all(len(goal.words) <= 300 for goal in goals) and task in ADAPTERS
    assert control.ControlSuite().settings[task].steps > 0


class TestMet:
    spec = world_of("MountainCarContinuous-v0").spec

    def met(self, plan: str, *positions: float) -> bool:
        seen = np.array([[position, 0.0] for position in positions], np.float32)
        return met(self.spec, self.spec.parse_plan(plan), seen, [0.0] * (len(positions) - 1))

    def test_objectives_are_achieved_one_after_the_other(self) -> None:
        plan = "reach(position, -1 ± 0.1, within 2)\nkeep(position, -0.2..0.2, for 2)"
        assert self.met(plan, 0, 0, -1, 0, 0)
        assert not self.met(plan, 0, 0, -1, 0) and not self.met(plan, 0, -1, 0, 0.5, 0)
        assert not self.met(plan, 0, 0, 0, 0, 0, -1, 0, 0), "within 2 counts from the beginning on"
        assert self.met("keep(position, -0.2..0.2, for 2)", 0, 1, 1, 0, 0), "what lasts may begin later"

    def test_what_is_to_be_avoided_is_looked_at_all_the_time(self) -> None:
        plan = "avoid(position > 0.3)\nreach(position, -1 ± 0.1, within 9)"
        assert self.met(plan, 0, -1) and not self.met(plan, 0, -1, 0.4) and not self.met(plan, 0, 0.4, -1)

    def test_nothing_done_meets_nothing(self) -> None:
        assert not self.met("keep(position, -1..1, for 1)", 0)
