"""Listening to an environment that says something: which sayings there are to be told apart. Knows no model."""

from __future__ import annotations

from collections import Counter

import numpy as np

from gedanken.worlds.adapter import Adapter
from gedanken.worlds.gym_world import GymWorld, random_action
from gedanken.worlds.sayings import MOST_SAYINGS
from gedanken.worlds.spec import SpecError

EPISODES, ACTIONS = 20, 100
"""Episodes with random actions that are listened to, and most actions of each."""

MOST_ELSE = 0.5
"""Largest share of the moments in which something else may be said than what is told apart."""


def listened(adapter: Adapter, id: str, first_seed: int) -> Adapter:
    """Return the adapter with what is said in every part that is words and of which it says nothing.

    Those are the commonest sayings of some episodes with random actions. Raises SpecError where they hardly repeat.
    """
    unheard = [name for name in GymWorld.speaking(adapter, id) if name not in adapter.says]
    if not unheard:
        return adapter
    deaf = adapter.model_copy(update={"says": adapter.says | {name: () for name in unheard}})
    world, heard = GymWorld(deaf, id), {name: Counter[str]() for name in unheard}
    env = world.make()
    try:
        for seed in range(first_seed, first_seed + EPISODES):
            rng, over, taken = np.random.default_rng(seed), False, 0
            env.reset(seed=seed)
            while True:
                for name in unheard:
                    heard[name][env.said[name]] += 1
                if over or taken == ACTIONS:
                    break
                over = any(env.step(random_action(world.spec, rng))[2:4])
                taken += 1
    finally:
        env.close()
    told = {name: tuple(saying for saying, _ in counts.most_common(MOST_SAYINGS)) for name, counts in heard.items()}
    for name, counts in heard.items():
        share = 1 - sum(counts[saying] for saying in told[name]) / counts.total()
        if share > MOST_ELSE:
            raise SpecError(
                f"{name} is a Text space, and what it says hardly repeats: the {MOST_SAYINGS} commonest of"
                f" {len(counts):,} sayings are {1 - share:.0%} of what was heard. Let a wrapper show as numbers what"
                f" matters of it, or name under [says] of the adapter what is to be told apart"
            )
    return adapter.model_copy(update={"says": adapter.says | told})
