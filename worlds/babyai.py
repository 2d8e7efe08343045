"""BabyAI (minigrid's `BabyAI-*` environments) as a World: words, skills with minigrid's own verifiers, scene text.

Levels and missions: Chevalier-Boisvert et al., "BabyAI", ICLR 2019. The spec is the same for every level, so that one
model serves them all. Knows no model and no language model.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import gymnasium
import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core.verifier import (
    ActionInstr,
    GoToInstr,
    ObjDesc,
    OpenInstr,
    PickupInstr,
    PutNextInstr,
)
from numpy.typing import NDArray

from gedanken.worlds import babyai_balrog
from gedanken.worlds.babyai_env import MOVABLE, PLACES, BabyAIEnv, silent
from gedanken.worlds.fields import Channel, GridField
from gedanken.worlds.protocol import Expert, Observation, PracticeGoal, Watch, Wording
from gedanken.worlds.spec import Attribute, Parameter, Phrase, Plan, Skill, SpecError, Step, WorldSpec
from gedanken.worlds.spoken import SpokenGoal

COLOURS = tuple(sorted(COLOR_TO_IDX))
_OBJECT = ("ball", "box", "door", "key", "object")


def _object(name: str, kinds: tuple[str, ...]) -> Parameter:
    return Parameter(name=name, allowed=(("colour", COLOURS), ("kind", kinds), ("place", tuple(PLACES))))


SPEC = WorldSpec(
    name="babyai",
    observation=GridField(
        name="view",
        height=7,
        width=7,
        channels=(
            Channel(name="kind", categories=tuple(sorted(OBJECT_TO_IDX, key=OBJECT_TO_IDX.__getitem__))),
            Channel(name="colour", categories=tuple(sorted(COLOR_TO_IDX, key=COLOR_TO_IDX.__getitem__))),
            Channel(name="state", categories=tuple(sorted(STATE_TO_IDX, key=STATE_TO_IDX.__getitem__))),
        ),
        agent=(6, 3),
        hidden=OBJECT_TO_IDX["unseen"],
        background=tuple(OBJECT_TO_IDX[k] for k in ("unseen", "empty", "wall", "floor", "goal", "lava", "agent")),
        bounds=tuple(OBJECT_TO_IDX[k] for k in ("wall", "door")),  # places are meant within the agent's room
        empty=OBJECT_TO_IDX["empty"],
    ),
    actions=("left", "right", "forward", "pickup", "drop", "toggle"),
    attributes=(
        Attribute(name="colour", values=COLOURS, channel="colour"),
        Attribute(name="kind", values=_OBJECT, channel="kind", optional=False, any_value="object"),
        Attribute(name="place", values=tuple(PLACES)),
    ),
    skills=(
        Skill(name="go_to", doc="walk up to an object and face it", parameters=(_object("object", _OBJECT),)),
        Skill(name="pick_up", doc="take an object; your hand must be empty", parameters=(_object("object", MOVABLE),)),
        Skill(
            name="open",
            doc="open a door; a locked door needs the key of its colour in your hand",
            parameters=(_object("door", ("door",)),),
        ),
        Skill(
            name="put_next_to",
            doc="pick up the first object and put it down beside the second",
            parameters=(_object("object", MOVABLE), _object("other", _OBJECT)),
        ),
        Skill(name="drop", doc="put down what you carry"),
    ),
)


class VerifierWatch:
    """A step watched by minigrid's verifier; places are those noted when the goal was given."""

    def __init__(self, env: BabyAIEnv, step: Step) -> None:
        self.env: Any = env.unwrapped
        self.instruction = instruction_of(env, step)
        if isinstance(self.instruction, PutNextInstr):  # minigrid finds only what lies in the grid
            self.instruction.desc_move.obj_set += held(env, step.arguments[0])

    def achieved(self, action: int) -> bool:
        """Return whether the verifier calls the last transition a success; `drop`, which has none, empties the hand."""
        if self.instruction is None:
            return action == self.env.actions.drop and self.env.carrying is None
        if action == self.env.actions.drop:
            self.instruction.update_objs_poss()
        return bool(self.instruction.verify(action) == "success")


def instruction_of(env: BabyAIEnv, step: Step) -> ActionInstr | None:
    """Build minigrid's instruction for a step, bound to the environment's present state; None for `drop`."""
    descriptions = [ObjDesc(_kind(phrase), phrase[0], None) for phrase in step.arguments]
    builders = {"go_to": GoToInstr, "pick_up": PickupInstr, "open": OpenInstr, "put_next_to": PutNextInstr}
    if step.skill == "drop":
        return None
    instruction: ActionInstr = builders[step.skill](*descriptions)
    instruction.reset_verifier(env.unwrapped)
    for description, phrase in zip(descriptions, step.arguments, strict=True):
        if phrase[2] is not None:
            there = env.places[PLACES[phrase[2]]]
            description.obj_set = [o for o in description.obj_set if any(o is other for other in there)]
            description.find_matching_objs(env, use_location=False)
    if isinstance(instruction, PickupInstr | PutNextInstr):
        instruction.preCarrying = env.unwrapped.carrying  # type: ignore[attr-defined]
    return instruction


