"""stable-worldmodel's CEM finds its way in a model of which it is told costs only; a double checks how it is asked."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "worldmodel"))
import numbers_world as numbers

from gedanken.evals.errors import EvalError
from gedanken.evals.main import load_suite
from gedanken.evals.peers import swm_cem
from gedanken.evals.peers.swm_cem import NO_SOLVER, SwmCem, missing
from gedanken.evals.suite import Options
from gedanken.worldmodel.search import SearchConfig
from gedanken.worldmodel.tasks import Task
from gedanken.worlds.objectives import objective_of
from gedanken.worlds.spec import WorldSpec

CONFIG = SearchConfig(horizon=12, candidates=60, futures=1, rounds=3)
KINDS = pytest.mark.parametrize("spec", [numbers.DISCRETE, numbers.CONTROLS], ids=["discrete", "controls"])


class Shooting:
    """What stable-worldmodel's solvers are asked and ask, by the best of some random candidates."""

    def __init__(self, model: Any, *, batch_size: int, num_samples: int, n_steps: int, topk: int, seed: int) -> None:
        assert n_steps == CONFIG.rounds and topk == 6
        self.model, self.count, self.generator = model, num_samples, torch.Generator().manual_seed(seed)

    def configure(self, *, action_space: Box | Discrete, n_envs: int, config: Any) -> None:
        self.space, self.horizon = action_space, config.horizon

    def solve(self, info: dict[str, Tensor], init_action: Tensor | None) -> dict[str, Tensor]:
        rows = len(next(iter(info.values())))
        repeated = {name: v.unsqueeze(1).expand(rows, self.count, *v.shape[1:]) for name, v in info.items()}
        shape = rows, self.count, self.horizon
        if isinstance(self.space, Discrete):
            codes = torch.randint(int(self.space.n), shape, generator=self.generator)
            candidates = torch.nn.functional.one_hot(codes).float()
        else:
            candidates = torch.randn(*shape, self.space.shape[1], generator=self.generator)
            if init_action is not None:
                candidates[:, 0, : init_action.shape[1]] = init_action
        costs = self.model.get_cost(repeated, candidates)
        assert costs.shape == shape[:2]
        best = candidates[torch.arange(rows), costs.argmin(1)]
        print("solve time")
        return {"actions": best.argmax(-1, keepdim=True) if isinstance(self.space, Discrete) else best}


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    library: Any = ModuleType("stable_worldmodel")
    library.__spec__, library.PlanConfig = ModuleSpec("stable_worldmodel", None), SimpleNamespace
    library.solver = SimpleNamespace(CEMSolver=Shooting, CategoricalCEMSolver=Shooting)
    monkeypatch.setitem(sys.modules, "stable_worldmodel", library)


def speed_after(spec: WorldSpec, actions: int) -> float:
    """Search and act in turn for the highest speed; return it."""
    model: Any = numbers.Truth(spec)
    search, task = SwmCem(model, CONFIG), Task(objective_of(spec, spec.parse_step("maximize(v, for 20)")))
    now, memory, generator = numbers.state((0, 0)), None, torch.Generator().manual_seed(0)
    for _ in range(actions):
        found = search(now, [task], memory, generator)
        now, memory = model.imagine(now, found.action), found.memory
    return float(now.values[0, 1])


@KINDS
def test_the_solver_is_asked_as_it_is_used_to(
    spec: WorldSpec, double: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert missing() == "" and speed_after(spec, 15) > 0.4
    assert capsys.readouterr().out == "", "stdout is the answer's"
    assert speed_after(spec, 3) == speed_after(spec, 3), "seeded"


@pytest.mark.skipif(bool(missing()), reason=missing())
@KINDS
def test_the_real_one_finds_its_way(spec: WorldSpec, capsys: pytest.CaptureFixture[str]) -> None:
    assert speed_after(spec, 15) > 0.6
    assert capsys.readouterr().out == ""
    two = numbers.state((0, 0), (0, 0))
    tasks = [Task(objective_of(spec, spec.parse_step(f"{which}(v, for 20)"))) for which in ("maximize", "minimize")]
    first, second = SwmCem(numbers.Truth(spec), CONFIG)(two, tasks, None, torch.Generator().manual_seed(0)).action
    assert first > second, "each search has a task of its own"


def test_where_it_is_not_there_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swm_cem.importlib.util, "find_spec", lambda name: None)
    suite = load_suite("control", ["CartPole-v1"])
    assert "swm-cem" not in suite.default_arms  # type: ignore[attr-defined]
    with pytest.raises(EvalError, match=r"swm-cem: stable-worldmodel is not installed; `pip install"):
        next(iter(suite.measure(None, Options(1, 0, ("swm-cem",)), frozenset())))  # type: ignore[arg-type]
    sample = {"task": "CartPole-v1", "seed": 0, "arm": "search", "return": 9.0, "steps": 9}
    assert NO_SOLVER in suite.tables(suite.summarise([sample]))[0].note


def test_one_that_does_not_load_is_told_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(swm_cem.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(swm_cem.importlib, "import_module", broken)
    assert missing().startswith(
        "stable-worldmodel can't be loaded (operator torchvision::nms does not exist); it needs"
    )
