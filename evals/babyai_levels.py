"""The suites `babyai-levels`, BabyAI from one room to nine, and `balrog-babyai`, BALROG's five tasks.

A full run of `babyai-levels` has 23 levels: the loop, which takes hours there, plays where it is named with --arm.
BALROG's agents read a text and choose every action with a language model; here it writes plans, and a controller that
sees the grid acts. Success means the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gedanken.evals.arms import ALONE, ARMS, REPLAN, llm_greedy, llm_replan
from gedanken.evals.episodes import EpisodeSuite, costs_of_arms
from gedanken.evals.peers.llm_actor import ACTOR, llm_actor
from gedanken.evals.suite import Table
from gedanken.worlds.babyai_balrog import TASKS, level_id

AIMS = {
    **dict.fromkeys(("GoToObj", "GoToRedBallGrey", "GoToRedBall", "GoToLocal", "PickupLoc", "PutNextLocal"), 99.5),
    **dict.fromkeys(("GoTo", "Pickup", "Open", "UnblockPickup", "Unlock", "PutNextS7N4"), 99.0),
    **dict.fromkeys(("KeyCorridor", "UnlockToUnlock", "BlockedUnlockPickup"), 95.0),
    **{"Synth": 99.0, "SynthLoc": 99.0, "GoToSeq": 98.0, "SynthSeq": 97.0},
    **dict.fromkeys(("GoToImpUnlock", "MiniBossLevel", "BossLevel", "BossLevelNoUnlock"), 96.0),
}
"""The success in per cent that this project has set itself, by level."""

PLAYERS = {"loop": ARMS["loop"], REPLAN: llm_replan, **ARMS, ALONE: llm_greedy}

USUAL = (REPLAN, *(arm for arm in ARMS if arm != "loop"))
"""Who plays where nobody is named: all but those that take hours."""


class BabyAILevels(EpisodeSuite):
    """See the module."""

    name = "babyai-levels"
    default_limit = 512
    players = PLAYERS
    default_arms = USUAL
    aims = {f"BabyAI-{level}-v0": aim for level, aim in AIMS.items()}
    levels = tuple(aims)


class BalrogBabyAI(EpisodeSuite):
    """See the module; what an episode costs is in the columns that BALROG reports, and in seconds."""

    name = "balrog-babyai"
    default_limit = 500
    players = {**PLAYERS, ACTOR: llm_actor}
    default_arms = USUAL
    levels = tuple(map(level_id, TASKS))
    aims = dict.fromkeys(levels, 99.5)

    def costs(self, results: Mapping[str, Any]) -> list[Table]:
        """Return what an episode of each arm costs."""
        return costs_of_arms(results)
