"""Minigrid's BabyAIBot as the demonstrator of single steps; sees the simulator's state. For training and ceilings."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from minigrid.envs.babyai.core.verifier import GoToInstr, ObjDesc
from minigrid.utils.baby_ai_bot import BabyAIBot, DisappearedBoxError, DropSubgoal, GoNextToSubgoal
from numpy.typing import NDArray

from gedanken.worlds.babyai import held, instruction_of
from gedanken.worlds.babyai_env import BabyAIEnv
from gedanken.worlds.spec import Step


class _Stack(list[Any]):
    """The bot's subgoals; it gives up where it would pile them up for ever, as it may when it is boxed in."""

    most = 2_000
    pushed = 0

    def append(self, item: Any) -> None:
        """Push a subgoal. Raises AssertionError, as the bot does when it is at its wits' end."""
        self.pushed += 1
        assert self.pushed < self.most, "the bot goes in circles"
        super().append(item)


class _Bot(BabyAIBot):
    """The bot, with two of its dead ends opened.

    Of the locked doors left to explore it tries first those whose key has been in sight; minigrid's own takes the
    closest, and piles up subgoals for ever where that one's key lies behind the other. And it explores again where a
    thing that it has seen is out of reach, as behind a door that has fallen shut.
    """

    def _find_obj_pos(self, obj_desc: Any, adjacent: bool = False) -> Any:
        find: Any = super()._find_obj_pos
        assert obj_desc.obj_set, "the object is gone"
        try:
            return find(obj_desc, adjacent)
        except AssertionError:
            return None, None

    def _shortest_path(self, accept_fn: Any, try_with_blockers: bool = False) -> Any:
        shortest_path: Any = super()._shortest_path
        if accept_fn.__name__ == "unopened_door":
            path = shortest_path(lambda at, cell: accept_fn(at, cell) and self._key_seen(cell), True)
            if path[1]:
                return path
        return shortest_path(accept_fn, try_with_blockers)

    def _key_seen(self, door: Any) -> bool:
        held = self.mission.unwrapped.carrying
        return any(o.type == "key" and o.color == door.color for o in (held, *self.seen()) if o)

    def seen(self) -> list[Any]:
        """Return the things in cells that have been in sight."""
        grid, (columns, rows) = self.mission.unwrapped.grid, np.nonzero(self.vis_mask)
        cells = (grid.get(int(x), int(y)) for x, y in zip(columns, rows, strict=True))
        return [cell for cell in cells if cell is not None]