def held(env: BabyAIEnv, phrase: Phrase) -> list[Any]:
    """Return the thing in hand where the phrase speaks of it, else nothing."""
    thing: Any = env.unwrapped.carrying  # type: ignore[attr-defined]
    colour, kind, place = phrase
    if thing is None or colour not in (None, thing.color) or kind not in ("object", thing.type):
        return []
    return [thing] if place is None or any(thing is o for o in env.places[PLACES[place]]) else []


def _kind(phrase: Phrase) -> str | None:
    return None if phrase[1] == "object" else phrase[1]


class BabyAIWorld:
    """One `BabyAI-*` level. Raises SpecError for an id that is not registered."""

    spec = SPEC
    looking = (0, 0, 0, 0)  # four turns to the left show the room and end where they began

    def __init__(self, id: str) -> None:
        if id not in level_ids():
            close = [name for name in level_ids() if id.lower().removeprefix("babyai-").split("-")[0] in name.lower()]
            others = "`gedanken worlds` lists them, `gedanken worlds add` adds one"
            hint = f"did you mean {', '.join(close[:4])}?" if close else others
            raise SpecError(f"unknown world {id!r}; {hint}")
        self.id = id

    @property
    def examples(self) -> tuple[tuple[str, str, str], ...]:
        """Few-shot examples for the language model: (scene, goal, plan text)."""
        return _examples()

    def make(self, render_mode: str | None = None, *, free: bool = False) -> BabyAIEnv:
        """Make the level; `free` takes its mission and step limit away, for a person's goals."""
        with silent():
            return BabyAIEnv(gymnasium.make(self.id, render_mode=render_mode, disable_env_checker=True), free=free)

    def observation(self, raw: Any) -> Observation:
        """Return the view as ``[row, column, channel]``, row 0 farthest ahead (minigrid stores columns first)."""
        return np.ascontiguousarray(raw["image"].transpose(1, 0, 2))

    def view_cells(self, env: gymnasium.Env[Any, Any]) -> NDArray[np.int64]:
        """Return where in the level the cells of the view are, ``[row, column, (x, y)]``."""
        base: Any = env.unwrapped
        (row, column), rows, columns = SPEC.grid.agent, *np.indices((SPEC.grid.height, SPEC.grid.width))
        ahead, right = row - rows, columns - column
        places: NDArray[np.int64] = base.agent_pos + ahead[..., None] * base.dir_vec + right[..., None] * base.right_vec
        return places

    def tile(self, cell: NDArray[np.uint8], size: int, *, agent: bool = False) -> NDArray[np.uint8]:
        """Draw one cell of a view as minigrid does, ``[size, size, 3]``; the agent faces up, what it holds is small."""
        thing, facing_up, half = WorldObj.decode(*map(int, cell)), 3, size // 2
        if not agent:
            return np.asarray(Grid.render_tile(thing, tile_size=size), np.uint8)
        drawn = np.array(Grid.render_tile(None, facing_up, tile_size=size), np.uint8)
        if thing is not None:
            drawn[-half:, -half:] = Grid.render_tile(thing, tile_size=half)
        return drawn

    def mission(self, raw: Any) -> str:
        """Return the level's own goal as plain text."""
        return str(raw["mission"])

    def begin_goal(self, env: gymnasium.Env[Any, Any]) -> None:
        """Note the places of a new goal."""
        _cast(env).note_places()

    def watch(self, env: gymnasium.Env[Any, Any], steps: Sequence[Step]) -> list[Watch]:
        """Return one verifier per step."""
        return [VerifierWatch(_cast(env), step) for step in steps]

    def sample_steps(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> tuple[Step, ...]:
        """Draw one or two steps about what is in the agent's room, for practice."""
        from gedanken.worlds.babyai_tasks import sample_steps

        return sample_steps(_cast(env), rng)

    def practice_goals(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator, n: int) -> Sequence[PracticeGoal]:
        """Draw goals in words about what is in the agent's room, close to each other, each with its verifiers."""
        from gedanken.worlds.babyai_goals import practice_goals

        return practice_goals(_cast(env), rng, n)

    def spoken_goal(
        self, env: gymnasium.Env[Any, Any], rng: np.random.Generator, wording: Wording
    ) -> SpokenGoal | None:
        """Say the level's mission in its own words or in others, with the plans that are right for it."""
        from gedanken.worlds.babyai_aims import spoken_mission

        return spoken_mission(_cast(env), rng, wording)

    def barred(self, step: Step, seen: Observation) -> str | None:
        """Say which locked door is in view that a step means to open, where the hand has no key for it."""
        return locked_out(step, seen) if step.skill == "open" else None

    def aim(self, plan: Plan) -> Plan:
        """Return a plan without the keys that are fetched for the door opened next."""
        from gedanken.worlds.babyai_goals import aim_of

        return aim_of(plan)

    def say(self, plan: Plan) -> str:
        """Say a plan as a mission in minigrid's words."""
        from gedanken.worlds.babyai_goals import as_mission

        return as_mission(plan)

    def unmet_goal(self, rng: np.random.Generator, wording: Wording) -> str:
        """Draw a goal that no plan of this world meets; in the world's own words there are none."""
        from gedanken.worlds.babyai_wordings import Speaker

        return Speaker("test" if wording == "test" else "training", rng).foreign()

    def prerequisites(self, env: gymnasium.Env[Any, Any], step: Step) -> tuple[Step, ...]:
        """Return the steps that must come first from here (the key of a locked door), read from the simulator."""
        from gedanken.worlds.babyai_tasks import prerequisites

        return prerequisites(_cast(env), step)

    def mission_steps(self, env: gymnasium.Env[Any, Any]) -> tuple[Step, ...]:
        """Return steps that meet the level's own mission, read from the simulator: for training and ceilings only."""
        from gedanken.worlds.babyai_tasks import mission_steps

        return mission_steps(_cast(env))

    def expert(self, env: gymnasium.Env[Any, Any], step: Step, known: NDArray[np.bool_] | None = None) -> Expert:
        """Return minigrid's bot, set on `step`; `known` are the cells ``[x, y]`` that it has seen before."""
        from gedanken.worlds.babyai_expert import BotExpert

        return BotExpert(_cast(env), step, known)

    def describe(self, observation: Observation, agent: tuple[int, ...]) -> str:
        """Say what an egocentric grid shows, nearest first, in the words that plans use."""
        return describe(observation, agent)


def describe(grid: Observation, agent: tuple[int, ...]) -> str:
    """Say in two sentences which objects a grid shows and what the hand holds.

    Objects come nearest first; a door's state is said; places are rough (ahead, behind, left, right).
    """
    kinds, colours, states = (channel.categories for channel in SPEC.grid.channels)
    seen = []
    for row, column in zip(*np.nonzero(~np.isin(grid[..., 0], SPEC.grid.background)), strict=True):
        ahead, right = agent[0] - int(row), int(column) - agent[1]
        if (ahead, right) == (0, 0):
            continue
        kind, colour, state = (int(code) for code in grid[row, column])
        words = [states[state]] * (kinds[kind] == "door") + [colours[colour], kinds[kind]]
        phrase = f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)} {_direction(ahead, right)}"
        seen.append((abs(ahead) + abs(right), phrase))
    phrases = [phrase for _, phrase in sorted(seen)]
    held = grid[agent]
    hand = f"a {colours[held[1]]} {kinds[held[0]]}" if int(held[0]) not in SPEC.grid.background else "nothing"
    return f"You see {', '.join(phrases) if phrases else 'no objects'}. You carry {hand}."


