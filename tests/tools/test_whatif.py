"""A plan under inputs that nobody controls, as servers answer it: in a world of numbers whose laws are known."""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gedanken.tools.answers import Simulation, WhatIf
from gedanken.tools.refusals import Refused
from gedanken.tools.requests import RehearseRequest, SimulateRequest, WhatIfRequest
from gedanken.tools.run import Run
from gedanken.tools.work import Workshop
from gedanken.worlds.spec import Plan

sys.path.insert(0, str(Path(__file__).parents[1] / "agent"))
import exact_house as exact
from doubles import agent_in

WARM = "reach(room, 20 ± 0.5, within 10)"


@pytest.mark.parametrize(("change", "taken"), [("outside = 1", "outside = 1"), ("much colder", "outside down 80 %")])
def test_the_change_and_what_it_makes_of_a_plan(tmp_path: Path, change: str, taken: str) -> None:
    with exact.agent_in(tmp_path, lambda prompt: ["outside down 80 %\n"]) as agent:
        request = WhatIfRequest(plan=WARM, change=change)
        workshop, run = Workshop(agent, agent.session(3)), Run(request, 60)
        workshop.check(request)
        found = workshop.do(request, run)
        assert isinstance(found, WhatIf) and found.taken == taken
        [supposed] = found.compared.supposed
        assert supposed.name == "outside" and supposed.then == pytest.approx(1.0)
        assert found.compared.plan == WARM and len(found.compared.ends) >= 1


@pytest.mark.parametrize(
    "request_",
    [
        WhatIfRequest(plan=WARM, change="outside = 1"),
        RehearseRequest(goal="warm the room", plans=[WARM]),
        SimulateRequest(plans=[WARM], samples=2),
    ],
)
def test_what_is_practised_first_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: WhatIfRequest | RehearseRequest | SimulateRequest
) -> None:
    with exact.agent_in(tmp_path, lambda prompt: []) as agent:
        asked: list[str] = []

        def prepare(self: object, plans: Sequence[Plan]) -> Iterator[str]:
            if not asked:  # what was practised once is known
                asked.append(str(plans[0]))
                yield WARM

        monkeypatch.setattr(type(agent.trained.actor), "prepare", prepare)
        workshop, run = Workshop(agent, agent.session(3)), Run(request_, 60)
        assert workshop.do(request_, run) is not None
        [told] = [event for event in run.events() if event.kind == "practising"]
        assert told.step == WARM


def test_where_nothing_can_be_supposed_it_is_refused_at_once(tmp_path: Path) -> None:
    with agent_in(tmp_path, []) as agent:
        workshop = Workshop(agent, agent.session(3))
        with pytest.raises(Refused, match="shows a grid"):
            workshop.check(WhatIfRequest(plan="go_to(red key)", change="outside = 1"))


def simulated(workshop: Workshop, **asked: Any) -> Simulation:
    request = SimulateRequest(plans=["keep(room, -50..60, for 3)"], samples=8, **asked)
    workshop.check(request)
    found = workshop.do(request, Run(request, 60))
    assert isinstance(found, Simulation)
    return found


def rooms(found: Simulation) -> list[float]:
    """Return how warm the room is where futures end."""
    return [float(re.findall(r"room (-?[\d.]+)", end.sees)[0]) for end in found.plans[0].ends]


def test_what_is_simulated_begins_in_a_state_and_under_an_intervention(tmp_path: Path) -> None:
    with exact.agent_in(tmp_path, lambda prompt: ["outside down 80 %\n"]) as agent:
        workshop = Workshop(agent, agent.session(3))
        for room in (10.0, 20.0):
            [view, *_] = simulated(workshop, initial_state={"room": room}).plans[0].views
            assert view[0] == pytest.approx(room)
        warm, cold = (simulated(workshop, intervention=f"outside = {outside}") for outside in (15, -20))
        assert warm.taken == "outside = 15" and min(rooms(warm)) > max(rooms(cold))
        assert simulated(workshop, intervention="much colder").taken == "outside down 80 %"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"cellar": 1.0}, "shows no 'cellar'; it shows room"),
        ([[[1]]], "is numbers by name: room"),
        ({"room": 1e39}, "large"),
    ],
)
def test_a_state_that_can_not_be_is_refused_at_once(tmp_path: Path, state: Any, said: str) -> None:
    with exact.agent_in(tmp_path, lambda prompt: []) as agent:
        workshop = Workshop(agent, agent.session(3))
        with pytest.raises(Refused, match=said):
            workshop.check(SimulateRequest(plans=[WARM], initial_state=state))


def test_an_intervention_goes_with_plans() -> None:
    with pytest.raises(ValidationError, match="goes with plans"):
        SimulateRequest(actions=["left"], intervention="outside = 2")
