"""What a level's mission asks for, in steps; which plans are right for it; and the same said in other words.

Right plans follow from the mission's structure and the simulator's state, never from words. For training and ceilings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from minigrid.envs.babyai.core.verifier import AfterInstr, AndInstr, BeforeInstr, Instr

from gedanken.worlds.babyai import COLOURS, PLACES, BabyAIEnv
from gedanken.worlds.babyai_goals import Clause
from gedanken.worlds.babyai_tasks import steps_of
from gedanken.worlds.babyai_wordings import Said, Speaker
from gedanken.worlds.spec import MAX_STEPS, Phrase, Plan, Step
from gedanken.worlds.spoken import Wording

Meaning = tuple[str, tuple[frozenset[int], ...]]
"""A skill, and for each argument the things that its words speak of."""

LEVELS = tuple(
    f"BabyAI-{name}-v0"
    for name in (
        *("GoToObj", "GoToLocal", "GoToDoor", "GoToObjDoor", "GoTo", "GoToSeq", "GoToSeqS5R2", "ActionObjDoor"),
        *("PickupLoc", "PickupDist", "Pickup", "OpenDoor", "OpenDoorLoc", "OpenTwoDoors", "OpenRedBlueDoors"),
        *("OpenDoorsOrderN4", "PutNextLocal", "PutNextS7N4", "PutNextS5N2Carrying", "MoveTwoAcrossS8N9"),
        *("UnlockLocal", "UnlockLocalDist", "Unlock", "SynthS5R2", "SynthLoc", "SynthSeq", "MiniBossLevel"),
        "BossLevel",
    )
)
"""Levels whose missions between them use every skill, order and place."""

DROPS = 0.3
"""Share of goals to put down what is in hand, where something is when the level begins."""

_KINDS = ("ball", "box", "door", "key")  # minigrid takes a wall for an object, too
_ORDERS: dict[type[Instr], str] = {BeforeInstr: "then", AfterInstr: "after", AndInstr: "and"}


@dataclass(frozen=True)
class Aim:
    """Steps to be achieved: halves that hang together by `order`, see `babyai_goals.Goal`."""

    halves: tuple[Clause, ...]
    order: str = "then"

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the steps in the first order that counts."""
        return next(self.orders())

    def orders(self) -> Iterator[tuple[Step, ...]]:
        """Yield the orders of the steps that count: those of one half are free, those of two if `order` is "and"."""
        halves = self.halves[::-1] if self.order == "after" else self.halves
        for arrangement in itertools.permutations(halves) if self.order == "and" else [halves]:
            for parts in itertools.product(*(itertools.permutations(half.steps) for half in arrangement)):
                yield tuple(step for part in parts for step in part)


def mission_aim(env: BabyAIEnv) -> Aim:
    """Return the aim of the level's own mission. Raises SpecError for one that the skills cannot say."""
    instruction = env.unwrapped.instrs  # type: ignore[attr-defined]
    order = _ORDERS.get(type(instruction))
    if order is None:
        return Aim((Clause(tuple(steps_of(instruction))),))
    parts = (instruction.instr_a, instruction.instr_b)
    return Aim(tuple(Clause(tuple(steps_of(part))) for part in parts), order)


