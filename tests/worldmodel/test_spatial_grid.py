import pytest
import torch
from torch import Tensor

from gedanken.worldmodel.spatial_grid import ELSEWHERE, HERE, INVERSE, MOTIONS, Grid, place_mask
from gedanken.worlds.babyai import SPEC
from gedanken.worlds.babyai_env import PLACES

GRID = Grid(SPEC, 6)
KINDS, COLOURS, STATES = (channel.categories for channel in SPEC.observation.channels)
STAY, FORWARD, BACK, STEP_RIGHT, STEP_LEFT, TURN_LEFT, TURN_RIGHT, ABOUT = range(8)


def code(kind: str, colour: str = "red", state: str = "open") -> int:
    triple = [KINDS.index(kind), COLOURS.index(colour), STATES.index(state)]
    return int(GRID.encode(torch.tensor(triple).view(1, 1, 3))[0])


def cell(ahead: int, right: int) -> int:
    return (GRID.radius - ahead) * GRID.side + GRID.radius + right


def numbered() -> Tensor:
    return torch.arange(GRID.cells)[None]


def moved(codes: Tensor, *motions: int) -> Tensor:
    for motion in motions:
        codes = GRID.move(codes, torch.tensor([motion]).expand(len(codes)))
    return codes


def test_turning_there_and_back_changes_nothing() -> None:
    before = numbered()
    for motions in ((STAY,), (TURN_LEFT, TURN_RIGHT), (TURN_RIGHT, TURN_LEFT), (ABOUT, ABOUT), (TURN_LEFT,) * 4):
        assert torch.equal(moved(before, *motions), before)
    assert torch.equal(moved(before, TURN_LEFT, TURN_LEFT), moved(before, ABOUT))
    assert not torch.equal(moved(before, TURN_LEFT), moved(before, TURN_RIGHT))


def test_each_motion_is_undone_by_its_inverse_except_at_the_edge() -> None:
    inner = GRID.patch(GRID.radius - 1)
    assert len(INVERSE) == len(MOTIONS)
    for motion, inverse in enumerate(INVERSE):
        assert torch.equal(moved(numbered(), motion, inverse)[:, inner], numbered()[:, inner])


@pytest.mark.parametrize(
    ("motion", "was", "now"),
    [
        (FORWARD, (3, 2), (2, 2)),
        (BACK, (3, 2), (4, 2)),
        (STEP_RIGHT, (3, 2), (3, 1)),
        (STEP_LEFT, (3, 2), (3, 3)),
        (TURN_LEFT, (0, -2), (2, 0)),  # what was on the left is ahead
        (TURN_LEFT, (3, 2), (-2, 3)),
        (TURN_RIGHT, (0, 2), (2, 0)),
        (ABOUT, (3, 2), (-3, -2)),
    ],
)
def test_things_are_where_they_belong_after_a_motion(motion: int, was: tuple[int, int], now: tuple[int, int]) -> None:
    assert int(moved(numbered(), motion)[0, cell(*now)]) == cell(*was)


def test_what_comes_in_over_the_edge_is_unknown() -> None:
    after = moved(torch.zeros(1, GRID.cells, dtype=torch.long), FORWARD).view(GRID.side, GRID.side)
    assert (after[0] == GRID.unknown).all() and (after[1:] == 0).all()


def test_motions_are_chosen_row_by_row() -> None:
    rows = torch.arange(len(MOTIONS))
    together = GRID.move(numbered().expand(len(rows), -1), rows)
    assert torch.equal(together, torch.cat([moved(numbered(), int(motion)) for motion in rows]))


def test_every_code_survives_being_decoded_and_encoded() -> None:
    every = torch.arange(GRID.codes)
    views = GRID.decode(every).view(1, -1, 1, 3)
    assert views.shape[1] == len(KINDS) * len(COLOURS) * len(STATES)
    assert torch.equal(GRID.encode(views)[0], every)
    assert GRID.decode(torch.tensor([GRID.unknown]))[0, 0] == SPEC.observation.hidden


def test_hidden_and_solid_codes() -> None:
    assert GRID.hidden[GRID.unknown] and GRID.hidden[code("unseen")] and not GRID.hidden[code("empty")]
    assert all(GRID.solid[code(kind)] for kind in ("door", "key", "ball", "box"))
    assert not any(GRID.solid[code(kind)] for kind in ("unseen", "empty", "wall", "agent"))
    assert not GRID.solid[GRID.unknown]


def test_the_view_lies_ahead_of_the_agent() -> None:
    view = GRID.view.view(7, 7)
    assert int(view[6, 3]) == cell(0, 0) == int(GRID.view[GRID.view_agent]) and int(view[0, 3]) == cell(6, 0)
    assert int(view[6, 6]) == cell(0, 3)


def test_a_patch_is_a_square_around_the_agent() -> None:
    assert GRID.patch(1).tolist() == [cell(ahead, right) for ahead in (1, 0, -1) for right in (-1, 0, 1)]


def test_a_map_too_small_for_the_view_is_refused() -> None:
    with pytest.raises(ValueError, match="radius 5 with a window of 5 does not hold a view of 7×7"):
        Grid(SPEC, 5)


