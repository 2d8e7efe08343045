"""The `pictures` family, for worlds that show a picture: an eye sees it as numbers, and an ensemble foretells them.

They, and how they changed since the frames before, join the numbers that are shown beside it. What a plan speaks of and
only a picture shows is read off them, in what is seen and in what is imagined alike. Ha and Schmidhuber, "World
models", 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from gedanken.worldmodel.ensemble import SIZES as ENSEMBLES
from gedanken.worldmodel.ensemble import EnsembleBelief, EnsembleConfig, EnsembleModel
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.eye import Eye, EyeConfig, film_of, learn_to_see, with_motion
from gedanken.worldmodel.protocol import Batch, Readout
from gedanken.worlds.fields import Variable, VectorField
from gedanken.worlds.objectives import OBJECTIVES
from gedanken.worlds.pictures import Picture
from gedanken.worlds.spec import SpecError, WorldSpec


class PicturesConfig(BaseModel):
    """Sizes of the family: the eye's, and those of the ensemble that foretells what it sees."""

    eye: EyeConfig = EyeConfig()
    ensemble: EnsembleConfig = EnsembleConfig()


SIZES = {
    "debug": PicturesConfig(
        eye=EyeConfig(latents=12, channels=(8, 16, 16, 32), hidden=32), ensemble=ENSEMBLES["debug"]
    ),
    "small": PicturesConfig(ensemble=ENSEMBLES["small"]),
    "base": PicturesConfig(
        eye=EyeConfig(latents=48, channels=(32, 64, 64, 128), hidden=128), ensemble=ENSEMBLES["base"]
    ),
}


