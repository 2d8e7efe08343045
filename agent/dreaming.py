"""A dream as it is lived through: actions by their names, events in words, every moment in plain values.

Knows no terminal and no server, and loads no model: whoever dreams brings the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gedanken.agent.events import Grid
from gedanken.agent.grounding import ground_event
from gedanken.worlds.spec import SpecError

if TYPE_CHECKING:
    from gedanken.worldmodel.imagined import ImaginedEnv
    from gedanken.worlds.protocol import Observation


class Moment(BaseModel):
    """What an action or an event led to; a dream's first moment is without either."""

    model_config = ConfigDict(frozen=True)

    what: str = Field(description="The action, or what an event was understood to make there be; empty at first.")
    sees: str
    view: Grid
    disagreement: float = Field(description="How unsure the model is of what the action did, in nats.")
    doubts: list[list[float]] = Field(description="What of that concerns each cell of the view, in nats.")
    reward: float = 0.0
    over: bool = Field(default=False, description="Whether the dream ends here.")
    missing: list[str] = Field(default=[], description="What was to be there, and is not.")


class Dreaming:
    """A dream in progress, `now` its last moment; `seed` decides what is imagined."""

    def __init__(self, env: ImaginedEnv, seed: int) -> None:
        self.env, self.spec = env, env.world.spec
        self.there = [thing.name for thing in env.there]
        self.begin(seed)

    def begin(self, seed: int) -> Moment:
        """Dream anew."""
        view, info = self.env.reset(seed=seed)
        return self._note("", view, info)

    def act(self, name: str) -> Moment:
        """Imagine one action. Raises SpecError for a name that is none."""
        names = self.spec.action_names
        if name not in names:
            raise SpecError(f"{name[:40]!r} is no action; there are {', '.join(names)}")
        view, reward, over, late, info = self.env.step(np.int64(names.index(name)))
        return self._note(name, view, info, reward=reward, over=over or late)

    def happen(self, words: str) -> Moment:
        """Let something happen. Raises GoalError for words that are no event, CheckpointError where nothing can."""
        from gedanken.worldmodel.imagined import Thing

        after, before = (text and Thing.parse(self.spec, text) for text in ground_event(self.spec, words))
        assert after
        view, info = self.env.happen(after, before or None)
        return self._note(after.name, view, info)

    def _note(self, what: str, view: Observation, info: dict[str, Any], **more: Any) -> Moment:
        self.now = Moment(
            what=what,
            sees=self.env.world.describe(view, self.spec.grid.agent),
            view=view.tolist(),
            disagreement=info["disagreement"],
            doubts=info["doubts"].tolist(),
            missing=info.get("missing", []),
            **more,
        )
        return self.now
