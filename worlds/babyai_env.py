"""A BabyAI level as an environment: minigrid's own, with no end for a person's goals, and with places remembered."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import gymnasium
from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core.verifier import Instr, ObjDesc

PLACES = {
    "in front of you": "front",
    "behind you": "behind",
    "on your left": "left",
    "on your right": "right",
}
MOVABLE = ("ball", "box", "key", "object")
ENDLESS = 1_000_000
"""Step limit of an environment made with `free`."""
_PLACES = 1000
"""Cells tried for the agent, one after the other, before a level is drawn anew."""


class _Nothing(Instr):
    """A mission that never ends, for environments whose goals come from a person."""

    def surface(self, env: Any) -> str:
        return ""

    def verify(self, action: int) -> str:
        return "continue"


class BabyAIEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A BabyAI level that remembers where its agent stood when the goal was given."""

    def __init__(self, env: gymnasium.Env[Any, Any], *, free: bool) -> None:
        super().__init__(env)
        self._free = free
        self.places: dict[str, list[Any]] = {}
        self._in_vain, base = 0, env.unwrapped
        self._place: Any = base.place_obj  # type: ignore[attr-defined]
        base.place_obj = self._place_obj  # type: ignore[attr-defined]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the level; what minigrid prints while it rejects samples is dropped.

        The option `hindered` puts a thing from the agent's room in front of one of its doors, where there are both.
        """
        with silent():
            raw, info = super().reset(seed=seed, options=options)
        if options and options.get("hindered") and self._put_in_the_way():
            self.unwrapped.instrs.reset_verifier(self.unwrapped)  # type: ignore[attr-defined]
            raw = self.unwrapped.gen_obs()  # type: ignore[attr-defined]
        if self._free:
            self.unwrapped.instrs = _Nothing()  # type: ignore[attr-defined, no-untyped-call]
            self.unwrapped.max_steps = ENDLESS  # type: ignore[attr-defined]
            raw = {**raw, "mission": ""}
        self.note_places()
        return raw, info

    def _place_obj(self, obj: WorldObj | None, *args: Any, **more: Any) -> Any:
        """Place a thing, or the agent (None), as minigrid does, but not for ever.

        Where every free cell of a small room faces a thing, minigrid's `place_agent` asks for another cell without end;
        the RecursionError is what its levels take for a sample to be rejected.
        """
        self._in_vain = 0 if obj is not None else self._in_vain + 1
        if self._in_vain > _PLACES:
            self._in_vain = 0
            raise RecursionError("the agent has no place in its room")
        return self._place(obj, *args, **more)

    def _put_in_the_way(self) -> bool:
        base: Any = self.unwrapped
        room = base.room_from_pos(*base.agent_pos)
        (left, top), (width, height) = room.top, room.size
        inside = [(x, y) for x in range(left + 1, left + width - 1) for y in range(top + 1, top + height - 1)]
        movable = [at for at in inside if getattr(base.grid.get(*at), "type", None) in MOVABLE]
        around = [(x + dx, y + dy) for x, y in inside for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        doors = [at for at in sorted(set(around)) if getattr(base.grid.get(*at), "type", None) == "door"]
        ways = [at for at in inside if base.grid.get(*at) is None and at != tuple(base.agent_pos)]
        ways = [(x, y) for x, y in ways if any(abs(x - dx) + abs(y - dy) == 1 for dx, dy in doors)]
        if not movable or not ways:
            return False
        source, target = (places[int(self.np_random.integers(len(places)))] for places in (movable, ways))
        thing = base.grid.get(*source)
        base.grid.set(*source, None)
        base.grid.set(*target, thing)
        thing.init_pos = thing.cur_pos = target
        return True

    def note_places(self) -> None:
        """Remember which objects are now in front, behind, left and right (minigrid's rule for places)."""
        self.places = {}
        for place in PLACES.values():
            description = ObjDesc(None, None, place)
            description.find_matching_objs(self)
            self.places[place] = list(description.obj_set)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep minigrid's prints (rejection sampling) off stdout, which is for answers."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
