"""What goes into a checkpoint: the recipes, by name. Knows not how they are carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from gedanken.worldmodel.collect import Practice

_ONE_ROOM: dict[str, float] = {
    "GoToObj": 1,
    "GoToLocal": 3,
    "PickupLoc": 3,
    "PickupDist": 2,
    "OpenDoor": 3,
    "PutNextLocal": 5,
    "UnlockLocalDist": 6,
    "GoToRedBall": 0.5,
    "ActionObjDoor": 1,
    "UnlockLocal": 0.5,
    "OpenDoorLoc": 0.3,
    "PutNextLocalS5N3": 0.5,
}

_CORRECTED: dict[str, float] = {
    "GoToObj": 0.5,
    "GoToLocal": 2,
    "PickupLoc": 3,
    "PickupDist": 3,
    "OpenDoor": 4,
    "PutNextLocal": 4,
    "UnlockLocalDist": 8,
    "ActionObjDoor": 1,
    "UnlockLocal": 1,
    "OpenDoorLoc": 1,
}

_MANY_ROOMS: dict[str, float] = {
    "GoToRedBallGrey": 1,
    "GoTo": 5,
    "Pickup": 5,
    "Open": 4,
    "Unlock": 5,
    "PutNextS7N4": 4,
    "UnblockPickup": 5,
    "Synth": 3,
    "SynthLoc": 4,
    "GoToSeq": 3,
    "SynthSeq": 3,
    "GoToImpUnlock": 5,
    "KeyCorridor": 4,
    "UnlockToUnlock": 4,
    "BlockedUnlockPickup": 4,
    "MiniBossLevel": 3,
    "BossLevel": 6,
    "BossLevelNoUnlock": 3,
    "BALROG-open": 0.5,
    "BALROG-putnext": 0.5,
    "BALROG-pick_up_seq_go_to": 0.5,
}

_LOCKED: dict[str, float] = {
    "Unlock": 5,
    "GoToImpUnlock": 8,
    "KeyCorridor": 8,
    "UnlockToUnlock": 8,
    "BlockedUnlockPickup": 6,
    "MiniBossLevel": 8,
    "BossLevel": 8,
}

_HARD: dict[str, float] = {
    "GoToImpUnlock": 14,
    "Unlock": 10,
    "BossLevel": 8,
    "MiniBossLevel": 8,
    "SynthSeq": 8,
    "BossLevelNoUnlock": 6,
    "Synth": 6,
    "SynthLoc": 6,
    "PutNextLocal": 3,
    "GoToSeq": 3,
    "KeyCorridor": 3,
    "UnlockToUnlock": 2,
    "BlockedUnlockPickup": 2,
    "GoTo": 2,
    "Open": 1,
    "PutNextS7N4": 1,
    "GoToRedBallGrey": 1,
    "GoToRedBall": 1,
    "BALROG-open": 1,
    "BALROG-putnext": 1,
    "BALROG-pick_up_seq_go_to": 1,
}

_CARRYING: dict[str, float] = {
    "MiniBossLevel": 14,
    "BossLevel": 10,
    "BossLevelNoUnlock": 8,
    "SynthLoc": 8,
    "SynthSeq": 8,
    "Synth": 6,
    "GoToImpUnlock": 5,
    "Unlock": 4,
    "GoToSeq": 3,
    "KeyCorridor": 3,
    "PutNextS7N4": 3,
    "BlockedUnlockPickup": 2,
    "GoTo": 2,
    "Pickup": 2,
    "PutNextLocal": 2,
    "UnblockPickup": 2,
    "UnlockToUnlock": 2,
    "GoToLocal": 1,
    "Open": 1,
    "PickupLoc": 1,
    "UnlockLocalDist": 1,
    "GoToRedBall": 0.5,
    "GoToRedBallGrey": 0.5,
    "BALROG-open": 0.5,
    "BALROG-pick_up_seq_go_to": 0.5,
    "BALROG-putnext": 0.5,
}

_CROWDED: dict[str, float] = {
    "MiniBossLevel": 30,
    "BossLevel": 9,
    "SynthSeq": 8,
    "BossLevelNoUnlock": 7,
    "Synth": 7,
    "SynthLoc": 7,
    "GoToImpUnlock": 6,
    "Unlock": 6,
    "BlockedUnlockPickup": 4,
    "KeyCorridor": 4,
    "UnlockToUnlock": 4,
    "GoToSeq": 3,
    "PutNextLocal": 3,
    "PutNextS7N4": 3,
    "UnblockPickup": 3,
    "GoTo": 2,
    "Pickup": 2,
    "UnlockLocalDist": 2,
    "GoToLocal": 1,
    "Open": 1,
    "PickupLoc": 1,
    "GoToRedBall": 0.5,
    "GoToRedBallGrey": 0.5,
    "BALROG-open": 0.5,
    "BALROG-pick_up_seq_go_to": 0.5,
    "BALROG-putnext": 0.5,
}

_LOCAL = ("GoToObj", "GoToLocal", "PickupLoc", "PickupDist", "OpenDoor", "PutNextLocal", "UnlockLocalDist")
_SUITE = tuple(f"BabyAI-{name}-v0" for name in _LOCAL)


def _named(weights: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple((f"BabyAI-{name}-v0", weight) for name, weight in weights.items())


class Correction(BaseModel):
    """A round in which the agent acts, the demonstrator says what it would have done, and both train it on.

    Attributes:
        levels: (world id, weight) of the episodes.
        episodes: how many; `missions`, `jostled`, `hindered` and `patience` are those of `Practice`.
        steps, rate: gradient steps that follow, and their peak learning rate.
        alone: they are taken on this round's episodes only.
        mean_with: an earlier round: this one ends with the mean of its weights and those after that one (Wortsman et
            al., "Robust Fine-Tuning of Zero-Shot Models", CVPR 2022).
    """

    levels: tuple[tuple[str, float], ...]
    episodes: int
    missions: float
    jostled: float
    hindered: float
    patience: int
    steps: int
    rate: float
    alone: bool = False
    mean_with: int | None = None

    def practice(self) -> Practice:
        """Return how the episodes are made."""
        return Practice(missions=self.missions, jostled=self.jostled, hindered=self.hindered, patience=self.patience)


class RecipeConfig(BaseModel):
    """What goes into a checkpoint.

    Attributes:
        begins_from: checkpoint whose weights are the first; none for a training from nothing.
        levels: (world id, weight) of the demonstrator's practice episodes.
        suite: levels that the critic is calibrated on.
        episodes: how many of those; `missions` and `hindered` are shares of them, see `Practice`.
        patience: most actions for a step in the demonstrator's practice.
        acting_patience: the same when the agent acts for real; the checkpoint's card says it.
        steps: gradient steps on them, each of `rows` × frames.
        corrections: rounds of correction that follow.
        heard: plans carried out to learn what goals mean; `epochs` over them.
        situations: plan sets carried out to calibrate the critic; `futures` rehearsed for each plan, `horizon` actions
            a step.
    """

    name: str
    family: Literal["spatial", "rssm"] = "spatial"
    size: str = "small"
    seed: int = Field(default=0, ge=0, lt=20)
    workers: int = Field(default=2, ge=1)
    begins_from: str | None = None
    levels: tuple[tuple[str, float], ...]
    suite: tuple[str, ...]
    episodes: int = 40_000
    missions: float = 0.25
    hindered: float = 0.1
    patience: int = 48
    acting_patience: int = 48
    rows: tuple[int, int] = (32, 64)
    steps: int = 800
    corrections: tuple[Correction, ...]
    heard: int = 6_000
    epochs: int = 4
    situations: int = 210
    futures: int = 16
    horizon: int = 40

    def practice(self) -> Practice:
        """Return how the demonstrator's episodes are made."""
        return Practice(missions=self.missions, hindered=self.hindered, patience=self.patience)

    def command(self) -> str:
        """Return the command that carries this recipe out."""
        recipe = "" if self.name == "babyai" else f" --recipe {self.name}"
        return f"gedanken train{recipe} --seed {self.seed}"


