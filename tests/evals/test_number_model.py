"""The suite `number-model`: what is foretold of numbers, on worlds whose laws are known."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "worldmodel"))
import numbers_world as numbers

from gedanken.evals.control_learning import Setting
from gedanken.evals.number_model import NumberModelSuite
from gedanken.evals.number_open_loop import HORIZONS, STRIDE, Imagined, Linear, frozen, one_ahead, open_loop
from gedanken.evals.suite import Options, keys
from gedanken.worldmodel.ensemble import EnsembleBelief
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.protocol import Readout
from gedanken.worlds.spec import WorldSpec

QUICK = Setting(120, 0, size="debug", changes={"random": 120, "first": 60, "rounds": 1, "explored": 0.0})


def cart(spec: WorldSpec, seed: int, length: int) -> Episode:
    """Return a cart whose next numbers are a linear map of these and the action."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (length, 1)).astype(np.float32) if spec.controls else rng.integers(0, 3, length)
    push = actions[:, 0] if spec.controls else actions - 1.0
    seen = np.zeros((length + 1, len(spec.vector.variables)), np.float32)
    for t in range(length):
        seen[t + 1] = 0.9 * seen[t] + 0.1 * push[t] * np.arange(1, seen.shape[1] + 1) + 0.05
    none = np.full(length, -1, np.int16)
    return replace(
        numbers.episodes(spec, 1)[0],
        observations=seen,
        actions=actions,
        rewards=np.zeros(length, np.float32),
        step_index=none,
        expert=none.astype(np.int8),
        achieved=np.zeros(length, np.bool_),
    )


@pytest.mark.parametrize("spec", [numbers.DISCRETE, numbers.CONTROLS], ids=["discrete", "controls"])
def test_a_linear_world_is_foretold_by_the_linear_model_and_a_frozen_one_by_nobody(spec: WorldSpec) -> None:
    known, new = [cart(spec, seed, 60) for seed in range(4)], cart(spec, 9, 70)
    scale = torch.ones(new.observations.shape[1])
    linear, still = open_loop(Linear(spec, known), new, scale), open_loop(frozen, new, scale)
    assert list(linear) == [str(horizon) for horizon in HORIZONS]
    assert [row["n"] for row in linear.values()] == [len(range(0, 70 - h + 1, STRIDE)) for h in HORIZONS]
    for horizon in map(str, HORIZONS):
        assert linear[horizon]["error"] / linear[horizon]["n"] < 1e-4
    assert still["4"]["error"] / still["4"]["n"] > 0.05
    moved = np.abs(new.observations[4] - new.observations[0])
    [first] = open_loop(frozen, cart(spec, 9, 4), scale)["4"]["variables"][:1]
    assert first == pytest.approx(float(moved[0]), rel=1e-4), "errors are in the variables' units"


class Counting:
    """A model of a number that grows by the action; each member adds its own number, and the reward is the action."""

    spec = numbers.CONTROLS
    members = 5

    def initial(self, batch: int) -> EnsembleBelief:
        nothing = torch.zeros(batch)
        return EnsembleBelief(torch.zeros(batch, 3), nothing, nothing + 1, nothing.long())

    def observe(self, belief: EnsembleBelief, action: Any, observation: Any, is_first: Any) -> EnsembleBelief:
        return replace(belief, values=observation)

    def suppose(self, belief: EnsembleBelief, steps: Any) -> EnsembleBelief:
        return replace(belief, member=torch.arange(len(belief.member)) % self.members)

    def imagine(self, belief: EnsembleBelief, action: Any) -> EnsembleBelief:
        values = belief.values + action + belief.member[:, None]
        return replace(belief, values=values, reward=action[:, 0], continues=(action[:, 0] < 0.9).float())

    def readout(self, belief: EnsembleBelief) -> Readout:
        return Readout(belief.values, belief.reward, belief.continues)

    def surprise(self, belief: Any, action: Any, observation: Any) -> Any:
        return action[:, 0]


def test_every_beginning_is_foretold_by_all_members_and_its_own_actions() -> None:
    model: Any = Counting()
    seen, actions = torch.arange(10.0)[:, None].repeat(1, 3), torch.rand(10, 2, 1)
    first, second = Imagined(model)(seen, actions)
    for row in range(10):
        expected = {round(float(row + actions[row, 0, 0] + member), 4) for member in range(5)}
        assert {round(float(value), 4) for value in first[:, row, 0]} == expected
    torch.testing.assert_close(second.mean(0), seen + actions.sum(1) + 4)


def test_one_action_ahead_rewards_and_ends_are_those_of_the_same_moment() -> None:
    episode = cart(numbers.CONTROLS, 3, 37)
    model: Any = Counting()
    episode = replace(episode, rewards=episode.actions[:, 0].copy(), terminated=True)
    told = one_ahead(model, episode)
    assert told["frames"] == 37 and told["reward"] == pytest.approx(0, abs=1e-4)
    assert [chance for chance, _ in told["ending"]] == [float(a >= 0.9) for a in episode.actions[:, 0]]
    assert [happened for _, happened in told["ending"]] == [False] * 36 + [True]


def test_a_learned_model_is_measured_beside_its_floors() -> None:
    suite = NumberModelSuite(["Pendulum-v1"], {"Pendulum-v1": QUICK})
    options, unused = Options(4, 0, suite.arms), None
    parts: Any = unused
    samples = list(suite.measure(parts, options, set()))
    assert sorted(keys(suite, options)) == sorted((s["task"], s["seed"], s["arm"]) for s in samples)
    assert {s["acting"] for s in samples} == {"policy", "random"}
    rest = list(suite.measure(parts, options, {("Pendulum-v1", 1, "model")}))
    assert len(rest) == len(samples) - 1 and rest == [s for s in samples if (s["seed"], s["arm"]) != (1, "model")]
    results = suite.summarise(samples)
    [task] = results["tasks"]
    assert task["arms"]["model"]["1"]["error"]["value"] < task["arms"]["frozen"]["1"]["error"]["value"]
    assert 0.3 < task["arms"]["model"]["1"]["inside"]["value"] <= 1 and task["reward"]["value"] >= 0
    errors, variables, one = suite.tables(results)
    assert len(errors.rows) == 4 and len(variables.rows) == 3 and one.rows[0][:2] == ("Pendulum-v1", "4")
