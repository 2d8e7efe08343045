"""What a level's mission asks for, in steps; which plans are right for it; and the same said in other words.

Right plans follow from the mission's structure and the simulator's state, never from words. For training and ceilings.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from minigrid.envs.babyai.core.verifier import AfterInstr, AndInstr, BeforeInstr, Instr

from gedanken.worlds.babyai import COLOURS
from gedanken.worlds.babyai_env import PLACES, BabyAIEnv
from gedanken.worlds.babyai_goals import Clause
from gedanken.worlds.babyai_tasks import steps_of
from gedanken.worlds.babyai_wordings import Said, Speaker
from gedanken.worlds.protocol import Wording
from gedanken.worlds.spec import MAX_STEPS, Phrase, Plan, Step

Meaning = tuple[str, tuple[frozenset[int], ...]]
"""A skill, and for each argument the things that its words speak of."""

LEVELS = tuple(
    f"BabyAI-{name}-v0"
    for name in (
        *("GoToObj", "GoToLocal", "GoToDoor", "GoToObjDoor", "GoTo", "GoToSeq", "GoToSeqS5R2", "ActionObjDoor"),
        *("GoToRedBall", "GoToRedBallGrey", "GoToImpUnlock", "Open", "OpenDoor", "OpenDoorLoc", "OpenTwoDoors"),
        *("OpenRedBlueDoors", "OpenDoorsOrderN4", "PickupLoc", "PickupDist", "Pickup", "UnblockPickup"),
        *("KeyCorridorS3R3", "KeyCorridor", "UnlockPickup", "BlockedUnlockPickup", "UnlockToUnlock"),
        *("PutNextLocal", "PutNextS7N4", "PutNextS5N2Carrying", "MoveTwoAcrossS8N9"),
        *("UnlockLocal", "UnlockLocalDist", "Unlock", "SynthS5R2", "Synth", "SynthLoc", "SynthSeq", "MiniBossLevel"),
        *("BossLevel", "BossLevelNoUnlock"),
    )
)
"""Levels whose missions between them use every skill, order and place, and ways that must first be unlocked."""

DROPS = 0.3
"""Share of goals to put down what is in hand, where something is when the level begins."""

_KINDS = ("ball", "box", "door", "key")  # minigrid takes a wall for an object, too
_FACT = "locked {} door"
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
    carried may be said or left out: taking another thing does it, too. So may the doors be opened that lock the way.
    """

    def __init__(self, env: BabyAIEnv, aim: Aim) -> None:
        self.env, self.aim = env, aim
        self._base = cast(Any, env.unwrapped)
        self._hand, self._places = self._base.carrying, env.places
        self._all = [o for o in (*self._base.grid.grid, self._hand) if o is not None and o.type in _KINDS]
        self._things: dict[Phrase, list[Any]] = {}
        self._orders = [[self.meaning(step) for step in order] for order in aim.orders()]
        self._locked = {id(o): str(o.color) for o in self._all if o.type == "door" and o.is_locked}
        self._passing = set[int]()
        self.added: tuple[str, ...] = ()
        """Colours of the locked doors that the whole plan opens with keys which the aim does not name, in order."""
        self._ways_through = self._ways()
        self.plan = self.complete()
        """The plan for one who knows everything; None where the skills or their number do not suffice."""

    def complete(self, seen: Collection[str] = COLOURS, met: Collection[str] = COLOURS) -> Plan | None:
        """Add to the aim what is needed and known, None where that makes too many steps or names what is not there.

        Of doors whose colour is in `seen` it is known that they are locked; the key comes before a step that opens
        one. Of those in `met`, that they lock the way; they are opened before what is behind them is asked for.
        """
        under_way = _UnderWay({id(self._hand)} if self._hand else set())
        for step in self.aim.steps:
            skill, things = self.meaning(step)
            if skill != "drop" and not all(things):
                return None
            if not all(self._go(under_way, wanted, met) for wanted in things):
                return None
            if skill == "open":
                keys = self._keys(things[0] - under_way.opened, {*seen, *met})
                if keys is not None and not under_way.holds(keys):
                    colour = next(o.color for o in self.things(step.arguments[0]) if id(o) not in under_way.opened)
                    if not self._fetch(under_way, str(colour), met):
                        return None
                under_way.opened |= things[0]
            under_way.do(step, things)
        if len(under_way.steps) > MAX_STEPS:
            return None
        plan = Plan(steps=tuple(under_way.steps))
        if set(seen) == set(met) == set(COLOURS):
            self.added, self._passing = tuple(dict.fromkeys(under_way.added)), under_way.passed
        return plan if self.right(plan, seen) else None

    def right(self, plan: Plan, seen: Collection[str] = COLOURS) -> bool:
        """Return whether a plan is one of those that count, for one who has `seen` these colours' locked doors."""
        meanings = [self.meaning(step) for step in plan.steps]
        return any(self._same(meanings, order, known) for order in self._orders for known in (COLOURS, seen))

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

    def _same(self, plan: Sequence[Meaning], order: Sequence[Meaning], known: Collection[str]) -> bool:
        hand = {id(self._hand)} if self._hand else set[int]()
        at, fetched, opened = 0, False, set[int]()
        for skill, things in plan:
            wanted = at < len(order) and order[at] == (skill, things)
            passing = skill == "open" and bool(things[0]) and things[0] <= self._passing
            if skill == "open":
                keys = self._keys(things[0] - opened, known)
                if fetched if keys is None else not (hand and hand <= keys):
                    return False
                opened |= things[0]
            elif fetched:  # a key that was taken for a door is put to use at once
                return False
            fetched = skill == "pick_up" and not wanted
            if fetched and not (things[0] and things[0] <= self._all_keys()):
                return False
            if not wanted and not fetched and not passing and not (skill == "drop" and hand):
                return False
            at += wanted
            hand = _hand_after(skill, things, hand)
        return at == len(order) and not fetched

    def _fetch(self, under_way: _UnderWay, colour: str, met: Collection[str]) -> bool:
        """Take a colour's key, and open what locks the way to it; tell whether that can be done."""
        step = Step(skill="pick_up", arguments=((colour, "key", None),))
        skill, things = self.meaning(step)
        if colour in under_way.fetching or not things[0] or len(under_way.steps) > MAX_STEPS:
            return False
        under_way.fetching.append(colour)
        reached = self._go(under_way, things[0], met)
        under_way.fetching.pop()
        under_way.added.append(colour)
        under_way.do(step, things)
        return reached

    def _go(self, under_way: _UnderWay, wanted: frozenset[int], met: Collection[str]) -> bool:
        """Open the known doors that lock the way to one of the things; tell whether that can be done."""
        ways = [self._ways_through[thing] for thing in wanted if thing in self._ways_through]
        if not wanted or not ways:
            return True  # nothing is locked, or nobody can say what
        for door in min(ways, key=len):
            if door in under_way.opened or self._locked[door] not in met:
                continue
            step = Step(skill="open", arguments=((self._locked[door], "door", None),))
            skill, things = self.meaning(step)
            keys = self._keys(things[0], met)
            if keys is None or (not under_way.holds(keys) and not self._fetch(under_way, self._locked[door], met)):
                return False
            under_way.opened |= things[0]
            under_way.passed |= things[0]
            under_way.do(step, things)
        return True

    def _keys(self, doors: Collection[int], known: Collection[str]) -> set[int] | None:
        """Return the keys one of which opens doors that are known to be all locked; None where none is needed."""
        if not doors or not all(self._locked.get(door) in known for door in doors):
            return None
        colours = {self._locked[door] for door in doors}
        return {id(key) for key in self.things((None, "key", None)) if key.color in colours}

    def _all_keys(self) -> set[int]:
        return {id(key) for key in self.things((None, "key", None))}

    def _ways(self) -> dict[int, tuple[int, ...]]:
        """Return the locked doors on the way to each thing, as few as can be."""
        grid, start = self._base.grid, tuple(int(x) for x in self._base.agent_pos)
        ways: dict[int, tuple[int, ...]] = {id(self._hand): ()}
        todo, seen = deque([(start, tuple[int, ...]())]), set[tuple[int, ...]]()
        while todo:
            at, way = todo.popleft()
            if at in seen:
                continue
            seen.add(at)
            x, y = at
            for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                inside = 0 <= cell[0] < grid.width and 0 <= cell[1] < grid.height
                if not inside or cell in seen:
                    continue
                thing = grid.get(*cell)
                if thing and thing.type == "wall":
                    continue
                if thing and len(way) < len(ways.get(id(thing), (*way, 0))):
                    ways[id(thing)] = way
                if thing and id(thing) in self._locked:
                    todo.append((cell, (*way, id(thing))))
                else:
                    todo.appendleft((cell, way))
        return ways