def babyai(**changes: Any) -> RecipeConfig:
    """Return the recipe of the shipped `babyai` checkpoint: the levels of one room."""
    values = {
        "name": "babyai",
        "levels": _named(_ONE_ROOM),
        "corrections": tuple(
            Correction(
                levels=_named(_CORRECTED),
                episodes=5_000,
                missions=missions,
                jostled=jostled,
                hindered=hindered,
                patience=48,
                steps=steps,
                rate=1e-3,
            )
            for missions, jostled, hindered, steps in ((0.4, 0.3, 0.25, 600), (0.6, 0.15, 0.35, 500))
        ),
        "suite": _SUITE,
    }
    return RecipeConfig.model_validate(values | changes)


def rooms(**changes: Any) -> RecipeConfig:
    """Return a recipe for all of BabyAI's levels, those of many rooms among them: a wide map, long rows, patience."""
    first = _named({**{name: weight / 3 for name, weight in _ONE_ROOM.items()}, **_MANY_ROOMS})
    values = {
        "name": "rooms",
        "size": "wide",
        "begins_from": "babyai",
        "levels": first,
        "episodes": 24_000,
        "missions": 0.7,
        "patience": 250,
        "acting_patience": 600,
        "horizon": 96,
        "heard": 4_500,
        "situations": 120,
        "rows": (10, 192),
        "steps": 800,
        "corrections": tuple(
            Correction(
                levels=_named(levels),
                episodes=episodes,
                missions=0.8,
                jostled=jostled,
                hindered=hindered,
                patience=patience,
                steps=steps,
                rate=1e-3,
                alone=levels in (_CARRYING, _CROWDED),
                mean_with=mean_with,
            )
            for levels, episodes, jostled, hindered, patience, steps, mean_with in (
                ({**_MANY_ROOMS, **_LOCKED}, 2_000, 0.3, 0.2, 250, 400, None),
                ({**_MANY_ROOMS, **_LOCKED}, 2_000, 0.15, 0.2, 250, 400, None),
                (_HARD, 3_000, 0.1, 0.2, 400, 1_000, None),
                (_CARRYING, 2_750, 0.25, 0.3, 400, 500, None),
                (_CARRYING, 4_000, 0.25, 0.3, 400, 800, 3),
                (_CROWDED, 4_000, 0.2, 0.3, 400, 1_050, 5),
            )
        ),
        "suite": (*_SUITE, *(f"BabyAI-{name}-v0" for name in ("GoTo", "Pickup", "Open", "Unlock", "PutNextS7N4"))),
    }
    return RecipeConfig.model_validate(values | changes)


def debug(make: Callable[..., RecipeConfig] = babyai, **changes: Any) -> RecipeConfig:
    """Return a recipe that runs in about a minute and teaches next to nothing, for tests."""
    small = {
        "size": "debug",
        "begins_from": None,
        "episodes": 24,
        "steps": 8,
        "rows": (8, 32),
        "heard": 20,
        "epochs": 1,
        "situations": 7,
        "futures": 2,
    }
    rounds = tuple(r.model_copy(update={"episodes": 8, "steps": 4}) for r in make().corrections)
    return make(**{**small, "corrections": rounds, "workers": 1, **changes})


RECIPES: dict[str, Callable[..., RecipeConfig]] = {"babyai": babyai, "rooms": rooms}

__all__ = ["RECIPES", "Correction", "RecipeConfig", "babyai", "debug", "rooms"]
