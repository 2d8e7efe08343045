import pytest
from pydantic import ValidationError

from gedanken.agent.events import Acted, Outcome, Proposed, from_line, to_line


def test_every_event_is_one_line_of_json_and_back() -> None:
    acted = Acted(number=1, action="left", step="drop()", view=[[[1, 2, 3]]], surprise=0.5, reward=0.0)
    outcome = Outcome(goal="g", world="w", seed=1, status="reached", message="m")
    proposed = Proposed(
        round=0, candidates=[], merged=0, unreadable=0, prompt_tokens=1, tokens=2, seconds=0.1, model="x"
    )
    for event in (acted, outcome, proposed):
        line = to_line(event)
        assert "\n" not in line and from_line(line) == event


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValidationError):
        from_line('{"kind": "nonsense"}')
