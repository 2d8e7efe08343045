"""The story: how what was done is put into words."""

from gedanken.agent.telling.story import runs_of


def test_a_very_long_path_is_told_by_its_ends() -> None:
    assert runs_of(["left", "left", "forward"]) == "left ×2, forward"
    long = runs_of([("left", "right")[i % 2] for i in range(200)]).split(", ")
    assert long[:2] == ["left", "right"] and long[-4:] == ["…", "right", "left", "right"] and len(long) == 16
