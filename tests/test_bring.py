"""docs/bring-your-own-world.md is carried out as it stands, and the commands' errors are read."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

from gedanken.cli import ERROR, NOT_REACHED, REACHED, USAGE, run
from gedanken.worldmodel.experience import ExperienceStore

PAGE = (Path(__file__).parents[1] / "docs" / "bring-your-own-world.md").read_text(encoding="utf-8")

COMMANDS = re.findall(r"^\$ gedanken (.*)$", PAGE.replace("\\\n", ""), re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's files, where Python finds them."""
    for block, name in re.findall(r"```\w+\n(# file: (\S+)\n.*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("my_house", None)
    gymnasium.registry.pop("House-v0", None)


@pytest.mark.timeout(1200)  # it learns, and that takes long where others use the machine
def test_the_page_works_as_it_stands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = COMMANDS
    expected = ["worlds", "learn", "run", "whatif", "import", "learn"]
    assert [shlex.split(command)[0] for command in commands] == expected
    script = folder / "script.json"
    script.write_text(json.dumps({"Goal:": ["reach(room, 20 ± 0.5, within 30)\nkeep(room, 19..21, for 4)\n"]}))
    said = ["--llm", f"scripted:{script}", "--samples", "4"]
    assert run(shlex.split(commands[0])) == REACHED
    assert capsys.readouterr().out in PAGE
    assert run(["worlds"]) == REACHED and "house" in capsys.readouterr().out.split()
    assert run([*shlex.split(commands[1]), "--json"]) == REACHED
    printed = capsys.readouterr()
    learnt = json.loads(printed.out)
    assert learnt["steps"] == 300 and Path(learnt["checkpoint"]).name == "house-1"
    assert [test["ending"] for test in learnt["test"]] == ["achieved"]
    assert " random " in printed.err and " agent " in printed.err
    assert "fitting the model to " in printed.err and "what the plan asks for, 1 of " in printed.err
    exec(compile((folder / "use_house.py").read_text(), "use_house.py", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["0.0", "achieved"], ["12.0", "achieved"]]
    assert "outside 12 °C" in lines[1]
    assert run(["models"]) == REACHED and "ensemble, for house" in capsys.readouterr().out
    code = run([*shlex.split(commands[2]), *said, "--learn-steps", "1", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert code == (REACHED if answer["success"] else NOT_REACHED) and answer["carried_out"]
    assert answer["verdict"]["satisfies"] is None and answer["stored"] and answer["learned"]["steps"] == 1
    assert run([*shlex.split(commands[3]), *said]) == REACHED
    assert "outside 5 → -2" in capsys.readouterr().out


def test_a_log_becomes_a_world_as_the_page_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = COMMANDS[4:]
    table = [f"{1800 * i},{20 + i % 3},{i % 2},5" for i in range(40)]
    (folder / "plant.csv").write_text("\n".join(["when,t_room,valve,t_out", *table]))
    assert run(shlex.split(commands[0])) == REACHED
    assert "of 40 rows: 39 transitions are stored" in capsys.readouterr().out
    assert run(shlex.split(commands[1])) == REACHED
    assert "plant: 39 logged transitions, checkpoint" in capsys.readouterr().out


@pytest.mark.timeout(1200)
def test_more_steps_go_on_where_the_last_ones_ended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worlds", "add", "house.toml", "--as", "house"]) == REACHED
    quick = ["learn", "house", "--random", "500", "--size", "debug", "--json"]
    steps = []
    for most in ("60", "90"):
        capsys.readouterr()
        assert run([*quick, "--steps", most]) == REACHED
        steps.append(len(json.loads(capsys.readouterr().out)["rewards"]))
    assert steps == [1, 1]  # 60 actions are one episode, 30 more another


def test_a_world_that_changed_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worlds", "add", "my_house:House-v0"]) == REACHED
    import my_house

    my_house.House.observation_space = gymnasium.spaces.Box(-50, 60, (3,))
    assert run(["learn", "my_house:House-v0"]) == ERROR
    assert "no longer what was added; its observation changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("worlds add NobodyHasThis-v0", "NameNotFound"),
        ("worlds add other.toml", "other.toml: No such file"),
        ("worlds add House-v1 --adapter house.toml", "is for 'my_house:House-v0', not for 'House-v1'"),
        ("worlds add house.toml --as BabyAI-GoToObj-v0", "is there already"),
        ("learn nowhere", "unknown world 'nowhere'; `gedanken worlds` lists them, `gedanken worlds add` adds one"),
        ("learn CartPoel-v1", "did you mean CartPole-v1?"),
        ("collect --world house -n 1", "nobody demonstrates 'house'; `gedanken learn house`"),
        ("learn house --plan fly(room)", "no skill 'fly'"),
        ("run hello --world house", "house was never learned, so nothing can be imagined: `gedanken learn house`"),
    ],
)
def test_errors_say_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str], command: str, says: str) -> None:
    if "house" in command.split():
        assert run(["worlds", "add", "house.toml", "--as", "house"]) == REACHED
    assert run(command.split()) in (ERROR, USAGE)
    printed = capsys.readouterr()
    assert says in printed.err and "Traceback" not in printed.err and printed.err.count("Error") == 1


