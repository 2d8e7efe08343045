"""The `spatial` family: a belief is an egocentric map of cell codes, moved rigidly, rewritten near the agent.

Deterministic part: what has been seen, and where. Stochastic part: the motion that an action causes, the cells it
changes, which cells come into sight, and, out of sight, one whole world sampled per future. Every one of these is
learned from observations alone; built in are only the rigid motions of a grid, and that unwatched cells stay so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gedanken.worldmodel.protocol import Batch, Belief, Readout
from gedanken.worldmodel.spatial_config import SIZES, SpatialConfig
from gedanken.worldmodel.spatial_frames import frames_of
from gedanken.worldmodel.spatial_grid import MOTIONS, Grid
from gedanken.worldmodel.spatial_losses import losses
from gedanken.worldmodel.spatial_nets import (
    Acting,
    Change,
    Codes,
    Completion,
    Motion,
    Sight,
    Signals,
    mutual_information,
    pick,
)
from gedanken.worldmodel.spatial_paths import Passage
from gedanken.worlds.spec import WorldSpec

SLIP = 0.01
"""Chance that a known cell is seen otherwise than it was known, by which motions are judged."""

NEVER = 1e-5
"""Frequency in sight up to which a code counts as never seen."""


@dataclass(frozen=True)
class SpatialBelief(Belief):
    """Maps are flat, [B, P·P]; patches are 5×5 around the agent, [B, 25]. All but the action are int32."""

    seen: Tensor  # codes that the agent knows, or unknown
    world: Tensor  # codes of the world supposed: `seen`, and what is imagined out of sight
    places: Tensor  # 0…8: ahead / beside / behind × left / middle / right of the pose at which the goal began; 9 beyond
    hand: Tensor  # [B] code in the agent's own cell
    hand_began: Tensor  # [B] the same when the present step began
    action: Tensor  # [B] last action
    seen_before: Tensor  # patch before the last action
    places_before: Tensor
    hand_before: Tensor  # [B]


class SpatialModel(nn.Module):
    """See the module; implements `WorldModel`."""

    family = "spatial"

    def __init__(self, spec: WorldSpec, config: SpatialConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.grid = grid = Grid(spec, config.radius, config.window)
        self.patch = grid.patch(2)
        actions, skills = len(spec.actions), len(spec.skills)
        self.near = grid.patch(config.change_reach)
        self.motion = Motion(grid, actions, config.embed, config.members)
        self.change = Change(grid, actions, config.embed, config.members, len(self.near))
        edge, side = grid.radius - grid.reach, grid.window_side
        self.near_in_window = (self.near // grid.side - edge) * side + self.near % grid.side - edge
        self.sight = Sight(grid, config.embed)
        self.completion = Completion(grid, config.embed, config.width)
        self.signals = Signals(grid, actions, config.embed)
        ways = (spec.max_arguments + 2) * config.ways + 2 * (config.ways and config.bringing)
        self.acting = Acting(grid, skills, spec.max_arguments, config.embed, config.width, config.hidden, ways)
        self.passage = Passage(grid, actions, config.embed) if config.ways else None
        self.outcome_codes = Codes(grid, config.embed)
        self.usual: Tensor  # [V + 1] how often each code is in sight, a moving average
        self.register_buffer("usual", torch.full((grid.codes + 1,), 1.0 / grid.codes))
        self.factors: Tensor
        factors = torch.randint(2**62, (grid.cells + 1,), generator=torch.Generator().manual_seed(0)) | 1
        self.register_buffer("factors", factors, persistent=False)
        self.embed_size = config.hidden
        arguments = spec.max_arguments
        self.outcome_size = 2 * (25 + 1) * (config.embed + arguments) + actions + skills

    # ---- beliefs ---------------------------------------------------------------------------------------------------

    def initial(self, batch: int) -> SpatialBelief:
        """Return beliefs in which every cell is unknown and the goal began here."""
        grid, device = self.grid, self.grid.view.device
        unknown = torch.full((batch, grid.cells), grid.unknown, dtype=torch.int32, device=device)
        places, none = grid.here(batch), torch.zeros(batch, dtype=torch.long, device=device)
        blank = unknown[:, 0]
        return SpatialBelief(
            seen=unknown,
            world=unknown,
            places=places,
            hand=blank,
            hand_began=blank,
            action=none,
            seen_before=unknown[:, self.patch],
            places_before=places[:, self.patch],
            hand_before=blank,
        )

    def begin_goal(self, belief: SpatialBelief, rows: Tensor) -> SpatialBelief:
        """Reset the places of some rows to the present pose."""
        if not rows.any():
            return belief
        places = torch.where(rows[:, None], self.grid.within(self.grid.here(len(rows)), belief.seen), belief.places)
        return SpatialBelief(**{**vars(belief), "places": places})

    def begin_step(self, belief: SpatialBelief, rows: Tensor) -> SpatialBelief:
        """Remember, in some rows, the present hand as the one with which the step began."""
        return SpatialBelief(**{**vars(belief), "hand_began": torch.where(rows, belief.hand, belief.hand_began)})

    @torch.no_grad()
    def observe(self, belief: SpatialBelief, action: Tensor, observation: Tensor, is_first: Tensor) -> SpatialBelief:
        """Filter: judge by the view which motion happened, move the map, write the view into it."""
        after, _, _ = self.filter(belief, action, self.grid.encode(observation), is_first)
        return after

    def filter(
        self, belief: SpatialBelief, action: Tensor, view: Tensor, is_first: Tensor
    ) -> tuple[SpatialBelief, Tensor, Tensor]:
        """Return the posterior, the moved map before the view is written, and the posterior over motions [B, M]."""
        grid = self.grid
        if is_first.any():
            belief = self.initial(len(action)).where(is_first, belief)
        prior = self.motion(belief.seen, belief.hand, action).logsumexp(0) if not is_first.all() else None
        expected = torch.where(grid.view_inside, belief.seen[:, grid.view_before], grid.unknown)  # [B, M, view]
        visible = ~grid.hidden[view]
        visible[:, grid.view_agent] = False
        known = expected != grid.unknown
        usual = self.usual.clamp(min=1e-5).log()[view][:, None]  # [B, 1, view]
        again = torch.where(expected == view[:, None], math.log(1 - SLIP), math.log(SLIP) + usual)
        evidence = (torch.where(known, again, usual) * visible[:, None]).sum(2)
        posterior = (evidence + (prior if prior is not None else 0.0)).softmax(1)
        motion = torch.where(is_first, 0, posterior.argmax(1))
        moved = grid.move(belief.seen, motion)
        seen = moved.clone()
        cells = grid.view.expand_as(view)
        seen.scatter_(1, cells, torch.where(visible, view, moved.gather(1, cells)))
        after = SpatialBelief(
            seen=seen,
            world=seen,
            places=grid.within(grid.move_places(belief.places, motion), seen),
            hand=view[:, grid.view_agent],
            hand_began=belief.hand_began,
            action=action,
            seen_before=belief.seen[:, self.patch],
            places_before=belief.places[:, self.patch],
            hand_before=torch.where(is_first, view[:, grid.view_agent], belief.hand),
        )
        return after, moved, posterior

    # ---- imagination -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def suppose(self, belief: SpatialBelief, steps: Tensor) -> SpatialBelief:
        """Sample the unknown cells jointly; an unseen object that the steps [B, K, G] name is put where it can be."""
        world = self.completion.sample(belief.seen, belief.places, steps)
        return SpatialBelief(**{**vars(belief), "world": world})

    @torch.no_grad()
    def imagine(self, belief: SpatialBelief, action: Tensor) -> SpatialBelief:
        """Sample a motion, the cells it changes and what comes into sight; each row follows one ensemble member."""
        grid, batch = self.grid, len(action)
        turn = int(torch.randint(self.config.members, ()))
        motion = pick(self.motion(belief.world, belief.hand, action, turn)[0])
        world, seen = grid.move(belief.world, motion), grid.move(belief.seen, motion)
        logits = self.change(world, belief.hand, action, motion, turn)[0]  # [B, near + 1, V + 1]
        changed = pick(logits.flatten(0, 1)).view(batch, -1)
        old = world[:, self.near]
        keep = (old == grid.unknown) | grid.hidden[changed[:, :-1]]
        world = world.scatter(1, self.near.expand(batch, -1), torch.where(keep, old, changed[:, :-1]))
        hand = torch.where(grid.hidden[changed[:, -1]], belief.hand, changed[:, -1])
        world = self._suppose_on(world, belief.places)
        seen = self._look(seen, world)
        return SpatialBelief(
            seen=seen,
            world=world,
            places=grid.within(grid.move_places(belief.places, motion), seen),
            hand=hand,
            hand_began=belief.hand_began,
            action=action,
            seen_before=belief.seen[:, self.patch],
            places_before=belief.places[:, self.patch],
            hand_before=belief.hand,
        )

    def _look(self, seen: Tensor, world: Tensor) -> Tensor:
        """Write what is in sight of a supposed world into what the agent knows."""
        grid = self.grid
        view = world[:, grid.view]
        visible = (self.sight(view) > 0) & (view != grid.unknown)
        visible[:, grid.view_agent] = False
        cells = grid.view.expand(len(view), -1)
        return seen.scatter(1, cells, torch.where(visible, view, seen.gather(1, cells)))

    def _suppose_on(self, world: Tensor, places: Tensor) -> Tensor:
        """Where something unsupposed comes into sight, suppose what is around the agent now."""
        if self.grid.reach == self.grid.radius:
            return world
        view = world[:, self.grid.view]
        rows = ((view == self.grid.unknown) & (self.sight(view) > 0)).any(1).nonzero().squeeze(1)
        if not len(rows):
            return world
        return world.index_copy(0, rows, self.completion.sample(world[rows], places[rows]))

    def same(self, belief: SpatialBelief, other: SpatialBelief) -> Tensor:
        """Tell in which rows [B] the supposed worlds around the agent and its hand are the same."""
        return (belief.world == other.world).all(1) & (belief.hand == other.hand)

    def states(self, belief: SpatialBelief) -> Tensor:
        """Return a number [B] for what each row's agent knows of the map, seen from where it is, and of its hand.

        Others have it by chance alone: every cell has a random factor, modulo 2⁶⁴.
        """
        return (torch.cat([belief.seen, belief.hand[:, None]], 1) * self.factors).sum(1)

    @torch.no_grad()
    def readout(self, belief: SpatialBelief) -> Readout:
        """Decode the view of the supposed world, what is out of sight hidden, and the reward and continue heads."""
        grid = self.grid
        view = belief.world[:, grid.view]
        visible = self.sight(view) > 0
        visible[:, grid.view_agent] = True
        view = torch.where(visible, view, grid.unknown)
        view[:, grid.view_agent] = belief.hand
        observation = grid.decode(view).view(len(view), *grid.shape, -1)
        reward, continues = self.signals(
            belief.seen_before, belief.hand_before, belief.action, self._now(belief), belief.hand
        )
        return Readout(observation, reward.sigmoid(), continues.sigmoid())

    def known(self, belief: SpatialBelief) -> Tensor:
        """Decode what the agent knows of the map, [B, P, P, C], its hand in its own cell; for describing the scene."""
        codes = belief.seen.clone()
        codes[:, self.grid.cells // 2] = belief.hand
        return self.grid.decode(codes).view(len(codes), self.grid.side, self.grid.side, -1)

    # ---- a supposed world, cell by cell ----------------------------------------------------------------------------

    @torch.no_grad()
    def extend(self, belief: SpatialBelief) -> SpatialBelief:
        """Suppose what came in over the edge of the map, given all that is supposed already."""
        edge = torch.ones_like(belief.world, dtype=torch.bool)
        edge[:, self.grid.patch(self.grid.radius - 1)] = False
        blank = edge & (belief.world == self.grid.unknown)
        if not blank.any():
            return belief
        filled = self.completion.sample(belief.world, belief.places)
        return SpatialBelief(**{**vars(belief), "world": torch.where(blank, filled, belief.world)})

    def supposed(self, belief: SpatialBelief) -> Tensor:
        """Decode the whole supposed world, [B, P, P, C]."""
        return self.grid.decode(belief.world).view(len(belief.world), self.grid.side, self.grid.side, -1)

    @torch.no_grad()
    def alter(self, belief: SpatialBelief, cells: Tensor, observation: Tensor) -> SpatialBelief:
        """Let cells [B, P, P] of the supposed world show an observation [B, P, P, C] where its like was ever seen."""
        shown = self.grid.encode(observation)
        world = torch.where(cells.flatten(1) & (self.usual[shown] > NEVER), shown, belief.world)
        return SpatialBelief(**{**vars(belief), "world": world, "seen": self._look(belief.seen, world)})

    def spoken_of(self, belief: SpatialBelief, step: Tensor) -> Tensor:
        """Tell which cells of the supposed world [B, P, P] the first argument of a step [B, G] speaks of."""
        return self.grid.matches(step, belief.world, belief.places)[:, 0].view(-1, self.grid.side, self.grid.side)

    @torch.no_grad()
    def doubts(self, belief: SpatialBelief, action: Tensor) -> Tensor:
        """Return the disagreement, in nats, on each cell of the view after an action, [B, height, width].

        That on the hand and on where the agent moves is the agent's own cell's.
        """
        motion, changes = self._doubt(belief, action)
        cells = changes.new_zeros(len(changes), self.grid.cells)
        cells[:, self.near] = changes[:, :-1]
        view = cells[:, self.grid.view]
        view[:, self.grid.view_agent] += changes[:, -1] + motion
        return view.view(-1, *self.grid.shape)

    @torch.no_grad()
    def disagreement(self, belief: SpatialBelief, action: Tensor) -> Tensor:
        """Return the mutual information between the member and its prediction of motion, changed cells and hand."""
        motion, changes = self._doubt(belief, action)
        return motion + changes.sum(1)

    def _doubt(self, belief: SpatialBelief, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return the disagreement, in nats, on the motion [B] and on the cells near the agent and its hand."""
        motions = self.motion(belief.world, belief.hand, action)
        motion = motions.logsumexp(0).argmax(1)
        changes = self.change(self.grid.move(belief.world, motion), belief.hand, action, motion)
        return mutual_information(motions), mutual_information(changes)

    @torch.no_grad()
    def forget(self, share: float) -> None:
        """Lose a share of the certainty about which motion an action causes; views then judge, as at the beginning."""
        for parameter in self.motion.certainty.parameters():
            parameter.mul_(1 - share)

    @torch.no_grad()
    def counterparts(self, other: SpatialModel, belief: SpatialBelief) -> Tensor:
        """Return the chance that an action here and one there cause the same motion and hand, [B, A there, A here]."""
        here, there = self._effects(belief), other._effects(belief)
        return torch.stack([theirs @ ours.transpose(1, 2) for ours, theirs in zip(here, there, strict=True)]).prod(0)

    def _effects(self, belief: SpatialBelief) -> tuple[Tensor, Tensor]:
        """Return what is known of the motions [B, A, M] and hands [B, A, V + 1] that actions cause."""
        motions, hands = [], []
        for number in range(len(self.spec.actions)):
            action = torch.full_like(belief.action, number)
            motion = self.motion(belief.seen, belief.hand, action).logsumexp(0).softmax(1)
            likeliest = motion.argmax(1)
            moved = self.grid.move(belief.seen, likeliest)
            hand = self.change(moved, belief.hand, action, likeliest, hand_only=True)[:, :, 0]
            motions.append(motion)
            hands.append(hand.softmax(-1).mean(0))
        return torch.stack(motions, 1), torch.stack(hands, 1)

    @torch.no_grad()
    def surprise(self, belief: SpatialBelief, action: Tensor, observation: Tensor) -> Tensor:
        """Return −log p(observation | belief, action), [B], with the motion taken that the prior finds likeliest."""
        grid, view = self.grid, self.grid.encode(observation)
        motion = self.motion(belief.seen, belief.hand, action).logsumexp(0).argmax(1)
        moved = grid.move(belief.seen, motion)
        window = moved[:, grid.window]
        filled = self.completion(window).log_softmax(-1)  # [B, W·W, V + 1]
        stay = F.one_hot(window.long(), grid.codes + 1).float().clamp(min=1e-4).log()
        likelihood = torch.where((window == grid.unknown)[..., None], filled, stay)
        changes = self.change(moved, belief.hand, action, motion).log_softmax(-1).logsumexp(0)
        changes = changes - torch.tensor(float(self.config.members)).log()
        near_known = (moved[:, self.near] != grid.unknown)[..., None]
        near = self.near_in_window
        likelihood[:, near] = torch.where(near_known, changes[:, :-1], likelihood[:, near])
        likelihood = likelihood[:, grid.view_in_window].gather(2, view[..., None]).squeeze(2)  # [B, view]
        likelihood[:, grid.view_agent] = changes[:, -1].gather(1, view[:, grid.view_agent, None]).squeeze(1)
        visible = ~grid.hidden[view]
        sight = self.sight(torch.where(visible, view, moved[:, grid.view]))  # given what is there, as in training
        occlusion = F.binary_cross_entropy_with_logits(sight, visible.float(), reduction="none")
        occlusion[:, grid.view_agent] = 0.0
        return (occlusion - likelihood.clamp(min=-12.0) * visible).sum(1)

    # ---- features for the controller -------------------------------------------------------------------------------

    def embed(self, belief: SpatialBelief, step: Tensor) -> Tensor:
        """Return what matters for acting on a step, from what the agent knows (never from the world supposed)."""
        marks = self.grid.matches(step, belief.seen, belief.places)
        held = self.grid.matches(step, belief.hand[:, None], None)[..., 0]
        skill = step[:, 0].clamp(min=0)
        ways: list[Tensor] = []
        if self.passage is not None:
            ways = self.passage.ways(belief.seen, belief.hand, step, marks, held, self.config.bringing)
        features: Tensor = self.acting(belief.seen, marks, belief.hand, held, skill, belief.hand_began, ways)
        return features

    def embed_outcome(self, belief: SpatialBelief, step: Tensor) -> Tensor:
        """Return the cells near the agent, and its hand, before and after the last action, the step's things marked."""
        grid, parts = self.grid, []
        now = (self._now(belief), belief.places[:, self.patch], belief.hand)
        for codes, places, hand in ((belief.seen_before, belief.places_before, belief.hand_before), now):
            marks = torch.cat([grid.matches(step, codes, places), grid.matches(step, hand[:, None], None)], 2)
            cells = self.outcome_codes(torch.cat([codes, hand[:, None]], 1))
            parts.append(torch.cat([cells, marks.transpose(1, 2).float()], 2).flatten(1))
        skill = F.one_hot(step[:, 0].clamp(min=0).long(), len(self.spec.skills)).float()
        action = F.one_hot(belief.action, len(self.spec.actions)).float()
        return torch.cat([*parts, action, skill], 1)

    def _now(self, belief: SpatialBelief) -> Tensor:
        return belief.seen[:, self.patch]

    # ---- learning --------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> tuple[dict[str, Tensor], SpatialBelief]:
        """Return the losses by name and the filtered beliefs of all frames, as they are before a goal begins there."""
        frames = frames_of(self, batch)
        return losses(self, frames, batch), frames.belief

    def note_usual(self, view: Tensor) -> None:
        """Move the codes' frequencies towards those in sight in a batch of views, the agent's own cell left out."""
        shown = torch.bincount(view.flatten(), minlength=self.grid.codes + 1)
        shown -= torch.bincount(view[..., self.grid.view_agent].flatten(), minlength=len(shown))
        shown = torch.where(self.grid.hidden, 0, shown).to(self.usual)
        self.usual.lerp_(shown / shown.sum().clamp(min=1.0), 0.02)


__all__ = ["MOTIONS", "SIZES", "SpatialBelief", "SpatialConfig", "SpatialModel"]
