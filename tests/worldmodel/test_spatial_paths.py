from dataclasses import replace
from typing import Any

import networkx
import numpy as np
import pytest
import torch

from gedanken.worldmodel.collect import FIRST_TRAINING_SEED, Practice, practise
from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.data import Replay
from gedanken.worldmodel.spatial import SpatialConfig, SpatialModel
from gedanken.worldmodel.spatial_grid import FAR, LAID
from gedanken.worldmodel.spatial_paths import CLEARED, HOPED, distances
from gedanken.worlds.babyai import SPEC, BabyAIWorld

WIDE = SpatialConfig(radius=21, window=6, ways=True, embed=8, width=8, hidden=64, members=2)


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_shortest_paths(seed: int) -> None:
    rng, side = np.random.default_rng(seed), 9
    costs = rng.choice([1, HOPED, CLEARED, FAR], size=(2, side * side), p=[0.6, 0.1, 0.1, 0.2])
    sources = rng.random((2, 3, side * side)) < 0.04
    every = distances(torch.tensor(costs, dtype=torch.uint8), torch.tensor(sources))
    for row, kind in np.ndindex(2, 3):
        graph = networkx.DiGraph()
        lattice = networkx.grid_2d_graph(side, side)
        starts = {(i // side, i % side) for i in np.nonzero(sources[row, kind])[0]}
        for a, b in [*lattice.edges, *((b, a) for a, b in lattice.edges)]:
            cost = costs[row, b[0] * side + b[1]]
            graph.add_edge(b, a, weight=min(cost, CLEARED) if b in starts else cost)  # from the source backwards
        right = networkx.multi_source_dijkstra_path_length(graph, starts) if starts else {}
        expected = [min(FAR, right.get((i // side, i % side), FAR)) for i in range(side * side)]
        assert every[row, kind].tolist() == expected


def test_maps_are_handled_in_blocks_that_do_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    costs = torch.randint(1, 4, (600, 49), generator=generator).to(torch.uint8)
    sources = torch.rand(600, 2, 49, generator=generator) < 0.05
    together = distances(costs, sources)
    assert torch.equal(together[590:], distances(costs[590:], sources[590:]))


def test_it_learns_what_bars_the_way_and_what_clears_it() -> None:
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 150)
    levels = [("BabyAI-PickupLoc-v0", 1.0)]
    episodes = list(practise(BabyAIWorld, levels, seeds, Practice(missions=1.0, jostled=1.0, jostle=(0.3, 0.6))))
    replay, rng = Replay(SPEC, episodes), np.random.default_rng(0)
    torch.manual_seed(0)
    model = SpatialModel(SPEC, WIDE.model_copy(update={"radius": 6}))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(140):
        losses, _ = model.loss(replay.sample(rng, 8, 32))
        optimizer.zero_grad()
        (losses["passage"] + losses["motion"]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert model.passage is not None
    kinds, colours, _ = (channel.categories for channel in SPEC.grid.channels)

    def code(kind: str, colour: str, state: int = 0) -> int:
        return int(model.grid.encode(torch.tensor([[[[kinds.index(kind), colours.index(colour), state]]]])))

    empty = torch.tensor([code("empty", "red")])
    [costs] = model.passage.costs(empty, torch.arange(model.grid.codes + 1))
    assert costs[code("empty", "red")] == 1
    assert costs[code("wall", "grey")] == FAR
    assert costs[code("ball", "blue")] == CLEARED, "an empty hand can take it away"
    assert costs[model.grid.unknown] == HOPED
    shown = torch.tensor([code("empty", "red"), code("ball", "blue")])
    assert torch.equal(model.passage.costs(empty, shown)[0, shown], costs[shown]), "whatever else is shown"
    [full] = model.passage.costs(torch.tensor([code("key", "red")]), shown)
    assert full[code("ball", "blue")] == CLEARED + LAID, "a full hand has to be emptied first"
    assert full[code("empty", "red")] == 1


def test_what_would_open_the_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SpatialModel(SPEC, WIDE)
    assert model.passage is not None
    kinds, colours, _ = (channel.categories for channel in SPEC.grid.channels)

    def code(kind: str, colour: str, state: int = 0) -> int:
        return int(model.grid.encode(torch.tensor([[[[kinds.index(kind), colours.index(colour), state]]]])))

    empty, key, other = code("empty", "red"), code("key", "red"), code("key", "blue")
    locked, wall = code("door", "red", 2), code("wall", "grey")

    def costs(hands: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        cost = torch.ones(len(hands), model.grid.codes + 1, dtype=torch.uint8)
        cost[:, [key, other, wall, locked]] = FAR
        cost[hands == empty, key] = cost[hands == empty, other] = CLEARED
        cost[hands == key, locked] = CLEARED
        return cost

    def takes(ahead: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return torch.where(((ahead == key) | (ahead == other)) & (action == 3), 1.0, -1.0)

    monkeypatch.setattr(model.passage, "costs", costs)
    monkeypatch.setattr(model.passage, "takes", takes)
    seen = torch.full((3, model.grid.cells), empty)
    seen[:, :4] = torch.tensor([locked, key, other, wall])
    seen[1, 0] = code("door", "red", 0)
    shown = seen.unique()
    helpers = model.passage.helpers(seen, shown, costs(torch.tensor([empty, empty, key]), shown))
    assert helpers[0].nonzero().flatten().tolist() == [1], "the key of the locked door"
    assert not helpers[1].any(), "nothing is needed where nothing is locked"
    assert not helpers[2].any(), "nor where the key is in hand"


def test_a_full_hand_has_no_way_through_what_could_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box that is opened is gone: it has to be carried away, whatever else would clear its cell."""
    model = SpatialModel(SPEC, WIDE)
    passage = model.passage
    assert passage is not None
    kinds, colours, _ = (channel.categories for channel in SPEC.grid.channels)
    empty, ball, box, door = (
        int(model.grid.encode(torch.tensor([[[[kinds.index(kind), 0, state]]]])))
        for kind, state in (("empty", 0), ("ball", 0), ("box", 0), ("door", 1))
    )

    def promises(ahead: torch.Tensor, hand: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.where(ahead == empty, 9.0, -9.0), torch.where(ahead == empty, -9.0, 9.0)], 1)

    monkeypatch.setattr(passage, "promises", promises)
    monkeypatch.setattr(passage, "takes", lambda ahead, action: torch.where(ahead == box, 1.0, -1.0))
    bare, full = passage.costs(torch.tensor([empty, ball]), torch.tensor([empty, box, door]))
    assert bare[[empty, box, door]].tolist() == [1, CLEARED, CLEARED]
    assert full[[empty, box, door]].tolist() == [1, CLEARED + LAID, CLEARED]


def test_an_empty_hand_learns_that_what_it_is_to_bring_would_not_get_there(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SpatialModel(SPEC, WIDE)
    grid, passage = model.grid, model.passage
    assert passage is not None
    kinds, colours, _ = (channel.categories for channel in SPEC.grid.channels)

    def code(kind: str, colour: str) -> int:
        return int(grid.encode(torch.tensor([[[[kinds.index(kind), colours.index(colour), 0]]]])))

    empty, wall, ball, box, goal = (
        code(*words.split()) for words in ("empty red", "wall grey", "ball red", "box grey", "key blue")
    )

    def costs(hands: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        cost = torch.ones(len(hands), grid.codes + 1, dtype=torch.uint8)
        cost[:, wall] = FAR
        cost[:, [ball, box, goal]] = CLEARED
        cost[:, [ball, box, goal]] += (hands != empty).to(torch.uint8)[:, None] * LAID
        return cost

    monkeypatch.setattr(passage, "costs", costs)
    seen = torch.full((2, grid.cells), wall, dtype=torch.int32)
    line = torch.arange(grid.cells // 2 - 2, grid.cells // 2 + 4)
    seen[0, line] = torch.tensor([ball, empty, empty, box, empty, goal], dtype=torch.int32)
    seen[1, line] = torch.tensor([ball, empty, empty, empty, empty, goal], dtype=torch.int32)
    step = torch.tensor([SPEC.step_codes(SPEC.parse_step("put_next_to(red ball, blue key)"))]).repeat(2, 1)
    hand = torch.tensor([empty, empty])
    marks = grid.matches(step, seen, grid.here(2))
    held = grid.matches(step, hand[:, None], None)[..., 0]
    ways, brought = passage.ways(seen, hand, step, marks, held, bringing=True)
    middle = grid.cells // 2
    assert ways[:, 1, middle].tolist() == [CLEARED + 1 + CLEARED, CLEARED + 1 + 1], "an empty hand could clear the way"
    assert brought[0, 0, middle] > LAID > brought[1, 0, middle], "but not with the ball"


def test_a_wide_map_remembers_what_a_narrow_one_forgets() -> None:
    torch.manual_seed(0)
    world = BabyAIWorld("BabyAI-GoTo-v0")
    for config, remembered in ((WIDE, True), (WIDE.model_copy(update={"radius": 6}), False)):
        model = SpatialModel(SPEC, config)
        first = torch.from_numpy(world.observation(world.make().reset(seed=3)[0]))[None]
        belief = model.observe(model.initial(1), torch.tensor([0]), first, torch.tensor([True]))
        ahead, back = torch.tensor([1]), torch.tensor([2])
        seen = belief.seen
        for motion in (*[ahead] * 8, *[back] * 8):
            seen = model.grid.move(seen, motion)
        assert torch.equal(seen, belief.seen) is remembered


def test_episodes_without_steps_are_learned_from() -> None:
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 2)
    episodes = practise(BabyAIWorld, [("BabyAI-PickupLoc-v0", 1.0)], seeds, Practice(missions=1.0, jostled=0.0))
    batch = Replay(SPEC, episodes).sample(np.random.default_rng(0), 2, 6)
    nothing = torch.full_like(batch.step, -1)
    model = SpatialModel(SPEC, WIDE)
    contract: Any = model
    losses, belief = model.loss(replace(batch, step=nothing, step_before=nothing))
    losses |= Controller(contract).loss(replace(batch, step=nothing, step_before=nothing), belief)
    assert all(loss.isfinite() for loss in losses.values())
    assert [losses[name].item() for name in ("policy", "value", "achieved")] == [0.0] * 3


def test_futures_go_on_beyond_the_window() -> None:
    torch.manual_seed(0)
    model = SpatialModel(SPEC, WIDE.model_copy(update={"radius": 12}))
    world = BabyAIWorld("BabyAI-GoTo-v0")
    first = torch.from_numpy(world.observation(world.make().reset(seed=3)[0]))[None]
    belief = model.observe(model.initial(1), torch.tensor([0]), first, torch.tensor([True])).repeat(4)
    step = torch.tensor([SPEC.step_codes(SPEC.parse_step("go_to(red ball)"))]).repeat(4, 1)
    state = model.suppose(belief, step[:, None])
    outside = torch.ones(model.grid.cells, dtype=torch.bool)
    outside[model.grid.window] = False
    assert (state.world[:, outside] == model.grid.unknown).all()
    for _ in range(6):
        state = model.imagine(state, torch.full((4,), 2))
    assert model.embed(state, step).shape == (4, WIDE.hidden)
    assert model.surprise(belief, torch.zeros(4, dtype=torch.long), first.repeat(4, 1, 1, 1)).isfinite().all()
