import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gedanken.agent.config import LoopConfig
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.evals import control, control_goals, control_learning
from gedanken.evals.control import ControlSuite
from gedanken.evals.control_goals import ADAPTERS, GOALS, goal_of, met
from gedanken.evals.control_learning import Peer, Setting, learned, model_path, peers_missing, world_of
from gedanken.evals.errors import EvalError, RunError
from gedanken.evals.main import _able, load_suite, run_suite
from gedanken.evals.run_folder import sha256
from gedanken.evals.suite import Options, Parts, keys
from gedanken.worldmodel.checkpoint import TrainedDynamics
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.trying import IMAGINED, try_out

SEARCH = {"horizon": 3, "candidates": 8, "futures": 3, "rounds": 1}
CHANGES = {"random": 60, "first": 20, "rounds": 2, "explored": 0.0, "search": SEARCH}
QUICK = Setting(60, 0, size="debug", changes=CHANGES)
KEEP = "keep(angle, -0.2..0.2, for 3)"


def parts(says: str) -> Parts:
    unused: Any = None
    config = LoopConfig(candidates=1, samples=3, rounds=0).practised({"horizon": 7, "patience": 9})
    return Parts(unused, unused, config, load_llm=lambda: ScriptedModel(lambda prompt: [f"{says}\n"]))


def test_returns_and_goals_in_words_are_measured_on_one_learned_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(control_goals.GOALS, "CartPole-v1", (("keep the angle small for 3 actions", KEEP),))
    judged: list[LoopConfig] = []
    judge = control.load_judge
    monkeypatch.setattr(control, "load_judge", lambda *given: judged.append(given[-1]) or judge(*given))
    suite = ControlSuite(["CartPole-v1"], {"CartPole-v1": QUICK})
    options = Options(1, 0, ("policy", "search", "random", "no-op", "words", "words-alone", "words-right"))
    samples = list(suite.measure(parts(KEEP), options, set()))
    assert len(samples) == suite.count(options) == 7
    assert keys(suite, options) == [(s["task"], s["seed"], s["arm"]) for s in samples]
    by_arm = {sample["arm"]: sample for sample in samples}
    assert by_arm["policy"]["real_steps"] == by_arm["search"]["real_steps"] == by_arm["words"]["real_steps"] == 60
    assert 8 <= by_arm["no-op"]["return"] == by_arm["no-op"]["steps"] <= 11  # falls over to one side
    assert by_arm["words-right"]["right_plan"] and by_arm["words"]["plan"] == KEEP
    assert [config.horizon for config in judged] == [IMAGINED], "what another checkpoint's card says does not count"
    for arm in ("words", "words-alone", "words-right"):
        assert by_arm[arm]["steps"] >= 1 and isinstance(by_arm[arm]["success"], bool)
    key = ("CartPole-v1", 0, "random")
    again = [sample["arm"] for sample in suite.measure(parts(KEEP), options, {key})]
    assert "random" not in again and len(again) == 6  # and the model was found where it was kept
    results = suite.summarise(samples)
    assert [row["arm"] for row in results["arms"]][:3] == ["policy", "search", "random"]
    returns, words = suite.tables(results)
    assert all(sample["seconds"] > 0 for sample in samples) and returns.columns[-1] == "ms an action"
    assert len(returns.rows) == 4 and len(words.rows) == 3 and returns.rows[0][4] == "60"


def test_two_who_ask_for_a_model_wait_for_one_training(monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = []

    def slowly(*given: Any) -> Iterator[Any]:
        trainings.append(given)
        time.sleep(0.5)
        yield from try_out(*given)

    monkeypatch.setattr(control_learning, "try_out", slowly)
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: learned("CartPole-v1", QUICK, 0), range(2))
    assert len(trainings) == 1 and first.card == second.card and first.card["setting"] == QUICK.plain()
    with pytest.raises(EvalError, match="was learned otherwise \\(first 20\\); move it"):
        learned("CartPole-v1", replace(QUICK, changes={**CHANGES, "first": 21}), 0)


def test_a_run_says_how_and_what_it_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ControlSuite, "known", {"CartPole-v1": QUICK})
    unused: Any = None
    made = replace(parts(KEEP), trained=TrainedDynamics(unused, "unused"))
    answer = run_suite("control", limit=1, arms=["search", "no-op"], runs=tmp_path, parts=made)
    about = json.loads((tmp_path / answer["run"] / "run.json").read_text())
    weights = model_path("CartPole-v1", 0) / "model.safetensors"
    assert about["checkpoints"]["control-CartPole-v1-0/model.safetensors"] == sha256(weights)
    assert about["config"]["learning"] == {"CartPole-v1": QUICK.plain()}
    weights.write_bytes(b"learned anew")
    with pytest.raises(RunError, match="begun with another control-CartPole-v1-0/model.safetensors"):
        run_suite(rerun=answer["run"], runs=tmp_path, parts=made)


class PPO:
    """What stable-baselines3 does: it begins with the seed's first episode and takes whole rollouts."""

    begun: list[int] = []

    def __init__(self, policy: str, env: Any, *, seed: int, **more: Any) -> None:
        self.num_timesteps = 0
        self.begun.append(seed)
        env.reset(seed=seed)

    def learn(self, total_timesteps: int) -> None:
        self.num_timesteps = -(-total_timesteps // 2048) * 2048

    def save(self, path: Path) -> None:
        path.write_text(str(self.num_timesteps))

    @classmethod
    def load(cls, path: Path, device: str) -> Any:
        kept = cls.__new__(cls)
        kept.num_timesteps = int(path.read_text())
        return kept


def test_a_peer_says_its_own_steps_and_never_sees_an_evaluation_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("stable_baselines3")
    library.__spec__, library.PPO = ModuleSpec("stable_baselines3", None), PPO  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stable_baselines3", library)
    peers = [Peer("ppo", "CartPole-v1", QUICK, seed) for seed in (0, 1, 1)]
    assert [peer.real_steps for peer in peers] == [2048] * 3
    assert PPO.begun == [FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 1], "the third is kept"


def test_a_peer_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    if not peers_missing():
        pytest.skip("stable-baselines3 is installed")
    suite = load_suite("control")
    assert "ppo" not in suite.default_arms  # type: ignore[attr-defined]
    assert "stable-baselines3" in suite.tables(suite.summarise([{**sample(), "arm": "random"}]))[0].note
    with pytest.raises(EvalError, match=r"ppo: stable-baselines3 is not installed; `pip install gedanken\[peers\]`"):
        next(iter(suite.measure(parts(KEEP), Options(1, 0, ("ppo",)), set())))
    assert _able(suite, ("random", "ppo")) == ("random",), "the others play"
    assert "ppo left out: stable-baselines3 is not installed" in capsys.readouterr().err
    with pytest.raises(EvalError, match="ppo: stable-baselines3"):
        _able(suite, ("ppo",))


def test_samples_are_known_beforehand_though_not_every_arm_has_every_task() -> None:
    suite, options = ControlSuite(["CartPole-v1", "Pendulum-v1"]), Options(1, 0, ("random", "dqn"))
    assert [key[0] for key in keys(suite, options) if key[2] == "dqn"] == ["CartPole-v1"]
    assert len(keys(suite, options)) == suite.count(options) == 3


def sample() -> dict[str, Any]:
    return {"task": "CartPole-v1", "seed": 0, "arm": "search", "return": 9.0, "steps": 9}


@pytest.mark.parametrize("task", sorted(GOALS.keys() - set(ControlSuite.more_tasks)))  # those need more installed
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