class Key:
    """Marks plans for one aim in the state in which the environment is now, also when it has gone on since.

    A plan is right that has the aim's steps in an order that counts, in the aim's words or others for the same things,
    with the key of each locked door taken directly before it is needed and still in hand then. Putting down what is
    carried may be said or left out: taking another thing does it, too.
    """

    def __init__(self, env: BabyAIEnv, aim: Aim) -> None:
        self.env, self.aim = env, aim
        self._base = cast(Any, env.unwrapped)
        self._hand, self._places = self._base.carrying, env.places
        self._all = [o for o in (*self._base.grid.grid, self._hand) if o is not None and o.type in _KINDS]
        self._things: dict[Phrase, list[Any]] = {}
        self._orders = [[self.meaning(step) for step in order] for order in aim.orders()]
        self.added: list[str] = []
        """Colours of the keys that the plan takes and the aim does not name."""
        self.plan = self._complete(aim.steps)

    @property
    def fair(self) -> bool:
        """Return whether the plan can be carried out as it stands: all there, in reach, and in few enough steps."""
        return self.plan is not None and all(self._in_reach(step) for step in self.plan.steps)

    def right(self, plan: Plan) -> bool:
        """Return whether a plan is one of those that count."""
        meanings = [self.meaning(step) for step in plan.steps]
        return any(self._same(meanings, order) for order in self._orders)

    def meaning(self, step: Step) -> Meaning:
        """Return what a step says, whatever its words."""
        return step.skill, tuple(frozenset(id(thing) for thing in self.things(phrase)) for phrase in step.arguments)

    def things(self, phrase: Phrase) -> list[Any]:
        """Return what a phrase speaks of, the thing in hand included."""
        if phrase not in self._things:
            colour, kind, place = phrase
            there = self._places[PLACES[place]] if place else self._all
            self._things[phrase] = [
                o for o in there if colour in (None, o.color) and kind in ("object", o.type) and o.type in _KINDS
            ]
        return self._things[phrase]

    def others(self) -> list[Phrase]:
        """Return names of things in the level that the aim does not speak of."""
        ours = {id(o) for step in self.aim.steps for phrase in step.arguments for o in self.things(phrase)}
        named: list[Phrase] = [(c, k, None) for c in COLOURS for k in _KINDS]
        return [name for name in named if (there := self.things(name)) and not any(id(o) in ours for o in there)]

    def _same(self, plan: Sequence[Meaning], order: Sequence[Meaning]) -> bool:
        hand = {id(self._hand)} if self._hand else set[int]()
        at, fetched, opened = 0, False, set[int]()
        for skill, things in plan:
            wanted = at < len(order) and order[at] == (skill, things)
            if skill == "open":
                keys = self._keys(things[0] - opened)
                if fetched if keys is None else not (hand and hand <= keys):
                    return False
                opened |= things[0]
            elif fetched:  # a key that was taken for a door is put to use at once
                return False
            fetched = skill == "pick_up" and not wanted
            if fetched and not (things[0] and things[0] <= self._all_keys()):
                return False
            if not wanted and not fetched and not (skill == "drop" and hand):
                return False
            at += wanted
            hand = set(things[0]) if skill == "pick_up" else set[int]() if skill in ("drop", "put_next_to") else hand
        return at == len(order) and not fetched

    def _complete(self, steps: Sequence[Step]) -> Plan | None:
        """Add the keys that are needed; None where that makes too many steps or names what is not there."""
        hand = {id(self._hand)} if self._hand else set[int]()
        complete: list[Step] = []
        opened = set[int]()
        for step in steps:
            skill, things = self.meaning(step)
            if skill != "drop" and not all(things):
                return None
            if skill == "open":
                keys = self._keys(things[0] - opened)
                if keys is not None and not (hand and hand <= keys):
                    colour = next(o.color for o in self.things(step.arguments[0]) if id(o) not in opened)
                    complete.append(Step(skill="pick_up", arguments=((colour, "key", None),)))
                    self.added.append(str(colour))
                    hand = set(self.meaning(complete[-1])[1][0])
                opened |= things[0]
            complete.append(step)
            hand = set(things[0]) if skill == "pick_up" else set[int]() if skill in ("drop", "put_next_to") else hand
        plan = Plan(steps=tuple(complete))
        return plan if len(complete) <= MAX_STEPS and self.right(plan) else None

    def _keys(self, doors: frozenset[int]) -> set[int] | None:
        """Return the keys one of which opens doors that are all locked; None where none is needed."""
        there = [o for o in self.things((None, "door", None)) if id(o) in doors]
        if not there or not all(door.is_locked for door in there):
            return None
        colours = {door.color for door in there}
        return {id(key) for key in self.things((None, "key", None)) if key.color in colours}

    def _all_keys(self) -> set[int]:
        return {id(key) for key in self.things((None, "key", None))}

    def _in_reach(self, step: Step) -> bool:
        near = self._near()
        return all(any(id(thing) in near for thing in self.things(phrase)) for phrase in step.arguments)

    def _near(self) -> set[int]:
        """Return the things that can be touched while locked doors stay locked, and the one in hand."""
        grid, start = self._base.grid, tuple(int(x) for x in self._base.agent_pos)
        todo, seen, near = [start], {start}, {id(self._hand)}
        while todo:
            x, y = todo.pop()
            for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                thing = grid.get(*cell)
                if cell in seen or (thing and thing.type == "wall"):
                    continue
                seen.add(cell)
                near.add(id(thing))
                if not (thing and thing.type == "door" and thing.is_locked):
                    todo.append(cell)
        return near


@dataclass(frozen=True)
class Spoken:
    """A goal in words, its first right plan, and who marks others."""

    said: Said
    plan: Plan
    key: Key

    @property
    def text(self) -> str:
        """Return the goal as it was said."""
        return self.said.text

    @property
    def traits(self) -> tuple[str, ...]:
        """Return what is unusual about its words."""
        return self.said.traits

    @property
    def facts(self) -> tuple[str, ...]:
        """Return the doors that the goal does not call locked and whose keys the plan takes."""
        return tuple(f"locked {colour} door" for colour in self.key.added)

    def right(self, plan: Plan) -> bool:
        """Return whether a plan is one of those that count."""
        return self.key.right(plan)


def spoken_mission(env: BabyAIEnv, rng: np.random.Generator, wording: Wording) -> Spoken | None:
    """Say the level's mission in one list's words, or in its own; None for a mission that needs unnamed steps.

    Unnamed steps, other than taking the key of a door that is named, are for another examination: a door in between
    that is locked, a key that is out of reach. In a list's words it may be said to drop what is in hand instead.
    """
    aim = mission_aim(env)
    if wording != "own" and env.unwrapped.carrying and rng.random() < DROPS:  # type: ignore[attr-defined]
        aim = Aim((Clause((Step(skill="drop"),)),))
    key = Key(env, aim)
    if key.plan is None or not key.fair:
        return None
    if wording == "own":
        return Spoken(Said(str(env.unwrapped.mission), ()), key.plan, key)  # type: ignore[attr-defined]
    return Spoken(Speaker(wording, rng).say(aim.halves, aim.order, key.others()), key.plan, key)
