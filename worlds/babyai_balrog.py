"""BALROG's five BabyAI tasks as levels on minigrid's generator: their rules, none of their text. Knows no adapter.

BALROG (Paglieri et al., ICLR 2025; `make_babyai_env` and `num_dists: 0` in balrog-ai/BALROG) plays the kinds of mission
of BabyAI-Text's level `MixedTrainLocal` (Carta et al., ICML 2023; flowersteam/Grounding_LLMs_with_online_RL) one at a
time, with nothing in the room but what the mission speaks of.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from minigrid.core.constants import COLOR_NAMES
from minigrid.envs.babyai.core.roomgrid_level import RejectSampling, RoomGridLevel
from minigrid.envs.babyai.core.verifier import (
    AfterInstr,
    BeforeInstr,
    GoToInstr,
    Instr,
    ObjDesc,
    OpenInstr,
    PickupInstr,
    PutNextInstr,
)

OPEN = "open"
TASKS = {"goto": 1, "pickup": 1, OPEN: 1, "putnext": 2, "pick_up_seq_go_to": 2}
"""BALROG's names, and how many things lie in the room."""

HELD_OUT = frozenset({("yellow", "box"), ("red", "key"), ("red", "door"), ("green", "ball"), ("grey", "door")})
"""Colours and kinds that BabyAI-Text keeps for another level: no mission names them."""

DOORS = tuple(colour for colour in COLOR_NAMES if (colour, "door") not in HELD_OUT)


def level_id(task: str) -> str:
    """Return a task's Gymnasium id."""
    return f"BabyAI-BALROG-{task}-v0"


def register() -> None:
    """Make the tasks known to Gymnasium, once."""
    for task in TASKS:
        if level_id(task) not in gymnasium.registry:
            gymnasium.register(level_id(task), entry_point=f"{__name__}:BalrogLevel", kwargs={"task": task})


class BalrogLevel(RoomGridLevel):
    """One 8×8 room; for `open` two, the one locked and the key of its door in the other, where the agent is.

    The step limits are minigrid's: 64 actions a room for each thing to walk to, so 64, 64, 128, 128, 128.
    """

    def __init__(self, task: str, **kwargs: Any) -> None:
        self.task = task
        super().__init__(num_rows=1, num_cols=2 if task == OPEN else 1, **kwargs)

    def gen_mission(self) -> None:
        """Draw the things and a mission about them. Raises RejectSampling, upon which minigrid draws anew."""
        self.instrs = self._behind_a_door() if self.task == OPEN else self._in_a_room()

    def _behind_a_door(self) -> Instr:
        locked = self._rand_int(0, 2)
        door, _ = self.add_door(locked, 0, color=self._rand_elem(DOORS), locked=True)
        self.add_object(1 - locked, 0, "key", door.color)
        self.place_agent(1 - locked, 0)
        self.check_objs_reachable()  # type: ignore[no-untyped-call]  # the key must not lie before the door
        return OpenInstr(ObjDesc("door", self._rand_elem([None, door.color])))

    def _in_a_room(self) -> Instr:
        self.place_agent()
        things = self.add_distractors(num_distractors=TASKS[self.task], all_unique=False)
        if any((thing.color, thing.type) in HELD_OUT for thing in things):  # the mission names them all
            raise RejectSampling("kept for another level")
        first, *rest = [ObjDesc(thing.type, thing.color) for thing in self._rand_subset(things, len(things))]
        match self.task:
            case "goto":
                return GoToInstr(first)
            case "pickup":
                return PickupInstr(first)
            case "putnext":
                return PutNextInstr(first, *rest)
        pick_up, go_to = PickupInstr(first), GoToInstr(*rest)
        return BeforeInstr(pick_up, go_to) if self._rand_bool() else AfterInstr(go_to, pick_up)