# ---- phrases ---------------------------------------------------------------------------------------------------------

THINGS = {
    (1, 0): code("ball", "red"),
    (2, 2): code("ball", "blue"),
    (0, -3): code("key", "red"),
    (-2, 1): code("door", "red", "locked"),
    (3, 0): code("wall", "grey"),
}


def found(step: str, *motions: int) -> list[set[tuple[int, int]]]:
    """Return the cells, one set an argument, that a step speaks of, named by where they were at the beginning."""
    codes = torch.full((1, GRID.cells), code("empty", "red"))
    for at, what in THINGS.items():
        codes[0, cell(*at)] = what
    codes, names, places = moved(codes, *motions), moved(numbered(), *motions), GRID.here(1)
    for motion in motions:
        places = GRID.move_places(places, torch.tensor([motion]))
    marks = GRID.matches(torch.tensor([SPEC.step_codes(SPEC.parse_step(step))]), codes, places)[0]
    by_name = {cell(*at): at for at in THINGS}
    return [{by_name[int(names[0, i])] for i in row.nonzero()[:, 0]} for row in marks]


BALL, BLUE, KEY, DOOR = list(THINGS)[:4]


@pytest.mark.parametrize(
    ("step", "first", "second"),
    [
        ("go_to(red ball)", {BALL}, set()),
        ("go_to(ball)", {BALL, BLUE}, set()),
        ("go_to(red object)", {BALL, KEY, DOOR}, set()),
        ("go_to(object)", {BALL, BLUE, KEY, DOOR}, set()),
        ("go_to(purple ball)", set(), set()),
        ("go_to(object in front of you)", {BALL, BLUE}, set()),
        ("go_to(object behind you)", {DOOR}, set()),
        ("go_to(object on your left)", {KEY}, set()),
        ("go_to(object on your right)", {BLUE, DOOR}, set()),
        ("open(door)", {DOOR}, set()),
        ("put_next_to(ball, red key)", {BALL, BLUE}, {KEY}),
        ("drop()", set(), set()),
    ],
)
def test_phrases_speak_of_the_cells_that_they_name(
    step: str, first: set[tuple[int, int]], second: set[tuple[int, int]]
) -> None:
    assert found(step) == [first, second]


@pytest.mark.parametrize("motions", [(TURN_LEFT,), (ABOUT,), (TURN_RIGHT, FORWARD), (FORWARD, TURN_LEFT, BACK)])
def test_places_stay_those_of_the_goals_beginning_when_the_agent_moves(motions: tuple[int, ...]) -> None:
    for place in PLACES:
        assert found(f"go_to(object {place})", *motions) == found(f"go_to(object {place})")


def test_places_are_half_planes() -> None:
    here = GRID.here(1)[0]
    masks = {words: place_mask(words)[here] for words in PLACES}
    for words, at in (("in front of you", (1, -4)), ("behind you", (-1, 5)), ("on your left", (4, -1))):
        assert masks[words][cell(*at)]
    assert not any(mask[cell(0, 0)] for mask in masks.values())
    assert all(int(mask.sum()) == GRID.side * GRID.radius for mask in masks.values())


def test_places_end_at_walls_and_doors_as_soon_as_they_are_known() -> None:
    wall, door, ball = code("wall"), code("door", "blue", "closed"), code("ball")
    seen = torch.full((1, GRID.cells), GRID.unknown)
    everywhere = GRID.here(1)
    assert torch.equal(GRID.within(everywhere, seen), everywhere)
    seen[0, cell(3, 0)], seen[0, cell(0, -2)], seen[0, cell(0, 4)] = wall, door, wall
    seen[0, cell(1, 0)] = ball
    within = GRID.within(everywhere, seen)
    inside = [cell(a, r) for a in range(-GRID.radius, 4) for r in range(-2, 5)]
    assert torch.equal(within[0, inside], everywhere[0, inside])
    assert int((within == ELSEWHERE).sum()) == GRID.cells - len(inside)
    step = torch.tensor([SPEC.step_codes(SPEC.parse_step("go_to(ball in front of you)"))])
    seen[0, [cell(2, 3), cell(5, 1)]] = ball
    found = GRID.matches(step, seen, within)[0, 0]
    assert sorted(found.nonzero().flatten().tolist()) == sorted([cell(1, 0), cell(2, 3)])
    turned = GRID.within(GRID.move_places(within, torch.tensor([TURN_LEFT])), moved(seen, TURN_LEFT))
    assert torch.equal(turned, GRID.move_places(within, torch.tensor([TURN_LEFT])))


def test_places_go_on_where_the_goal_began_in_a_doorway_or_beyond_the_map() -> None:
    wall, door, everywhere = code("wall"), code("door", "blue", "open"), GRID.here(1)
    seen = torch.full((1, GRID.cells), GRID.unknown)
    seen[0, cell(0, 0)], seen[0, cell(0, 1)], seen[0, cell(0, -1)] = door, wall, wall
    assert torch.equal(GRID.within(everywhere, seen), everywhere)
    gone = torch.where(everywhere == HERE, 1, everywhere)
    assert torch.equal(GRID.within(gone, torch.full_like(seen, wall)), gone)
