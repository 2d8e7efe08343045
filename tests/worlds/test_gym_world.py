import sys
import threading
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import strange

from gedanken.worlds.adapter import Adapter, Exogenous, read_adapter
from gedanken.worlds.gym_world import GymWorld, random_action
from gedanken.worlds.protocol import DemonstratedWorld, World, WorldError
from gedanken.worlds.spaces import coded, native
from gedanken.worlds.spec import SpecError

strange.register()


def world(name: str, **adapter: Any) -> GymWorld:
    return GymWorld(Adapter(environment=f"Strange/{name}-v0", **adapter))


def test_cartpole_is_a_world_from_its_spaces_alone() -> None:
    pole = GymWorld("CartPole-v1")
    as_world: World = pole
    assert as_world.id == "CartPole-v1" and not isinstance(pole, DemonstratedWorld)
    assert pole.spec.vector.names == ("obs[0]", "obs[1]", "obs[2]", "obs[3]", "reward")
    assert pole.spec.action_names == ("action 0", "action 1") and not pole.spec.controls
    assert [v.low is None for v in pole.spec.vector.variables] == [False, True, False, True]  # velocities are unbounded
    pole.check()
    env = pole.make()
    raw, _ = env.reset(seed=3)
    wanted, _ = gymnasium.make("CartPole-v1").reset(seed=3)
    assert raw.dtype == np.float32 and np.array_equal(pole.observation(raw), wanted) and pole.mission(raw) == ""
    assert pole.describe(raw).startswith(f"obs[0] {wanted[0]:.4g}, obs[1]")
    assert GymWorld("CartPole-v1").spec.hash == pole.spec.hash != GymWorld("MountainCar-v0").spec.hash


def test_every_kind_of_number_gets_a_name() -> None:
    everything = world("Everything")
    variables = {v.name: v for v in everything.spec.vector.variables}
    assert [*variables] == [
        "arm.angle", "arm.force[0][0]", "arm.force[1][0]", "gear", "lamps[0]", "lamps[1]",
        "pair[0]", "pair[1][0]", "pair[1][1]",
    ]  # fmt: skip
    assert [v.categories for v in variables.values()] == [None, None, None, 3, 2, 2, 2, 2, 3]
    assert (variables["arm.angle"].low, variables["arm.force[0][0]"].high) == (-1, 9)
    everything.check()
    env = everything.make()
    raw, _ = env.reset(seed=0)
    assert raw.tolist() == [0.5, 1, 2, 2, 1, 0, 1, 1, 2]  # gear 3 of 1…3 is code 2
    for action in range(3):
        env.step(action)
    assert everything.spec.parse_step("reach(pair[1][0], 1 ± 0, within 3)")


def test_an_adapter_names_and_works_out(tmp_path: Path) -> None:
    file = tmp_path / "acrobot.toml"
    file.write_text(
        """
        environment = "Acrobot-v1"
        names = ["cos1", "sin1", "cos2", "sin2", "speed1", "speed2"]
        units = ["", "", "", "", "rad/s", "rad/s"]
        actions = ["left", "rest", "right"]
        [expressions]
        tip_height = "-cos1 - (cos1 * cos2 - sin1 * sin2)"
        [exogenous.length]
        attribute = "LINK_LENGTH_1"
        low = 0.5
        high = 2
        unit = "m"
        [[examples]]
        goal = "swing up"
        plan = "reach(tip_height, 1.5 ± 0.4, within 300)"
        """
    )
    acrobot = GymWorld(read_adapter(file), "acrobot")
    assert acrobot.spec.action_names == ("left", "rest", "right") and acrobot.spec.exogenous == ("length",)
    assert acrobot.spec.vector.names[-3:] == ("length", "tip_height", "reward")
    assert acrobot.examples[-1] == ("", "swing up", "reach(tip_height, 1.5 ± 0.4, within 300)")
    assert len(acrobot.examples) > 1  # those of made-up worlds come first
    env = acrobot.make()
    raw, _ = env.reset(seed=0)
    assert raw[-1] == 1 and float(env.values["tip_height"]) == pytest.approx(-2, abs=0.1)
    raw, _ = env.reset(seed=0, options={"exogenous": {"length": 1.5}})
    assert raw[-1] == 1.5 and env.inner.unwrapped.LINK_LENGTH_1 == 1.5  # type: ignore[attr-defined]
    assert "length 1.5 m, tip_height -1.9" in acrobot.describe(raw)
    assert env.reset(seed=0)[0][-1] == 1
    with pytest.raises(WorldError, match="acrobot has no exogenous variable wind"):
        env.reset(options={"exogenous": {"wind": 1.0}})