class PicturesModel(nn.Module):
    """See the module; implements `VectorDynamics`. Observations are ``[B, variables + pixels]``.

    `inner` is the ensemble over the numbers that are shown, and then the eye's. Raises SpecError for a world without a
    picture.
    """

    family = "pictures"

    def __init__(self, spec: WorldSpec, config: PicturesConfig) -> None:
        super().__init__()
        self.spec, self.config, self.picture = spec, config, _picture(spec)
        names = [variable.name for variable in spec.vector.variables]
        self.told = [names.index(name) for name in self.picture.read]
        self.own = [index for index in range(len(names)) if index not in self.told]
        self.eye = Eye(self.picture, len(spec.actions), config.eye)
        count = self.picture.frames * config.eye.latents
        self.inner = EnsembleModel(_inner_spec(spec, self.own, count), config.ensemble)

    @property
    def scale(self) -> Tensor:
        """Return the standard deviation of every variable, [V]."""
        scale = torch.ones(len(self.spec.vector.variables))
        scale[self.own], scale[self.told] = self.inner.scale[: len(self.own)], self.eye.scale[:-2]
        return scale

    # ---- beliefs ---------------------------------------------------------------------------------------------------

    def initial(self, batch: int) -> EnsembleBelief:
        """Return beliefs in mean values."""
        return self.inner.initial(batch)

    def observe(self, belief: EnsembleBelief, action: Tensor, observation: Tensor, is_first: Tensor) -> EnsembleBelief:
        """Believe what is seen."""
        return self.inner.observe(belief, action, self.seen(observation), is_first)

    def begin_goal(self, belief: EnsembleBelief, rows: Tensor) -> EnsembleBelief:
        """Return the belief: objectives speak of no places."""
        return belief

    def begin_step(self, belief: EnsembleBelief, rows: Tensor) -> EnsembleBelief:
        """Return the belief: nothing is held."""
        return belief

    def suppose(self, belief: EnsembleBelief, steps: Tensor) -> EnsembleBelief:
        """Give the rows to the members in turn."""
        return self.inner.suppose(belief, steps)

    def intervene(self, belief: EnsembleBelief, inputs: Mapping[str, float]) -> EnsembleBelief:
        """Set exogenous variables. Raises SpecError for a name that is none of them."""
        return self.inner.intervene(belief, inputs)

    def moments(self) -> EnsembleBelief:
        """Return beliefs of moments that were really seen and went on; zeros before anything was."""
        return self.inner.moments()

    def imagine(self, belief: EnsembleBelief, action: Tensor) -> EnsembleBelief:
        """Sample what each row's own member predicts; motion is what it comes to."""
        after, own = self.inner.imagine(belief, action), len(self.own)
        shape = (len(after.values), self.picture.frames, -1)
        before, then = belief.values[:, own:].view(shape), after.values[:, own:].view(shape)
        moved = [then[:, 0], *(then[:, 0] - before[:, 0] + (before[:, k] if k else 0) for k in range(shape[1] - 1))]
        return replace(after, values=torch.cat([after.values[:, :own], *moved], 1))

    def readout(self, belief: EnsembleBelief) -> Readout:
        """Return the numbers, those that are read off the picture among them, the reward, and whether it went on."""
        said = belief.values.new_empty(len(belief.values), len(self.spec.vector.variables))
        said[:, self.own], said[:, self.told] = belief.values[:, : len(self.own)], self.eye.read(self._latents(belief))
        return Readout(said, belief.reward, belief.continues)

    def drawn(self, belief: EnsembleBelief) -> Tensor:
        """Return the picture as it is imagined, [B, size, size, 3] uint8."""
        return self.eye.draw(self._latents(belief))

    def disagreement(self, belief: EnsembleBelief, action: Tensor) -> Tensor:
        """Return the mutual information between member and prediction."""
        return self.inner.disagreement(belief, action)

    def surprise(self, belief: EnsembleBelief, action: Tensor, observation: Tensor) -> Tensor:
        """Return −log of the members' mixed density of what is seen next, pictures as the eye sees them."""
        return self.inner.surprise(belief, action, self.seen(observation))

    def features(self, belief: EnsembleBelief) -> Tensor:
        """Return what a policy acts on, [B, F]: numbers, the eye's among them, and what is read off, in deviations."""
        told = self.eye.reader(self._latents(belief))[:, :-2]
        return torch.cat([self.inner.features(belief), told], -1)

    def _latents(self, belief: EnsembleBelief) -> Tensor:
        return belief.values[:, len(self.own) :][:, : self.config.eye.latents]

    # ---- learning --------------------------------------------------------------------------------------------------

    def seen(self, observation: Tensor) -> Tensor:
        """Return the ensemble's numbers […, own + seen] of observations […, variables + pixels]."""
        pixels, (frames, *each) = self.picture.pixels, self.picture.shape
        numbers, flat = observation[..., :-pixels], observation[..., -pixels:]
        latents = self.eye.see(flat.reshape(-1, *each)).view(-1, frames, self.config.eye.latents)
        return torch.cat([numbers[..., self.own].float(), with_motion(latents).view(*flat.shape[:-1], -1)], -1)

    def learn_to_see(self, episodes: Sequence[Episode], *, steps: int, seed: int) -> float:
        """Train the eye in place; return the last loss. Raises TrainingError where it is no number."""
        actions = [self.inner.acted(torch.from_numpy(episode.actions)) for episode in episodes]
        return learn_to_see(self.eye, episodes, self.told, actions, steps=steps, seed=seed)

    @torch.no_grad()
    def encoded(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Return episodes as the ensemble sees them, without pictures."""
        found = []
        for episode in episodes:
            film, length = film_of(episode), len(episode) + 1
            latents = self.eye.see(torch.from_numpy(film))
            seen = with_motion(torch.stack([latents[k : k + length] for k in range(self.picture.frames)], 1)).numpy()
            numbers = np.concatenate([episode.observations[:, self.own], seen], 1).astype(np.float32)
            found.append(replace(episode, observations=numbers, spec_hash=self.inner.spec.hash, frames=None))
        return found

    def loss(self, batch: Batch) -> tuple[dict[str, Tensor], EnsembleBelief]:
        """Return the ensemble's losses of observations with pixels; the eye is trained on its own."""
        return self.inner.loss(replace(batch, observation=self.seen(batch.observation)))


def _picture(spec: WorldSpec) -> Picture:
    if spec.vector.picture is None:
        raise SpecError(f"world {spec.name!r} shows no picture; the family for its numbers is ensemble")
    return spec.vector.picture


def _inner_spec(spec: WorldSpec, own: Sequence[int], count: int) -> WorldSpec:
    """Return a world whose numbers are those that are shown, and so many that the eye sees."""
    shown = [spec.vector.variables[index] for index in own]
    stem = "seen"
    while any(variable.name.startswith(stem) for variable in shown):
        stem += "_"
    seen = (Variable(name=f"{stem}[{number}]") for number in range(count))
    field = VectorField(name="seen", variables=(*shown, *seen))
    return WorldSpec(
        name=spec.name,
        observation=field,
        actions=spec.actions,
        attributes=(),
        skills=OBJECTIVES,
        exogenous=spec.exogenous,
    )


__all__ = ["SIZES", "PicturesConfig", "PicturesModel"]
