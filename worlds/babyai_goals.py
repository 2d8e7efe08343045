"""Goals as people say them, with minigrid's verifiers behind: practice for whoever learns what a goal means.

Wordings follow minigrid's own missions and a list of everyday ones. Reads the simulator's state: for training only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from minigrid.envs.babyai.core.verifier import AfterInstr, AndInstr, BeforeInstr

from gedanken.worlds.babyai import instruction_of
from gedanken.worlds.babyai_env import BabyAIEnv
from gedanken.worlds.babyai_tasks import sample_steps
from gedanken.worlds.spec import Phrase, Plan, Step

VERBS = {
    "go_to": (
        "go to",
        "go to",
        "walk to",
        "move to",
        "head to",
        "head over to",
        "approach",
        "reach",
        "find",
        "get to",
        "go up to",
    ),
    "pick_up": ("pick up", "pick up", "take", "grab", "get", "fetch", "collect", "get hold of", "lift"),
    "open": ("open", "open", "open up", "unlock", "get through", "push open"),
    "put_next_to": ("put", "put", "place", "set", "move", "bring", "lay", "leave"),
    "drop": ("drop what you carry", "put down what you hold", "let go of it", "empty your hands"),
}
ORDERS: dict[str, Any] = {"then": BeforeInstr, "after": AfterInstr, "and": AndInstr}
BESIDE = ("next to", "next to", "beside", "near", "by", "close to", "alongside", "right by")
PREFIX = 4 * ("",) + (
    "please ",
    "could you ",
    "I want you to ",
    "can you please ",
    "you should ",
    "your task: ",
    "now ",
)
SUFFIX = ("", "", "", "", " please", ", thanks", "!", ".")
PLACE_WORDS = {
    "in front of you": ("in front of you", "in front of you", "ahead of you", "before you"),
    "behind you": ("behind you", "behind you", "at your back"),
    "on your left": ("on your left", "on your left", "to your left", "on the left"),
    "on your right": ("on your right", "on your right", "to your right", "on the right"),
}
WORDS = {"own": 0.3, "everyday": 0.15, "listed": 0.55}
"""Shares of practice goals in minigrid's words, in those of this module, in the training list of `babyai_wordings`."""


@dataclass(frozen=True)
class Clause:
    """Steps to be achieved at once, in order or in any order; `steps` of one for a plain goal."""

    steps: tuple[Step, ...]


class Goal:
    """A goal in words, bound to an environment's present state; `order` says how its halves hang together."""

    def __init__(self, env: BabyAIEnv, halves: Sequence[Clause], order: str, rng: np.random.Generator) -> None:
        self._env = env
        self.halves, self.order = tuple(halves), order
        self.text = _say(self.halves, order, rng)
        self._instruction = self._verifier()
        self.met = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the goal's steps in the order in which they must happen."""
        halves = self.halves[::-1] if self.order == "after" else self.halves
        return tuple(step for half in halves for step in half.steps)

    def update(self, action: int) -> None:
        """Let minigrid's verifiers look at the last transition."""
        if action == self._env.unwrapped.actions.drop:  # type: ignore[attr-defined]
            _update_positions(self._instruction)
        self.met = self.met or self._instruction.verify(action) == "success"

    def _verifier(self) -> Any:
        halves = [_all([instruction_of(self._env, step) for step in half.steps], self._env) for half in self.halves]
        if len(halves) == 1:
            return halves[0]
        return _bound(ORDERS[self.order](*halves), self._env)


def _all(instructions: list[Any], env: BabyAIEnv) -> Any:
    return instructions[0] if len(instructions) == 1 else _bound(AndInstr(*instructions), env)


def _bound(instruction: Any, env: BabyAIEnv) -> Any:
    """Start a composite without rebinding its parts: theirs are bound to the places noted at the goal's beginning."""
    instruction.env, instruction.a_done, instruction.b_done = env.unwrapped, False, False
    return instruction


def _update_positions(instruction: Any) -> None:
    if hasattr(instruction, "instr_a"):
        _update_positions(instruction.instr_a)
        _update_positions(instruction.instr_b)
    else:
        instruction.update_objs_poss()


def practice_goals(env: BabyAIEnv, rng: np.random.Generator, n: int) -> list[Goal]:
    """Draw a goal and n - 1 others close to it: said otherwise, reordered, shortened, about other things, or new."""
    pool = [s for _ in range(12) for s in sample_steps(env, rng) if s.skill != "drop"]
    if not pool:
        return []

    def draw() -> Step:
        return pool[rng.integers(len(pool))]

    size = int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    halves = [Clause((draw(), draw())) if size == 3 else Clause((draw(),))] + [Clause((draw(),))] * (size > 1)
    order = str(rng.choice(["then", "after", "and"], p=[0.4, 0.35, 0.25])) if size == 2 else "then"
    goals = [Goal(env, halves, order, rng)]
    while len(goals) < n:
        change = rng.integers(6)
        new, how = list(halves), order
        if change == 0:
            how = str(rng.choice(["then", "after"])) if size > 1 else order
        elif change == 1 and size > 1:
            new = [new[rng.integers(2)]]
        elif change == 2:
            new = [Clause(tuple(_about_else(s, pool, rng) for s in half.steps)) for half in halves]
        elif change == 3:
            new[rng.integers(len(new))] = Clause((draw(),))
        elif change == 4 and len(new) == 1:
            new = [*new, Clause((draw(),))]
        elif change == 5:
            new = [Clause((draw(),))]
        goals.append(Goal(env, new, how, rng))
    return goals


