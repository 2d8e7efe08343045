"""Practice steps and oracle plans for BabyAI, read from the simulator's state: for training and ceilings only."""

from __future__ import annotations

from typing import Any

import numpy as np
from minigrid.envs.babyai.core.verifier import (
    ActionInstr,
    AfterInstr,
    AndInstr,
    BeforeInstr,
    GoToInstr,
    Instr,
    ObjDesc,
    OpenInstr,
    PickupInstr,
    PutNextInstr,
)

from gedanken.worlds.babyai_env import PLACES, BabyAIEnv
from gedanken.worlds.spec import Phrase, SpecError, Step

_PLACE_WORDS = {place: words for words, place in PLACES.items()}
_SKILLS = {"go_to": 0.22, "pick_up": 0.25, "open": 0.23, "put_next_to": 0.25, "drop": 0.05}


def mission_steps(env: BabyAIEnv) -> tuple[Step, ...]:
    """Return the mission's steps in the order in which they count; a locked door gets its key first.

    Raises SpecError for a mission that the five skills cannot say.
    """
    steps = steps_of(env.unwrapped.instrs)  # type: ignore[attr-defined]
    return tuple(step for part in steps for step in (*prerequisites(env, part), part))


def steps_of(instruction: Instr) -> list[Step]:
    """Return an instruction's steps in an order in which they count. Raises SpecError, see `mission_steps`."""
    match instruction:
        case BeforeInstr() | AndInstr():
            return steps_of(instruction.instr_a) + steps_of(instruction.instr_b)
        case AfterInstr():
            return steps_of(instruction.instr_b) + steps_of(instruction.instr_a)
        case ActionInstr():
            return [_step_of(instruction)]
    raise SpecError(f"no skills for a mission of type {type(instruction).__name__}")


def _step_of(instruction: ActionInstr) -> Step:
    match instruction:
        case GoToInstr():
            return Step(skill="go_to", arguments=(_phrase(instruction.desc),))
        case PickupInstr():
            return Step(skill="pick_up", arguments=(_phrase(instruction.desc),))
        case OpenInstr():
            return Step(skill="open", arguments=(_phrase(instruction.desc),))
        case PutNextInstr():
            return Step(
                skill="put_next_to", arguments=(_phrase(instruction.desc_move), _phrase(instruction.desc_fixed))
            )
    raise SpecError(f"no skill for an instruction of type {type(instruction).__name__}")


def _phrase(description: ObjDesc) -> Phrase:
    return (description.color, description.type or "object", _PLACE_WORDS.get(description.loc))


def prerequisites(env: BabyAIEnv, step: Step) -> tuple[Step, ...]:
    """Return the step that fetches the key, where `step` opens doors that are all locked."""
    if step.skill != "open":
        return ()
    description = ObjDesc("door", step.arguments[0][0], None)
    doors, _ = description.find_matching_objs(env)
    held = env.unwrapped.carrying  # type: ignore[attr-defined]
    if (
        not doors
        or not all(door.is_locked for door in doors)
        or (held and held.type == "key" and held.color == doors[0].color)
    ):
        return ()
    return (Step(skill="pick_up", arguments=((doors[0].color, "key", None),)),)


def sample_steps(env: BabyAIEnv, rng: np.random.Generator) -> tuple[Step, ...]:
    """Draw a skill, then objects of the agent's room described with as many words as chance has it."""
    base: Any = env.unwrapped
    things = _things(env)
    doors = [o for o in things if o.type == "door"]
    movable = [o for o in things if o.type != "door"]
    held = base.carrying
    possible = {
        "go_to": bool(things),
        "pick_up": bool(movable),
        "open": bool(doors),
        "put_next_to": len(things) > 1 and bool(movable),
        "drop": held is not None,
    }
    names = [name for name in _SKILLS if possible[name]]
    if not names:
        return ()
    weights = np.array([_SKILLS[name] for name in names])
    skill = names[rng.choice(len(names), p=weights / weights.sum())]
    if skill == "drop":
        return (Step(skill="drop"),)
    if skill == "open":
        door = doors[rng.integers(len(doors))]
        step = Step(skill="open", arguments=(_describe(env, door, rng),))
        keys = [o for o in movable if o.type == "key" and o.color == door.color]
        if door.is_locked and keys and rng.random() < 0.7:
            return Step(skill="pick_up", arguments=(_describe(env, keys[0], rng, exact=True),)), step
        return (step,)
    if skill == "put_next_to":
        moved = held if held is not None and rng.random() < 0.5 else movable[rng.integers(len(movable))]
        others = [o for o in things if o is not moved]
        fixed = others[rng.integers(len(others))]
        words = (
            _describe(env, moved, rng, exact=rng.random() < 0.8),
            _describe(env, fixed, rng, exact=rng.random() < 0.8),
        )
        return (Step(skill="put_next_to", arguments=words),)
    pool = movable if skill == "pick_up" else things
    return (Step(skill=skill, arguments=(_describe(env, pool[rng.integers(len(pool))], rng),)),)


def _things(env: BabyAIEnv) -> list[Any]:
    """Return the objects in the agent's room, its doors included."""
    base: Any = env.unwrapped
    (left, top), (width, height) = (lambda room: (room.top, room.size))(base.room_from_pos(*base.agent_pos))
    cells = (base.grid.get(x, y) for x in range(left, left + width) for y in range(top, top + height))
    return [cell for cell in cells if cell is not None and cell.type in ("door", "key", "ball", "box")]


def _describe(env: BabyAIEnv, thing: Any, rng: np.random.Generator, *, exact: bool = False) -> Phrase:
    """Describe a thing with its colour, kind and place, leaving words out at random unless `exact`."""
    form = rng.choice(["both", "kind", "colour"], p=[0.6, 0.2, 0.2])
    if exact or form == "both":
        words: tuple[str | None, str] = (thing.color, thing.type)
    elif form == "kind" or thing.type == "door":
        words = (None, thing.type)
    else:
        words = (thing.color, "object")
    places = [place for place, there in env.places.items() if any(thing is o for o in there)]
    place = _PLACE_WORDS[places[rng.integers(len(places))]] if places and not exact and rng.random() < 0.4 else None
    return (*words, place)
