"""The sizes that a model of the `spatial` family can have, by name."""

from __future__ import annotations

from pydantic import BaseModel


class SpatialConfig(BaseModel):
    """Sizes of the family.

    Attributes:
        radius: cells that the map reaches to every side of the agent.
        window: cells to every side of it at which networks look one by one; the same where it isn't given.
        ways: whether acting is told distances over the known map; `bringing` adds those with what the step has to
            bring somewhere in the hand, which tell an empty hand that the way there is barred.
        embed: channels of a cell's embedding.
        width: channels of the maps of the acting trunk; `hidden` its features.
        members: members of the ensemble that predicts motions and changes.
        change_reach: how far from the agent an action may change cells.
    """

    radius: int = 6
    window: int | None = None
    ways: bool = False
    bringing: bool = False
    embed: int = 16
    width: int = 24
    hidden: int = 384
    members: int = 4
    change_reach: int = 1


SIZES = {
    "debug": SpatialConfig(embed=8, width=8, hidden=64, members=2),
    "small": SpatialConfig(),
    "base": SpatialConfig(embed=24, width=48, hidden=512),
    "wide": SpatialConfig(radius=21, window=6, ways=True, bringing=True),
}
