"""The suite `babyai-local`: seven one-room BabyAI levels, the loop beside its floors and ceilings."""

from __future__ import annotations

from gedanken.evals.arms import ARMS
from gedanken.evals.episodes import EpisodeSuite
from gedanken.evals.peers.llm_actor import ACTOR, llm_actor

LEVELS = ("GoToObj", "GoToLocal", "PickupLoc", "PickupDist", "OpenDoor", "PutNextLocal", "UnlockLocalDist")
TASKS = tuple(f"BabyAI-{level}-v0" for level in LEVELS)


class BabyAILocal(EpisodeSuite):
    """See the module."""

    name = "babyai-local"
    default_limit = 200
    levels = TASKS
    players = {**ARMS, ACTOR: llm_actor}
    default_arms = tuple(ARMS)