class BotExpert:
    """The bot set on one step, from any state, also after actions that were not its own.

    After such an action it begins anew, with what it has seen: minigrid's bot would go back first to undo it, from a
    memory that nobody else has. So it does after it took or put down what it has to bring somewhere, and where the
    way there turns out to be barred: it puts down what it brings, frees the way with an empty hand, and only then
    fetches it. Minigrid's bot would do the same, but knows by heart that it is on it. A key in its hand it keeps while
    that opens the way. `open` is
    strict, as the skill is: before a locked door without its key the expert walks up and tries the handle; a key that
    it held when the step began it fetches again.
    """

    _advised: int | None
    _keeping: bool
    _freeing: bool
    _laying: bool

    def __init__(self, env: BabyAIEnv, step: Step, known: NDArray[np.bool_] | None) -> None:
        self._env = cast(Any, env.unwrapped)
        self._step = step
        self._instruction = cast(Any, instruction_of(env, step))
        if step.skill == "put_next_to":
            self._instruction.desc_move.obj_set += held(env, step.arguments[0])
        self.gave_up = self._instruction is not None and not all(
            d.obj_set for d in (getattr(self._instruction, n, None) for n in ("desc", "desc_move", "desc_fixed")) if d
        )
        if self.gave_up:
            return
        self._trying_a_lock = step.skill == "open" and all(
            door.is_locked and not self._opens(door) for door in self._instruction.desc.obj_set
        )
        self._begin(known)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Cells ``[x, y]`` that have been in sight."""
        return np.asarray(self._bot.vis_mask)

    def advise(self, action_taken: int | None) -> int | None:
        """Return the bot's action, told the last one taken; None when it finds no way."""
        if self.gave_up:
            return None
        if action_taken == self._env.actions.drop and self._instruction is not None:
            self._instruction.update_objs_poss()
        if self._stale(action_taken):
            self._begin(self.known)
            action_taken = None
        if self.gave_up:
            return None
        self._advised = self._replan(action_taken)
        return self._advised

    def _stale(self, action_taken: int | None) -> bool:
        """Tell whether the bot's subgoals rest on something else than the present state and what was seen."""
        if action_taken is None:
            return False
        held, before = self._env.carrying, self._bot.prev_carrying
        if action_taken != self._advised or (held is not before and not self._remembers(held or before)):
            return True
        self._bot._process_obs()
        if self._keeping and not self._keeps():
            return True
        if held is None:
            return self._freeing and not self._barred()
        return not self._laying and self._is_cargo(held) and self._barred()

    def _replan(self, action_taken: int | None) -> int | None:
        try:
            action = self._bot.replan(action_taken)
        except (AssertionError, DisappearedBoxError, AttributeError, TypeError, IndexError):
            self.gave_up = True  # the bot's own limits: boxed in, or the object is gone
            return None
        if self._trying_a_lock and action == self._env.actions.done:
            return int(self._env.actions.toggle)
        if action == self._env.actions.done:
            return None
        return int(action)

    def _opens(self, door: Any) -> bool:
        held = self._env.carrying
        return held is not None and held.type == "key" and held.color == door.color

    def _keeps(self) -> bool:
        """Tell whether the hand holds the key of a door that has been seen, and the step's object is not in reach."""
        held, instruction = self._env.carrying, self._instruction
        if self._step.skill not in ("pick_up", "put_next_to") or held is None or held.type != "key":
            return False
        wanted = instruction.desc if self._step.skill == "pick_up" else instruction.desc_move
        if any(held is o for o in wanted.obj_set):
            return False
        if not any(o.type == "door" and o.is_locked and self._opens(o) for o in self._bot.seen()):
            return False
        return self._bot._find_obj_pos(wanted)[1] is None or self._barred()

    def _remembers(self, thing: Any) -> bool:
        """Tell whether the bot's subgoals go on to hold after it took or put down a thing that is no cargo."""
        return thing.type == "key" and not self._is_cargo(thing)

    def _is_cargo(self, thing: Any) -> bool:
        """Tell whether a thing has to be in the hand where the step leads: what is put somewhere, or a lock's key."""
        if self._step.skill == "put_next_to":
            return any(thing is o for o in self._instruction.desc_move.obj_set)
        if self._step.skill != "open" or self._trying_a_lock or thing.type != "key":
            return False
        return any(door.is_locked and door.color == thing.color for door in self._instruction.desc.obj_set)

    def _leads_to(self) -> Any:
        """Return the description of where cargo has to be brought, None where there is none."""
        if self._step.skill == "put_next_to":
            return self._instruction.desc_fixed
        locked = self._step.skill == "open" and any(door.is_locked for door in self._instruction.desc.obj_set)
        return self._instruction.desc if locked and not self._trying_a_lock else None

    def _barred(self) -> bool:
        """Tell whether things or locks are in every way to where cargo has to be brought, and something in one."""
        bot, description = self._bot, self._leads_to()
        if description is None:
            return False
        there = {tuple(map(int, at)) for at in description.obj_poss if bot.vis_mask[at]}

        def shut(cell: Any) -> bool:
            return cell is not None and cell.type == "door" and not cell.is_open

        # in the bot's own order: there, what is unseen, behind a door, behind a lock
        ways = (
            lambda at, _: at in there,
            lambda at, _: not bot.vis_mask[at],
            lambda _, cell: shut(cell) and not cell.is_locked,
            lambda _, cell: shut(cell) and bot._key_seen(cell),
        )
        for number, way in enumerate(ways):
            path, _, past_things = bot._shortest_path(way, True)
            if path is not None:
                return past_things or number == 3
        return False

    def _begin(self, known: NDArray[np.bool_] | None) -> None:
        """Set a bot on the step from here."""
        self._advised, self._keeping, self._freeing, self._laying = None, False, False, False
        previous, self._env.instrs = self._env.instrs, self._instruction or GoToInstr(ObjDesc("door"))
        self._bot: Any = _Bot(self._env)  # type: ignore[no-untyped-call]
        self._bot.stack = _Stack(self._bot.stack)
        self._env.instrs = previous
        if known is not None:
            self._bot.vis_mask |= known
        bot, held, stack = cast(Any, self._bot), self._env.carrying, cast(Any, self._bot.stack)
        bot._process_obs()
        self._keeping = self._keeps()
        if (held is None or self._keeping) and self._barred():
            self._freeing = True
            stack.append(GoNextToSubgoal(bot, self._leads_to()))
            return
        self._laying = held is not None and self._is_cargo(held) and self._barred()
        if self._step.skill == "open" and not self._laying:
            if self._trying_a_lock:
                stack[:] = [GoNextToSubgoal(bot, self._instruction.desc)]
            return
        if held is None:
            self.gave_up = self._step.skill == "drop"
            return
        if self._keeping:
            return
        place = GoNextToSubgoal(bot, bot._find_drop_pos()) if bot._find_drop_pos() else None
        if place is None:
            self.gave_up = True
        elif self._laying:
            stack += [DropSubgoal(bot), place]
        elif self._step.skill == "drop":
            stack[:] = [DropSubgoal(bot), place]
        elif self._step.skill == "put_next_to" and any(held is o for o in self._instruction.desc_move.obj_set):
            stack[:] = [DropSubgoal(bot), GoNextToSubgoal(bot, self._instruction.desc_fixed, reason="PutNext")]
        elif self._step.skill in ("pick_up", "put_next_to"):
            stack += [DropSubgoal(bot), place]


__all__ = ["BotExpert"]
