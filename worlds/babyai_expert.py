"""Minigrid's BabyAIBot as the demonstrator of single steps; sees the simulator's state. For training and ceilings."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from minigrid.envs.babyai.core.verifier import GoToInstr, ObjDesc
from minigrid.utils.baby_ai_bot import BabyAIBot, DisappearedBoxError, DropSubgoal, GoNextToSubgoal
from numpy.typing import NDArray

from gedanken.worlds.babyai import BabyAIEnv, held, instruction_of
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
    """The bot; of the locked doors left to explore it tries first those whose key has been in sight.

    Minigrid's own takes the closest, and piles up subgoals for ever where that one's key lies behind the other.
    """

    def _shortest_path(self, accept_fn: Any, try_with_blockers: bool = False) -> Any:
        shortest_path: Any = super()._shortest_path
        if accept_fn.__name__ == "unopened_door":
            path = shortest_path(lambda at, cell: accept_fn(at, cell) and self._key_seen(cell), True)
            if path[1]:
                return path
        return shortest_path(accept_fn, try_with_blockers)

    def _key_seen(self, door: Any) -> bool:
        env = self.mission.unwrapped
        held, (columns, rows) = env.carrying, np.nonzero(self.vis_mask)
        seen = (env.grid.get(int(x), int(y)) for x, y in zip(columns, rows, strict=True))
        return any(o and o.type == "key" and o.color == door.color for o in (held, *seen))


class BotExpert:
    """The bot set on one step, from any state, also after actions that were not its own.

    `open` is strict, as the skill is: before a locked door without its key the expert walks up and tries the handle.
    """

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
        previous, self._env.instrs = self._env.instrs, self._instruction or GoToInstr(ObjDesc("door"))
        self._bot: Any = _Bot(env)  # type: ignore[no-untyped-call]
        self._bot.stack = _Stack(self._bot.stack)
        self._env.instrs = previous
        if known is not None:
            self._bot.vis_mask |= known
        self._prepare()

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

    def _prepare(self) -> None:
        bot, held, stack = self._bot, self._env.carrying, self._bot.stack
        self._trying_a_lock = False
        if self._step.skill == "open":
            doors = self._instruction.desc.obj_set
            has_key = held is not None and held.type == "key"
            if all(d.is_locked and not (has_key and held.color == d.color) for d in doors):
                self._trying_a_lock = True
                stack[:] = [GoNextToSubgoal(bot, self._instruction.desc)]
            return
        if held is None:
            self.gave_up = self._step.skill == "drop"
            return
        bot._process_obs()
        place = GoNextToSubgoal(bot, bot._find_drop_pos()) if bot._find_drop_pos() else None
        if place is None:
            self.gave_up = True
        elif self._step.skill == "drop":
            stack[:] = [DropSubgoal(bot), place]
        elif self._step.skill == "put_next_to" and any(held is o for o in self._instruction.desc_move.obj_set):
            stack[:] = [DropSubgoal(bot), GoNextToSubgoal(bot, self._instruction.desc_fixed, reason="PutNext")]
        elif self._step.skill in ("pick_up", "put_next_to"):
            stack += [DropSubgoal(bot), place]


__all__ = ["BotExpert"]
