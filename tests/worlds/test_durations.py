import pytest

from gedanken.worlds.durations import in_actions, seconds, spans


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        ("keep the room warm for two hours", "keep the room warm for 4 actions"),
        ("reach 20 within 90 min", "reach 20 within 3 actions"),
        (
            "hold it for half an hour, then cool for at least 1 day",
            "hold it for 1 action, then cool for at least 48 actions",
        ),
        ("wait for an hour and a half", "wait for 3 actions"),
        ("wait for two and a half hours please", "wait for 5 actions please"),
        ("wait for 2 hours 30 minutes", "wait for 5 actions"),
        ("wait for 1 hour and 30 min, then go", "wait for 3 actions, then go"),
        ("wait for eighteen hours", "wait for 36 actions"),
        ("keep the delay below 3 seconds", "keep the delay below 3 seconds"),  # no span, but a value
        ("stay under 3 m/s for 5 steps", "stay under 3 m/s for 5 steps"),
    ],
)
def test_spans_of_time_become_actions(goal: str, said: str) -> None:
    assert in_actions(goal, 1800) == said


def test_what_no_plan_can_say_is_refused() -> None:
    with pytest.raises(ValueError, match="so 1 day is longer than 9999 actions"):
        in_actions("wait for 1 day", 0.02)
    with pytest.raises(ValueError, match="so 5 minutes is less than one"):
        in_actions("wait for 5 minutes", 1800)
    assert spans("wait for 5 minutes") == ["5 minutes"]


def test_how_long_an_action_takes() -> None:
    assert seconds("30 min") == 1800 and seconds("0.02 s") == 0.02
    for text in ("soon", "0 s", "-3 min", "3"):
        with pytest.raises(ValueError, match="write, for example"):
            seconds(text)