@pytest.mark.parametrize(
    ("adapter", "advice"),
    [
        ({"names": ("x",)}, "gives 1 names, the environment has 2"),
        ({"units": ("m",)}, "gives 1 units, the environment has 2"),
        ({"actions": ("push", "pull")}, "gives 2 actions, the environment has 1"),
        ({"names": ("x", "x")}, "name of its own"),
        ({"names": ("x", "top speed")}, "'top speed'.*name of its own"),
        ({"expressions": {"e": "obs[0] + y"}}, "no variable 'y'; there are"),
        (
            {"exogenous": {"w": Exogenous(attribute="storm", low=0, high=1)}},
            "exogenous w: .*attribute 'storm' is not there; give it",
        ),
        ({"exogenous": {"w": Exogenous(attribute="unwrapped", low=0, high=1)}}, "attribute 'unwrapped' is <"),
        ({"examples": ({"goal": "go", "plan": "fly(x)"},)}, "no skill 'fly'"),
        ({"skills": {"rest": {"means": "keep(y, 0..1, for 9)"}}}, "skill rest: low..high: .*|skill rest: variable: "),
        ({"skills": {"rest": {"means": "rest()"}}}, "skill rest: no skill 'rest'"),
        ({"skills": {"keep": {"means": "avoid(obs[0] > 1)"}}}, "keep is an objective already; give the skill another"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(adapter: dict[str, Any], advice: str) -> None:
    with pytest.raises(SpecError, match=advice):
        world("Drift", **adapter)


def test_an_adapter_has_skills_of_its_own() -> None:
    named = {"names": ("x", "v"), "expressions": {"energy": "v * v"}}
    skills = {"rest": {"means": "keep(energy,  -1..0.01, for 9)", "doc": "lie still"}, "flee": {"means": "avoid(x>4)"}}
    plain, drift = world("Drift", **named), world("Drift", **named, skills=skills)
    assert drift.spec.hash == plain.spec.hash, "what was learned is of use still"
    assert [skill.signature() for skill in drift.spec.skills[-2:]] == [
        "rest(): lie still",
        "flee(): the same as avoid(x > 4)",
    ]
    plan = drift.spec.parse_plan("flee()\nreach(x, 1 ± 0.1, within 50)\nrest()")
    assert str(plan) == "avoid(x > 4)\nreach(x, 1 ± 0.1, within 50)\nkeep(energy, -1..0.01, for 9)"
    assert plain.spec.parse_plan(str(plan)) == plan
    assert 'rest_call: "rest("  ")"' in drift.spec.grammar() and "rest_call" not in plain.spec.grammar()
    with pytest.raises(SpecError, match="rest takes 0 argument"):
        drift.spec.parse_step("rest(x)")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("environment =", "is no TOML"),
        ("names = ['x']", "environment: Field required"),
        ("environment = 'A'\ncolour = 'red'", "there is no key 'colour'; check its spelling"),
        ("environment = 'A'\nunit = ['m']", "there is no key 'unit'; did you mean 'units'?"),
        ("environment = 'A'\nlimit = -1", "limit: "),
        ("environment = 'A'\n[skills.'Go on']\nmeans = 'avoid(x > 1)'", "skills.Go on.*: String should match pattern"),
        ("environment = 'A'\n[exogenous.g]\nattribute = '__class__'\nlow = 0\nhigh = 1", "exogenous.g.attribute: "),
        ("environment = 'A'\n[exogenous.g]\nattribute = 'g'\nlow = 2\nhigh = 1", "low = 2 must be below high = 1"),
    ],
)
def test_an_adapter_file_is_checked(tmp_path: Path, text: str, advice: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(SpecError, match=advice):
        read_adapter(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Image", r"eye is a picture of shape \(8, 8, 4\); height × width × 3 is supported"),
        ("Written", r"note is a Text space; name under \[says\] of the adapter what it may say"),
        ("Wordy", "the actions are a Text space; Discrete, MultiDiscrete, MultiBinary and bounded Box are supported"),
        ("Myriad", r"the actions are MultiDiscrete.*, 2,500 in all; 1 to 256 are supported"),
        ("Crowded", "the observation holds 5,000 categories; at most 1,024 are supported"),
        ("Listed", r"obs\[1\] is a Sequence space, which is not supported"),
        ("Linked", "parts is a Graph space, which is not supported"),
        ("Varied", "obs is a OneOf space, which is not supported"),
        ("Undecided", "obs is a NoneType space, which is not supported"),
        ("Boundless", "without finite bounds"),
        ("Huge", "holds 400 numbers; 1 to 256"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(name: str, advice: str) -> None:
    with pytest.raises(SpecError, match=advice):
        world(name)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("NotANumber", r"NotANumber-v0: obs\[1\] is nan; it must be a finite number"),
        ("Endless", r"obs\[0\] is 1e\+300"),
        ("WrongShape", r"obs: the space's shape is \(2,\), the value's is \(3,\)"),
        ("WrongCategory", r"obs.gear: 0 is not in Discrete\(3, start=1\)"),
        ("WrongKeys", "the space has the keys arm, gear, lamps, pair"),
        ("Raises", r"step failed with ZeroDivisionError: the gearbox broke \(strange.py, line \d+\)"),
        ("EndsAtOnce", "ends after its first action, 5 times out of 5"),
        ("Unseeded", "does not begin the same way twice with one seed"),
        ("Wears", "does not go on the same way twice with one seed"),
        ("OldFashioned", "step returned 4 values; in Gymnasium's interface it returns 5 values"),
        ("Unrewarded", "reward is None; it must be a finite number"),
        ("Torn", r"terminated is array\(\[ True, False\]\); it must be a finite number"),
        ("Exits", "step failed with SystemExit: 3"),
        ("Loses", r"obs: None is no number|obs: the space's shape is \(2,\), the value's is \(\)"),
        ("Unpaid", "reward is inf; it must be a finite number"),
    ],
)
def test_what_an_environment_does_wrong_is_said(name: str, advice: str) -> None:
    with pytest.raises(WorldError, match=advice):
        world(name).check()


@pytest.mark.parametrize(
    ("name", "actions"), [("Many", ["0-0", "0-1", "0-2", "1-0", "1-1", "1-2"]), ("Switches", None)]
)
def test_actions_that_are_taken_at_once_are_one_action(name: str, actions: list[str] | None) -> None:
    many = world(name)
    assert many.spec.action_names == tuple(f"action {each}" for each in actions or ["0-0", "0-1", "1-0", "1-1"])
    many.check()
    env, inner = many.make(), gymnasium.make(f"Strange/{name}-v0").action_space
    assert env.action_space == gymnasium.spaces.Discrete(len(many.spec.actions))
    env.reset(seed=0)
    for number in range(len(many.spec.actions)):
        taken = native(inner, number)
        assert inner.contains(taken) and coded(inner, taken) == number
        env.step(number)
    assert env.inner.unwrapped.taken.tolist() == taken.tolist()  # type: ignore[attr-defined]


def test_numbers_in_a_block_are_numbers_and_no_image() -> None:
    block = world("Block")
    assert len(block.spec.vector.variables) == 8 and block.spec.vector.names[5] == "obs[1][0][1]"
    block.check()


def test_an_environment_that_hangs_is_named_when_it_is_tried() -> None:
    with pytest.raises(WorldError, match="step took more than 0.2 s; it may hang"):
        world("Hangs", limit=0.2).check()


def test_an_environment_that_knows_of_no_pictures_is_a_world() -> None:
    world("Blind").check()


def test_an_input_that_the_reset_draws_itself_is_told() -> None:
    wind = {"wind": Exogenous(attribute="wind", low=-1, high=1)}
    world("Drift", exogenous=wind).check()
    with pytest.raises(WorldError, match=r"wind was set to 1, and is 0\.5 after the reset; let reset leave wind"):
        world("Gusty", exogenous=wind).check()


def test_an_environment_that_can_not_be_made_is_said() -> None:
    with pytest.raises(WorldError, match="failed with RuntimeError: no licence found"):
        world("Breaks")
    with pytest.raises(WorldError, match="NameNotFound"):
        GymWorld("NobodyHasThis-v0")
    with pytest.raises(WorldError, match="ModuleNotFoundError.* with PYTHONPATH=. set"):
        GymWorld("no_such_package:Env-v0")


def test_an_environment_that_hangs_is_given_up() -> None:
    env = world("Hangs", limit=0.2).make()
    env.reset(seed=0)
    with pytest.raises(WorldError, match="step took more than 0.2 s; it may hang"):
        env.step([0.0])
    with pytest.raises(WorldError, match="did not come back from step"):
        env.reset(seed=0)
    assert all(thread.daemon for thread in threading.enumerate() if "Hangs" in thread.name)


def test_stdout_is_for_answers(capsys: pytest.CaptureFixture[str]) -> None:
    env = world("Prints").make()
    env.reset(seed=0)
    env.step([0.0])
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == "noise\n"


def test_free_environments_have_no_step_limit() -> None:
    drift = world("Drift", arguments={"mass": 1e9})
    for free, over in ((False, True), (True, False)):
        env = drift.make(free=free)
        env.reset(seed=0)
        assert any(any(env.step([0.0])[2:4]) for _ in range(60)) is over


def test_controls_are_kept_in_bounds() -> None:
    drift = world("Drift", actions=("push",))
    (push,) = drift.spec.controls
    assert (push.name, push.low, push.high) == ("push", -1, 1)
    env = drift.make()
    seen = []
    for action in (1.0, 99.0):
        env.reset(seed=0)
        seen.append(env.step(np.array([action]))[0].tolist())
    assert seen[0] == seen[1]
    drawn = [random_action(drift.spec, np.random.default_rng(seed)) for seed in range(50)]
    assert all(a.shape == (1,) and abs(a[0]) <= 1 for a in drawn) and np.std(drawn) > 0.3


def test_objectives_are_watched_on_what_really_happens() -> None:
    drift = world("Drift", names=("x", "v"))
    plan = drift.spec.parse_plan("avoid(v > 0.35)\nreach(v, 0.3 ± 0.01, within 4)\nkeep(v, 0.25..0.35, for 2)")
    env = drift.make()

    def course(actions: list[float]) -> list[tuple[int, bool, bool]]:
        env.reset(seed=0)
        watches, told, current = drift.watch(env, plan.steps), [], 0
        for action in actions:
            env.step([action])
            achieved = watches[current].achieved(action)
            told.append((current, achieved, watches[current].failed))
            current += achieved
        return told

    assert course([0, 1, 1, 1, 0, 0]) == [
        (0, True, False), (1, False, False), (1, False, False), (1, True, False), (2, False, False), (2, True, False),
    ]  # fmt: skip
    assert course([0, 1, 1, 1, 1])[-1] == (2, False, True)  # out of its range, and beyond what was to be avoided
    assert course([0, 0, 0, 0, 0])[-1] == (1, False, True)  # not there within 4
    with pytest.raises(SpecError, match="was not made by GymWorld.make"):
        drift.watch(gymnasium.make("CartPole-v1"), plan.steps)


def test_a_scene_tells_of_what_its_adapter_names() -> None:
    given = {"names": ("x", "v", "tilt", "turn"), "expressions": {"lean": "abs(tilt)"}}
    pole = GymWorld(Adapter(environment="CartPole-v1", told=("lean", "x"), **given))
    assert pole.describe(np.array([1, 2, -0.5, 4], np.float32)) == "lean 0.5, x 1."
    assert "v" in pole.spec.vector.names, "plans may speak of it"
    with pytest.raises(SpecError, match="told names speed, which is shown by nobody"):
        GymWorld(Adapter(environment="CartPole-v1", told=("x", "speed"), **given))