def _about_else(step: Step, pool: Sequence[Step], rng: np.random.Generator) -> Step:
    """Change a word of one argument, or exchange it for one of another step."""
    if not step.arguments:
        return step
    position = int(rng.integers(len(step.arguments)))
    colour, kind, place = step.arguments[position]
    change = rng.integers(4)
    if change == 0:
        colour = str(rng.choice(["red", "green", "blue", "purple", "yellow", "grey"]))
    elif change == 1 and kind != "door":
        kind = str(rng.choice(["ball", "box", "key"]))
    elif change == 2:
        place = str(rng.choice(list(PLACE_WORDS))) if rng.random() < 0.6 else None
    else:
        others = [p for s in pool for p in s.arguments if (p[1] == "door") == (kind == "door")]
        colour, kind, place = others[rng.integers(len(others))] if others else (colour, kind, place)
    arguments = [*step.arguments]
    arguments[position] = (colour, kind, place)
    return Step(skill=step.skill, arguments=tuple(arguments))


def aim_of(plan: Plan) -> Plan:
    """Return a plan without the keys that are fetched for the door opened next: that is how, and not what for."""
    steps = plan.steps
    return Plan(steps=tuple(s for s, then in zip(steps, (*steps[1:], None), strict=True) if not _is_its_key(s, then)))


def as_mission(plan: Plan) -> str:
    """Say what a plan is for in minigrid's words, step by step: "open the red door, then go to the ball"."""
    return ", then ".join(_in_own_words(step) for step in aim_of(plan).steps)


def _is_its_key(step: Step, then: Step | None) -> bool:
    if then is None or step.skill != "pick_up" or then.skill != "open":
        return False
    (colour, kind, _), (door, _, _) = step.arguments[0], then.arguments[0]
    return kind == "key" and (colour is None or door is None or colour == door)


def _in_own_words(step: Step) -> str:
    things = [" ".join(["the", *(word for word in phrase if word)]) for phrase in step.arguments]
    return " ".join([VERBS[step.skill][0], f" {BESIDE[0]} ".join(things)]).strip()


def _say(halves: Sequence[Clause], order: str, rng: np.random.Generator) -> str:
    from gedanken.worlds.babyai_wordings import Speaker  # which adds to the words of this module

    joints: tuple[str, ...]
    words = str(rng.choice(list(WORDS), p=list(WORDS.values())))
    if words == "listed":
        return Speaker("training", rng).say(halves, order).text
    free = words == "everyday"
    parts = [" and ".join(_say_step(step, rng, free) for step in half.steps) for half in halves]
    if len(parts) == 1:
        text = parts[0]
    elif order == "then":
        joints = (
            (", then {}", ", then {}", " and then {}", ", after that {}", " before you {}") if free else (", then {}",)
        )
        text = parts[0] + str(rng.choice(joints)).format(parts[1])
        if free and rng.random() < 0.2:
            text = f"first {parts[0]}, then {parts[1]}"
    elif order == "after":
        joints = (
            (" after you {}", " after you {}", " once you {}", " when you have done this: {}")
            if free
            else (" after you {}",)
        )
        text = parts[0] + str(rng.choice(joints)).format(parts[1])
    else:
        text = " and ".join(parts)
    return f"{rng.choice(PREFIX)}{text}{rng.choice(SUFFIX)}" if free else text


def _say_step(step: Step, rng: np.random.Generator, free: bool) -> str:
    verbs = VERBS[step.skill]
    verb = str(rng.choice(verbs)) if free else verbs[0]
    things = [_say_thing(phrase, rng, free) for phrase in step.arguments]
    if step.skill == "put_next_to":
        return f"{verb} {things[0]} {rng.choice(BESIDE) if free else BESIDE[0]} {things[1]}"
    return " ".join([verb, *things])


def _say_thing(phrase: Phrase, rng: np.random.Generator, free: bool) -> str:
    colour, kind, place = phrase
    if free and colour == "grey" and rng.random() < 0.3:
        colour = "gray"
    if free and kind == "object" and rng.random() < 0.4:
        kind = "thing"
    words = [str(rng.choice(["the", "a"])), *([colour] if colour else []), str(kind)]
    if place:
        words.append(str(rng.choice(PLACE_WORDS[place])) if free else place)
    return " ".join(words)
