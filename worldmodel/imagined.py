"""The learned model as a Gymnasium environment: who acts here lives in imagination. Knows no language model.

A dream begins from what a real environment shows first; all that is out of sight is imagined, one whole world a dream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from gedanken.worldmodel.checkpoint import CheckpointError, Trained, load
from gedanken.worldmodel.protocol import Belief, WorldModel
from gedanken.worlds.protocol import Observation, World
from gedanken.worlds.spec import Step, WorldSpec

DRAWN, DRAWS = 64, 4
"""Worlds that are drawn at a time, and how often, until one has all that must be there."""

LENGTH = 256
"""Imagined actions after which a dream is truncated."""


@runtime_checkable
class Mapped(Protocol):
    """A world model whose beliefs are maps, cell by cell (see `SpatialModel`)."""

    def extend(self, belief: Any) -> Any: ...  # noqa: D102
    def known(self, belief: Any) -> Tensor: ...  # noqa: D102
    def supposed(self, belief: Any) -> Tensor: ...  # noqa: D102
    def alter(self, belief: Any, cells: Tensor, observation: Tensor) -> Any: ...  # noqa: D102
    def spoken_of(self, belief: Any, step: Tensor) -> Tensor: ...  # noqa: D102
    def doubts(self, belief: Any, action: Tensor) -> Tensor: ...  # noqa: D102


@dataclass(frozen=True)
class Thing:
    """Something that must exist, ``locked blue door on your left``: a phrase, and the codes of further channels."""

    name: str
    step: Step
    codes: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, spec: WorldSpec, text: str) -> Thing:
        """Read a phrase of plans, before which words of channels that phrases do not speak of may stand.

        Raises SpecError for words that this world does not know.
        """
        spoken = {attribute.channel for attribute in spec.attributes}
        more = {
            word: (index, code)
            for index, channel in enumerate(spec.grid.channels)
            if channel.name not in spoken
            for code, word in enumerate(channel.categories)
        }
        words, codes = text.split(), []
        while words and words[0] in more:
            codes.append(more[words.pop(0)])
        skill = next(skill for skill in spec.skills if skill.parameters)
        return cls(text, spec.parse_step(f"{skill.name}({' '.join(words)})"), tuple(codes))


class ImaginedEnv(gymnasium.Env[Observation, np.int64]):
    """Every action is imagined by a learned model of a grid world; observations are what it decodes.

    `start` and `start_seed` choose the real environment whose first view begins every dream; `there` names what must
    exist besides, as plans name it (``red ball``, ``locked blue door``). A dream is drawn at `reset` and decided by its
    seed. `info` holds the ensemble's `disagreement` on the last action, in nats, what of it concerns each cell of the
    view (`doubts`, ``[height, width]``) and, after `reset`, what of `there` this dream lacks (`missing`).

    Raises CheckpointError for a checkpoint that does not fit, SpecError for words that the world does not know.
    """

    def __init__(
        self,
        checkpoint: str | Path | Trained,
        start: World,
        *,
        start_seed: int = 0,
        there: Sequence[str] = (),
        length: int = LENGTH,
    ) -> None:
        self.trained = checkpoint if isinstance(checkpoint, Trained) else load(checkpoint, start.spec)
        self.model: WorldModel = self.trained.model
        self.world, self.length = start, length
        spec = start.spec
        self.there = [Thing.parse(spec, text) for text in there]
        if self.there and not isinstance(self.model, Mapped):
            raise CheckpointError(f"{self.trained.name} imagines no map, so nothing can be asked to be there")
        field = spec.grid
        most = np.array([len(channel.categories) - 1 for channel in field.channels], np.uint8)
        high = np.broadcast_to(most, (field.height, field.width, len(most)))
        self.observation_space = spaces.Box(np.zeros_like(high), high, dtype=np.uint8)
        self.action_space = spaces.Discrete(len(spec.action_names))
        self._first = self._look(start_seed)
        self._chance = torch.get_rng_state()
        self.belief: Belief = self._first
        self.taken = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw another dream; the same seed draws the same."""
        super().reset(seed=seed)
        self._chance = torch.Generator().manual_seed(int(self.np_random.integers(1 << 62))).get_state()
        self.taken = 0
        with self._chances():
            self.belief, missing = self._suppose(self._first, self.there)
            view = self._view()
        return view, {"disagreement": 0.0, "doubts": _certain(view), "missing": missing}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Imagine one action; it ends where the model holds that an episode would, truncated after `length`."""
        act = torch.tensor([int(action)])
        model, before = self.model, self.belief
        with self._chances(), torch.no_grad():
            doubt = float(model.disagreement(before, act))
            self.belief = model.imagine(before, act)
            if isinstance(model, Mapped):
                self.belief = model.extend(self.belief)
            readout = model.readout(self.belief)
            view = readout.observation[0].numpy()
        self.taken += 1
        doubts = model.doubts(before, act)[0].numpy() if isinstance(model, Mapped) else _certain(view)
        over = bool(readout.continues < 0.5)
        info = {"disagreement": doubt, "doubts": doubts}
        return view, float(readout.reward), over, self.taken >= self.length, info

    def happen(self, after: Thing, before: Thing | None = None) -> tuple[Observation, dict[str, Any]]:
        """Let something happen that nobody did: the nearest `before`, seen ones first, becomes `after`.

        Without `before`, `after` appears out of sight, unless it is there; what nobody has seen is drawn anew for that.
        Places speak of the present pose. `info["missing"]` names what was not to be had. Raises CheckpointError for a
        model that imagines no map.
        """
        model = self.model
        if not isinstance(model, Mapped):
            raise CheckpointError(f"{self.trained.name} imagines no map, so nothing can happen in it by itself")
        with self._chances(), torch.no_grad():
            belief = model.begin_goal(self.belief, torch.ones(1, dtype=torch.bool))
            missing: list[str] = []
            so = self._cells(belief, after)
            if before:
                were = self._cells(belief, before)
                one = self._nearest(belief, were & ~so)
                if one.any():
                    belief, were = self._become(belief, one, after), one
                    so = self._cells(belief, after)
                missing = [] if (were & so).any() else [after.name]
            elif not so.any():
                belief, missing = self._suppose(belief, [after])
            self.belief = belief
            view = self._view()
        return view, {"disagreement": 0.0, "doubts": _certain(view), "missing": missing}

    def changes(self, action: int) -> bool:
        """Tell whether the model imagines an action to change anything now; the dream stays as it is."""
        chance = self._chance
        with self._chances(), torch.no_grad():
            after = self.model.imagine(self.belief, torch.tensor([action]))
        self._chance = chance
        return not bool(self.model.same(self.belief, after))

    def known(self) -> tuple[Observation, tuple[int, int]]:
        """Return the map of what has been seen in this dream, or else the view; and where the agent is."""
        if not isinstance(self.model, Mapped):
            return self._view(), self.world.spec.grid.agent
        grid = self.model.known(self.belief)[0]
        return grid.numpy(), (grid.shape[0] // 2, grid.shape[1] // 2)

    # ---- within ----------------------------------------------------------------------------------------------------

    def _look(self, seed: int) -> Belief:
        """Return what is known after the first look at the real environment."""
        env = self.world.make(free=True)
        raw, _ = env.reset(seed=seed)
        view = torch.from_numpy(self.world.observation(raw))[None]
        env.close()
        one = torch.ones(1, dtype=torch.bool)
        with torch.no_grad():
            belief = self.model.observe(self.model.initial(1), torch.zeros(1, dtype=torch.long), view, one)
        return self.model.begin_goal(belief, one)

    def _suppose(self, belief: Belief, things: Sequence[Thing]) -> tuple[Belief, list[str]]:
        """Draw worlds until one has all that must be there; else take one that has most of it. Return what it lacks."""
        spec = self.world.spec
        codes = spec.plan_codes([thing.step for thing in things])
        steps = torch.tensor(codes, dtype=torch.long).view(1, -1, len(spec.step_sizes))
        if not things:
            return self.model.suppose(belief, steps), []
        best: tuple[int, Belief, list[str]] | None = None
        for _ in range(DRAWS):
            worlds = self.model.suppose(belief.repeat(DRAWN), steps.expand(DRAWN, -1, -1))
            found = torch.stack([self._has(worlds, thing) for thing in things], 1)  # [DRAWN, things]
            row = int(found.sum(1).argmax())
            missing = [thing.name for thing, there in zip(things, found[row].tolist(), strict=True) if not there]
            if best is None or len(missing) < best[0]:
                best = (len(missing), worlds[row : row + 1], missing)
            if not missing:
                break
        assert best is not None
        return best[1], best[2]

    def _nearest(self, belief: Belief, cells: Tensor) -> Tensor:
        """Keep the nearest of some cells [1, P, P], seen ones first; the agent's own is none of them."""
        assert isinstance(self.model, Mapped)
        middle = cells.shape[1] // 2
        away = (torch.arange(cells.shape[1]) - middle).abs()
        far = away[:, None] + away
        far = far + (self.model.known(belief)[..., 0] == self.world.spec.grid.hidden) * far.numel()
        far[~cells | (away[:, None] + away == 0)] = far.max() + 1
        return (torch.arange(far.numel()) == far.argmin()).view_as(cells) & cells

    def _become(self, belief: Belief, cells: Tensor, after: Thing) -> Belief:
        """Give cells [1, P, P] the further codes of a thing."""
        assert isinstance(self.model, Mapped)
        shown = self.model.supposed(belief)
        for channel, code in after.codes:
            shown[..., channel][cells] = code
        changed: Belief = self.model.alter(belief, cells, shown)
        return changed

    def _has(self, worlds: Belief, thing: Thing) -> Tensor:
        """Tell which worlds [B] hold a thing."""
        return self._cells(worlds, thing).flatten(1).any(1)

    def _cells(self, worlds: Belief, thing: Thing) -> Tensor:
        """Tell which cells of supposed worlds [B, P, P] show a thing."""
        assert isinstance(self.model, Mapped)
        step = torch.tensor([self.world.spec.step_codes(thing.step)])
        shown = self.model.supposed(worlds)
        cells = self.model.spoken_of(worlds, step.expand(len(shown), -1))
        for channel, code in thing.codes:
            cells = cells & (shown[..., channel] == code)
        return cells

    def _view(self) -> Observation:
        with torch.no_grad():
            view: NDArray[np.uint8] = self.model.readout(self.belief).observation[0].numpy()
        return view

    @contextmanager
    def _chances(self) -> Iterator[None]:
        """Let torch draw from this dream's own random numbers, and leave everybody else's as they are."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._chance)
            yield
            self._chance = torch.get_rng_state()


def _certain(view: Observation) -> NDArray[np.float32]:
    """Return no doubt for every cell of a view."""
    return np.zeros(view.shape[:2], np.float32)
