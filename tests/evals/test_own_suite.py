"""Suites of one's own: from TOML and from Python, with scorers that look at what happened, and errors that help."""

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gedanken.cli import run
from gedanken.evals.errors import EvalError, RunError
from gedanken.evals.main import load_suite, run_suite
from gedanken.evals.suite import Options, Parts
from gedanken.evals.suite_file import FileSuite
from gedanken.evals.task_world import TaskWorld
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import Trained
from gedanken.worlds.babyai import BabyAIWorld
from gedanken.worlds.gym_world import GymWorld

LEVEL = "BabyAI-GoToObj-v0"
SUITE = f"""
limit = 2
arms = ["bot", "random"]

[[tasks]]
world = "{LEVEL}"

[[tasks]]
name = "two balls"
world = "BabyAI-GoToLocal-v0"
goal = "look at a ball, then at any key"
scorer = "steps"
steps = ["go_to(ball)", "go_to(key)"]
max_actions = 40

[[tasks]]
name = "stay busy"
world = "{LEVEL}"
goal = "do something five times"
scorer = "condition"
condition = "actions >= 5 and not total_reward > 0"
steps = ["go_to(object)"]
"""

PYTHON = f"""
from gedanken.evals.arms import ARMS
from gedanken.evals.episodes import EpisodeSuite

class Mine(EpisodeSuite):
    name = "mine"
    default_limit = 2
    levels = ("{LEVEL}",)
    players = {{name: ARMS[name] for name in ("bot", "random")}}
    default_arms = ("bot", "random")
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str], str]:
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
        return str(tmp_path / name)

    return write


Written = Callable[[str, str], str]


def parts_for(suite: object, parts: Parts) -> Parts:
    """Parts whose worlds are the suite's tasks."""
    assert isinstance(suite, FileSuite)
    parts.make_world = suite.make_world
    return parts


def test_a_file_is_measured_as_any_suite(written: Written, make_parts: Callable[..., Parts]) -> None:
    suite = load_suite(written("kitchen.toml", SUITE))
    assert (suite.name, suite.default_limit, suite.tasks) == ("kitchen", 2, (LEVEL, "two balls", "stay busy"))
    options = Options(4, 0, ("bot", "random"))
    samples = list(suite.measure(parts_for(suite, make_parts()), options, set()))
    assert len(samples) == suite.count(options) == 24
    bot = {task: [s for s in samples if (s["task"], s["arm"]) == (task, "bot")] for task in suite.tasks}
    assert all(s["success"] for s in bot[LEVEL])
    assert all(s["goal"] == "look at a ball, then at any key" for s in bot["two balls"])
    assert any(s["success"] for s in bot["two balls"]), "where there is a key and a ball"
    busy = [s for s in samples if s["task"] == "stay busy" and s["arm"] == "random"]
    assert [(s["success"], s["steps"], len(s["actions"])) for s in busy] == [(True, 5, 5)] * 4


def test_steps_count_only_in_their_order() -> None:
    """The scorer looks at the environment, not at what was planned."""
    world = BabyAIWorld("BabyAI-GoToLocal-v0")
    task = TaskWorld(world, "both", goal="g", scorer="steps", steps="go_to(ball)\ngo_to(box)", max_actions=300)
    other = TaskWorld(world, "other", goal="g", scorer="steps", steps="go_to(box)\ngo_to(ball)", max_actions=300)
    seed = next(
        seed for seed in range(50) if {"ball", "box"} <= {o.type for o in things(world, seed)} and bot_pays(task, seed)
    )
    assert bot_pays(task, seed) == [1.0] and bot_pays(other, seed, task) == [], "boxes after balls are not before them"


def things(world: BabyAIWorld, seed: int) -> list[Any]:
    env = world.make()
    env.reset(seed=seed)
    return [o for o in env.unwrapped.grid.grid if o is not None and o.type != "wall"]  # type: ignore[attr-defined]