def test_a_damaged_file_of_a_world_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worlds", "add", "house.toml", "--as", "house"]) == REACHED
    from gedanken.worldmodel.checkpoint import home

    (home() / "worlds" / "house.json").write_text("{")
    assert run(["worlds"]) == REACHED  # the others are listed all the same
    assert run(["learn", "house"]) == ERROR
    assert "house.json is damaged" in capsys.readouterr().err


def test_an_adapter_says_how_its_world_is_best_learned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learning = (
        "[learning]\nsteps = 90\nrandom = 60\nways = 2\nfirst = 5\nrounds = 1\n[learning.policy]\ndiscount = 0.9\n"
    )
    adapter = folder / "house.toml"
    adapter.write_text(adapter.read_text() + learning)
    assert run(["worlds", "add", "house.toml", "--as", "house"]) == REACHED
    assert run(["learn", "house", "--size", "debug", "--random", "30", "--json"]) == REACHED
    printed = capsys.readouterr()
    learnt = json.loads(printed.out.splitlines()[-1])
    assert learnt["steps"] == 90 and printed.err.count(" random ") == 1, "what is given goes before"
    kept = json.loads((Path(learnt["checkpoint"]) / "config.json").read_text())
    assert kept["config"]["ways"] == 2 and kept["card"]["policy"]["discount"] == 0.9
    for wrong, why in (
        ("wyas = 2", "has under [learning] what nobody knows: wyas"),
        ("seed = 2", "has under [learning] what nobody knows: seed"),
        ("ways = 0", "[learning], ways: Input should be greater than or equal to 1"),
    ):
        (folder / "wrong.toml").write_text(adapter.read_text().replace("ways = 2", wrong))
        assert run(["worlds", "add", "wrong.toml", "--as", "house"]) == REACHED
        assert run(["learn", "house"]) == ERROR
        assert why in capsys.readouterr().err


def test_a_level_of_babyai_is_learned_anew_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path))
    command = ["learn", "BabyAI-GoToObjS4-v0+swapped-turns", "--size", "debug", "--test", "2", "--json"]
    assert run([*command, "--steps", "100"]) in (REACHED, NOT_REACHED)
    first = json.loads(capsys.readouterr().out)
    assert first["steps"] >= 100 and len(first["test"]["before"]) == len(first["test"]["after"]) == 2
    assert run([*command, "--steps", str(first["steps"] + 1)]) in (REACHED, NOT_REACHED)
    second = json.loads(capsys.readouterr().out)
    assert second["episodes"] == 2 * first["episodes"], "those there are count, and others follow"
    assert second["checkpoint"] != first["checkpoint"]
    with ExperienceStore(tmp_path / "experience.sqlite") as store:
        seeds = [episode.seed for _, episode in store.episodes()]
    assert len(set(seeds)) == len(seeds) == second["episodes"]
    assert run(["learn", "BabyAI-GoToObj-v0+upside-down"]) == ERROR
    assert "upside-down" in capsys.readouterr().err