def locked_out(step: Step, grid: Observation) -> str | None:
    """Name the locked door in an egocentric view that fits a step, with no key for it in the hand.

    Where the step says no colour, another door might do: None as long as one is in view that is not locked.
    """
    kinds, colours, states = (channel.categories for channel in SPEC.grid.channels)
    wanted = step.arguments[0][0]
    doors = [(colours[c], states[s]) for k, c, s in grid.reshape(-1, grid.shape[-1]) if kinds[k] == "door"]
    fitting = [(colour, state) for colour, state in doors if wanted in (None, colour)]
    kind, held, _ = grid[SPEC.grid.agent]
    if not fitting or any(state != "locked" or (kinds[kind], colours[held]) == ("key", c) for c, state in fitting):
        return None
    return f"locked {fitting[0][0]} door"


def _direction(ahead: int, right: int) -> str:
    if abs(ahead) >= abs(right):
        return "ahead" if ahead > 0 else "behind"
    return "right" if right > 0 else "left"


@functools.cache
def level_ids() -> tuple[str, ...]:
    """Return the ids of minigrid's BabyAI levels, and of those that are added here."""
    babyai_balrog.register()
    return tuple(sorted(name for name in gymnasium.registry if name.startswith("BabyAI-")))


@functools.cache
def _examples() -> tuple[tuple[str, str, str], ...]:
    text = resources.files("gedanken.worlds").joinpath("babyai_examples.json").read_text(encoding="utf-8")
    return tuple((item["scene"], item["goal"], item["plan"]) for item in json.loads(text))


def _cast(env: gymnasium.Env[Any, Any]) -> BabyAIEnv:
    if not isinstance(env, BabyAIEnv):
        raise SpecError(f"{env!r} was not made by BabyAIWorld.make")
    return env