def bot_pays(task: TaskWorld, seed: int, script: TaskWorld | None = None) -> list[float]:
    """Let the bot carry out a task's steps (or another's); return the rewards above 0."""
    env, paid = task.make(), []
    env.reset(seed=seed)
    for step in (script or task).steps:
        (watch,), expert, action, done = task.watch(env, [step]), task.expert(env, step), None, False
        while not done and (action := expert.advise(action)) is not None:
            _, reward, over, cut, _ = env.step(action)
            paid += [float(reward)] if float(reward) > 0 else []
            done = watch.achieved(action) or over or cut
    return paid


def test_a_condition_reads_the_numbers_of_the_world() -> None:
    task = TaskWorld(
        GymWorld("CartPole-v1"), "far", goal="fall right", scorer="condition", condition="obs[2] > 0.1 and actions > 3"
    )
    env = task.make()
    env.reset(seed=0)
    rewards, over = [], False
    while not over:
        seen, reward, over, _, _ = env.step(0)
        rewards.append(reward)
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0] and len(rewards) > 3 and seen[2] > 0.1
    short = TaskWorld(
        GymWorld("CartPole-v1"), "never", goal="x", scorer="condition", condition="total_reward > 5", max_actions=3
    )
    env = short.make()
    env.reset(seed=0)
    assert [env.step(0)[1:4] for _ in range(3)] == [(0.0, False, False), (0.0, False, False), (0.0, False, True)]


def test_a_task_says_and_sees_what_its_world_does() -> None:
    world = BabyAIWorld("BabyAI-UnlockLocal-v0")
    task, env = TaskWorld(world, "mine"), world.make()
    step, plan = world.spec.parse_step("open(door)"), world.spec.parse_plan("pick_up(key)\nopen(door)")
    seen = [world.observation(env.reset(seed=seed)[0]) for seed in range(20)]
    assert task.say(plan) == world.say(plan) == "open the door"
    assert [task.barred(step, view) for view in seen] == [world.barred(step, view) for view in seen]
    assert any(task.barred(step, view) for view in seen)


def test_a_mission_is_said_in_other_words() -> None:
    own, other = (TaskWorld(BabyAIWorld("BabyAI-PutNextLocal-v0"), "t", words=words) for words in ("own", "test"))  # type: ignore[arg-type]
    said = []
    for task in (own, other, other):
        raw, _ = task.make().reset(seed=7)
        said.append(task.mission(raw))
    assert said[0].startswith("put the") and said[1] == said[2] != said[0], "one seed, one wording"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("limit = 2", "limmit = 2"), "no key `limmit`; did you mean `limit`?; there are name, limit, arms, tasks"),
        (("[[tasks]]", "[[task]]"), "no key `task`; did you mean `tasks`?"),
        (('goal = "look', 'gaol = "look'), "task 2: no key `gaol`; did you mean `goal`?"),
        (
            ('scorer = "steps"', 'scorer = "stepps"'),
            "task 2: `scorer`: input should be 'reward', 'steps' or 'condition'",
        ),
        (('"go_to(ball)"', '"goto(ball)"'), "task two balls, steps: no skill 'goto'"),
        (
            ("actions >= 5", "acts >= 5"),
            "task stay busy, condition: no variable 'acts'; there are actions, total_reward",
        ),
        (("BabyAI-GoToLocal-v0", "BabyAI-GoToLokal-v0"), "task two balls: unknown world 'BabyAI-GoToLokal-v0'"),
        (('name = "two balls"', 'name = "stay busy"'), "two tasks are called 'stay busy'"),
        (('["bot", "random"]', '["bott"]'), "no arm 'bott'; did you mean `bot`?"),
        (('goal = "do something five times"', ""), "takes the world's own mission away; give a goal"),
        (('steps = ["go_to(ball)", "go_to(key)"]', ""), "the scorer 'steps' needs 'steps'"),
        (("[[tasks]]", "[[tasks"), "is no TOML"),
        (('goal = "look', 'words = "test"\ngoal = "look'), "say goal or words, not both"),
    ],
)
def test_a_typo_is_named(change: tuple[str, str], says: str, written: Written) -> None:
    assert change[0] in SUITE
    path = written("kitchen.toml", SUITE.replace(*change, 1))
    with pytest.raises(EvalError) as error:
        load_suite(path)
    assert says in str(error.value) and str(error.value).startswith(path)