@dataclass
class _UnderWay:
    """A plan being completed: its steps, what is in hand, open, opened in passing, fetched and being fetched."""

    hand: set[int]
    steps: list[Step] = field(default_factory=list)
    opened: set[int] = field(default_factory=set)
    passed: set[int] = field(default_factory=set)
    added: list[str] = field(default_factory=list)
    fetching: list[str] = field(default_factory=list)

    def holds(self, keys: set[int]) -> bool:
        return bool(self.hand) and self.hand <= keys

    def do(self, step: Step, things: tuple[frozenset[int], ...]) -> None:
        self.steps.append(step)
        self.hand = _hand_after(step.skill, things, self.hand)


def _hand_after(skill: str, things: tuple[frozenset[int], ...], hand: set[int]) -> set[int]:
    return set(things[0]) if skill == "pick_up" else set() if skill in ("drop", "put_next_to") else hand


@dataclass(frozen=True)
class Spoken:
    """A goal in words, its first right plan, who marks others, and the colours of doors known to be locked."""

    said: Said
    plan: Plan
    key: Key
    seen: tuple[str, ...] = COLOURS

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
        """Return the doors that the goal does not call locked and whose keys the whole plan takes."""
        return tuple(map(_FACT.format, self.key.added)) if self.key.plan else ()

    def within(self, seen: Collection[str], met: Collection[str] = ()) -> Spoken | None:
        """Return the goal for one who has `seen` only these facts, and in trying has `met` those."""
        known, hindering = ([c for c in COLOURS if _FACT.format(c) in facts] for facts in (seen, met))
        plan = self.key.complete(known, hindering)
        return replace(self, plan=plan, seen=tuple(dict.fromkeys([*known, *hindering]))) if plan else None

    def right(self, plan: Plan) -> bool:
        """Return whether a plan is one of those that count."""
        return self.key.right(plan, self.seen)


def spoken_mission(env: BabyAIEnv, rng: np.random.Generator, wording: Wording) -> Spoken | None:
    """Say the level's mission in one list's words, or in its own; None where the skills cannot say its steps.

    In a list's words it may be said to drop what is in hand instead; those for training are obscure now and then.
    """
    aim = mission_aim(env)
    if wording != "own" and env.unwrapped.carrying and rng.random() < DROPS:  # type: ignore[attr-defined]
        aim = Aim((Clause((Step(skill="drop"),)),))
    key = Key(env, aim)
    plan = key.plan or key.complete((), ())
    if plan is None:
        return None
    if wording == "own":
        return Spoken(Said(str(env.unwrapped.mission), ()), plan, key)  # type: ignore[attr-defined]
    speaker = Speaker(wording, rng, obscure=wording == "training")
    return Spoken(speaker.say(aim.halves, aim.order, key.others()), plan, key)
