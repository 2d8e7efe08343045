import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import numbers_world as numbers
from numbers_world import Truth, state

from gedanken.worldmodel.search import Search, SearchConfig
from gedanken.worldmodel.tasks import Task
from gedanken.worlds.objectives import objective_of, standing
from gedanken.worlds.spec import WorldSpec

METHODS = ("cem", "mppi")
QUICK = SearchConfig(horizon=12, candidates=60, futures=1, rounds=2)


def pursue(
    spec: WorldSpec, plan: str, start: tuple[float, float], actions: int, method: str, edge: float = 1e9
) -> list[tuple[float, float]]:
    """Search and act in turn; return where the cart was."""
    model: Any = Truth(spec, edge)
    search, steps = Search(model, QUICK.model_copy(update={"method": method})), spec.parse_plan(plan).steps
    now, proposal, generator, path = state(start), None, torch.Generator().manual_seed(0), []
    for spent in range(actions):
        task = Task(objective_of(spec, steps[-1]), standing(spec, steps), spent)
        found = search(now, [task], proposal, generator)
        now, proposal = model.imagine(now, found.action), found.memory
        path.append((float(now.values[0, 0]), float(now.values[0, 1])))
    return path


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spec", [numbers.DISCRETE, numbers.CONTROLS], ids=["discrete", "controls"])
class TestBothMethodsOnBothKindsOfActions:
    def test_a_target_is_reached(self, spec: WorldSpec, method: str) -> None:
        path = pursue(spec, "reach(x, 0.5 ± 0.05, within 40)", (0, 0), 30, method)
        assert any(abs(x - 0.5) <= 0.05 for x, _ in path)

    def test_a_range_is_kept(self, spec: WorldSpec, method: str) -> None:
        path = pursue(spec, "keep(x, -0.3..0.3, for 40)", (0, 0.3), 40, method)
        assert all(-0.3 <= x <= 0.3 for x, _ in path)

    def test_an_expression_grows_or_shrinks(self, spec: WorldSpec, method: str) -> None:
        fast = pursue(spec, "maximize(v, for 20)", (0, 0), 15, method)[-1][1]
        slow = pursue(spec, "minimize(energy, for 20)", (0, 0.8), 15, method)[-1][1]
        assert fast > 0.6 and abs(slow) < 0.15
        paid = pursue(spec, "maximize(reward, for 20)", (0, 0), 15, method)[-1][1]
        assert paid > 0.6

    def test_what_is_to_be_avoided_is(self, spec: WorldSpec, method: str) -> None:
        without = pursue(spec, "reach(x, 0.8 ± 0.05, within 40)", (0, 0), 15, method)
        path = pursue(spec, "avoid(v > 0.3)\nreach(x, 0.8 ± 0.05, within 40)", (0, 0), 30, method)
        assert max(v for _, v in without) > 0.35
        assert max(v for _, v in path) <= 0.3 and any(abs(x - 0.8) <= 0.05 for x, _ in path)

    def test_an_end_is_no_way_out(self, spec: WorldSpec, method: str) -> None:
        # far from its range every action costs, so ending soon would be cheap if an end did not spoil the task
        path = pursue(spec, "minimize(abs(x - 5), for 60)", (0.7, 0), 25, method, edge=1.0)
        assert all(abs(x) <= 1.0 for x, _ in path)


@pytest.mark.parametrize("method", METHODS)
def test_many_searches_advance_together(method: str) -> None:
    model: Any = Truth(numbers.CONTROLS)
    search = Search(model, QUICK.model_copy(update={"method": method}))
    spec = numbers.CONTROLS
    texts = ["reach(x, 1 ± 0.1, within 40)", "reach(x, -1 ± 0.1, within 40)", "minimize(energy, for 40)"] * 4
    tasks = [Task(objective_of(spec, spec.parse_step(text))) for text in texts]
    found = search(state(*[(0.0, 0.5)] * 12), tasks, None, torch.Generator().manual_seed(0))
    assert found.action.shape == (12, 1) and found.memory.shape == (12, 12, 1) and found.spoilt.shape == (12,)
    assert model.calls == QUICK.rounds * QUICK.horizon  # whatever the number of searches
    ways = found.action[:, 0].view(4, 3)
    assert (ways[:, 0] > 1).all() and (ways[:, 1] < -1).all() and (ways[:, 2] < -1).all()


def test_a_search_begins_where_the_last_one_ended() -> None:
    model: Any = Truth(numbers.CONTROLS)
    task = [Task(objective_of(numbers.CONTROLS, numbers.CONTROLS.parse_step("reach(x, 0.5 ± 0.01, within 40)")))]
    poor = SearchConfig(horizon=12, candidates=20, futures=1, rounds=1)
    generator, search = torch.Generator().manual_seed(1), Search(model, poor)
    found = search(state((0, 0)), task, None, generator)
    warm = search._shifted(found.memory)
    assert torch.equal(warm[:, :-1], found.memory[:, 1:]) and torch.equal(warm[:, -1], torch.zeros(1, 1))
    first = search.fresh(1)
    for _ in range(3):  # one round each, each from where the last one ended, but always for the same moment
        first = search(state((0, 0)), task, torch.cat([first[:, :1], first[:, :-1]], 1), generator).memory
    rows, loss = state((0, 0)).repeat(20), []
    for middle in (search.fresh(1), first):
        loss.append(float(search._rehearse(rows, task, middle[:, None].expand(-1, 20, -1, -1))[0].mean()))
    assert loss[1] < 0.7 * loss[0]


def test_hopeless_tasks_are_called_so() -> None:
    model: Any = Truth(numbers.DISCRETE, edge=1.0)
    search = Search(model, QUICK)
    spoilt = []
    for text in ("keep(x, 0.8..0.9, for 50)", "keep(x, -0.9..0.9, for 50)"):
        task = Task(objective_of(numbers.DISCRETE, numbers.DISCRETE.parse_step(text)))
        spoilt.append(float(search(state((0, 0)), [task], None, torch.Generator().manual_seed(0)).spoilt))
    assert spoilt[0] > 0.5 and spoilt[1] == 0


def test_weights_are_those_of_the_method() -> None:
    score = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    model: Any = Truth(numbers.DISCRETE)
    cem = Search(model, SearchConfig(elites=0.5))._weights(score)
    mppi = Search(model, SearchConfig(method="mppi", temperature=1.0))._weights(score)
    assert cem.tolist() == [[0.5, 0.5, 0, 0]]
    torch.testing.assert_close(mppi, (-score).softmax(1))