def test_what_can_not_be_asked_of_a_world(written: Written) -> None:
    with pytest.raises(EvalError, match="the reward of CartPole-v1 says not yes or no; write scorer"):
        TaskWorld(GymWorld("CartPole-v1"), "t")
    with pytest.raises(EvalError, match="can't say its goals in other words"):
        TaskWorld(GymWorld("CartPole-v1"), "t", words="test")
    with pytest.raises(EvalError, match="'obs.0.' is a number|is a number; compare it"):
        TaskWorld(GymWorld("CartPole-v1"), "t", goal="g", scorer="condition", condition="obs[0]")
    with pytest.raises(EvalError, match="nobody demonstrates CartPole-v1; leave out the arms oracle-plan and bot"):
        world = TaskWorld(GymWorld("CartPole-v1"), "t", goal="g", scorer="condition", condition="actions > 1")
        world.mission_steps(world.make())
    with pytest.raises(EvalError, match="No such file"):
        load_suite("nowhere.toml")


def test_python_suites_are_found_by_file_and_name(written: Written) -> None:
    path = written("mine.py", PYTHON)
    assert load_suite(path).name == load_suite(f"{path}:Mine").name == "mine"
    two = written("two.py", PYTHON + "\nclass Other(Mine):\n    name = 'other'\n")
    assert load_suite(f"{two}:Other").name == "other"
    for reference, says in (
        (two, r"several suites; name one, as in .*two\.py:Mine \(there are Mine, Other\)"),
        (f"{path}:Nobody", "has no suite 'Nobody'; there are Mine"),
        (written("none.py", "x = 1"), "no suite: a class with name, default_limit"),
        (written("bad.py", "x = 1\ny = x +\n"), "bad.py, line 2: SyntaxError"),
        (written("raises.py", "x = 1\ny = x / 0\n"), "raises.py, line 2: ZeroDivisionError"),
        (written("name.py", PYTHON.replace('"mine"', '"planner"')), "planner is the name of another suite"),
        ("nowhere.py", "no such file"),
    ):
        with pytest.raises(EvalError, match=says):
            load_suite(reference)


@pytest.mark.parametrize(("name", "text"), [("kitchen.toml", SUITE), ("mine.py", PYTHON)])
def test_a_run_of_ones_own_goes_on_and_again_from_its_folder(
    name: str,
    text: str,
    written: Written,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint.save(Trained(trained.model, trained.controller, "tiny"), checkpoint.home() / "checkpoints" / "tiny")
    path = written(name, text)
    asked = ["eval", path, "--checkpoint", "tiny", "--task", LEVEL, "--json"]
    assert run(asked) == 0
    first = json.loads(capsys.readouterr().out)
    folder = tmp_path / "runs" / first["run"]
    kept = folder / name
    assert kept.read_text() == Path(path).read_text() and first["suite"] == load_suite(path).name
    Path(path).unlink()
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    (folder / "samples.jsonl").write_text("".join(lines[:1]))
    assert run(["eval", "--resume", "last", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == first["tasks"]
    assert run(["eval", "--rerun", first["run"], "--workers", "2", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rerun"]["same"] and again["rerun"]["samples"] == len(lines) == 4
    assert run(["compare", first["run"], again["run"]]) == 0 and "within noise: 2" in capsys.readouterr().out
    assert run(["report", first["run"], "--out", "page.html"]) == 0
    assert "100.0 [34.2, 100.0]" in (tmp_path / "page.html").read_text()
    kept.write_text(kept.read_text() + "\n")
    assert run(["eval", "--resume", first["run"]]) == 1
    assert "measured another" in capsys.readouterr().err


def test_another_suite_does_not_go_on_with_a_run(
    written: Written, make_parts: Callable[..., Parts], tmp_path: Path
) -> None:
    path = written("mine.py", PYTHON)
    run_suite(path, limit=1, runs=tmp_path / "runs", parts=make_parts())
    assert run_suite(path, resume="last", runs=tmp_path / "runs", parts=make_parts())["tasks"][0]["n"] == 1
    for other in ("babyai-local", written("mine2.py", PYTHON.replace("default_limit = 2", "default_limit = 3"))):
        with pytest.raises(RunError, match="measured another mine than"):
            run_suite(other, resume="last", runs=tmp_path / "runs", parts=make_parts())
