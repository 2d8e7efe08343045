"""Environments that go wrong after they were added: what is said, and what is left in the store."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
import exact_house as exact
import strange

from gedanken.agent.added import add_world
from gedanken.agent.session import Session
from gedanken.cli import ERROR, REACHED, run
from gedanken.worldmodel.checkpoint import home
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worlds.protocol import WorldError
from gedanken.worlds.spec import SpecError

strange.register()


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("raises", "step failed with ZeroDivisionError: the gearbox broke"),
        ("hangs", "step took more than 0.3 s; it may hang"),
        ("turns", "obs: the space's shape is (2,), the value's is (3,)"),
        ("drifts", "obs[0] is nan; it must be a finite number"),
        ("flies", "obs[0] is inf; it must be a finite number"),
    ],
)
def test_what_goes_wrong_while_learning_is_said_and_the_store_stays_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], does: str, says: str
) -> None:
    adapter = tmp_path / "late.toml"
    adapter.write_text(f"environment = 'Strange/Late-v0'\nlimit = 0.3\n[arguments]\ndoes = '{does}'")
    world = add_world("Strange/Late-v0", adapter=adapter)
    assert run(["learn", "Strange/Late-v0", "--steps", "600", "--random", "600", "--size", "debug"]) == ERROR
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("Error: Strange/Late-v0: ") and says in error
    with ExperienceStore(home() / "experience.sqlite") as store:
        store.check()
        kept = [episode for _, episode in store.episodes(spec_hash=world.spec.hash)]
    assert sum(map(len, kept)) == 250 and all(np.isfinite(episode.observations).all() for episode in kept)
    adapter.write_text("environment = 'Strange/Late-v0'")  # mended
    assert add_world("Strange/Late-v0", adapter=adapter).spec == world.spec
    again = ["learn", "Strange/Late-v0", "--steps", "300", "--random", "300", "--size", "debug", "--acting", "search"]
    assert does != "raises" or (run(again) == REACHED and "300 real actions" in capsys.readouterr().out)


@pytest.mark.parametrize(
    "name", ["NotANumber", "Raises", "WrongShape", "EndsAtOnce", "Exits", "Torn", "Image", "Crowded"]
)
def test_what_is_refused_when_it_is_added_leaves_nothing(name: str) -> None:
    with pytest.raises((SpecError, WorldError)):
        add_world(f"Strange/{name}-v0")
    assert not (home() / "worlds").exists() and not (home() / "experience.sqlite").exists()


def test_episodes_that_end_at_once_while_learning_are_learned_from(tmp_path: Path) -> None:
    adapter = tmp_path / "late.toml"
    adapter.write_text("environment = 'Strange/Late-v0'\n[arguments]\ndoes = 'ends'")
    add_world("Strange/Late-v0", adapter=adapter)
    learn = ["learn", "Strange/Late-v0", "--steps", "280", "--random", "265", "--size", "debug", "--acting", "search"]
    assert run(learn) == REACHED
    with ExperienceStore(home() / "experience.sqlite") as store:
        store.check()
        lengths = [len(episode) for _, episode in store.episodes(world="Strange/Late-v0")]
    assert sum(lengths) == 280 and lengths[:5] == [50] * 5 and set(lengths[6:]) == {1}


def test_what_goes_wrong_while_acting_is_said_and_the_life_can_be_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = exact.House.step

    def breaks(house: exact.House, action: Any) -> Any:
        seen, *rest = step(house, action)
        return seen * np.nan if house.taken == 3 else seen, *rest

    with exact.agent_in(tmp_path, lambda _: ["keep(room, -50..60, for 6)\n"]) as agent:
        assert agent.store is not None and agent.journal is not None
        session = agent.session(3)
        with monkeypatch.context() as broken:
            broken.setattr(exact.House, "step", breaks)
            with pytest.raises(WorldError, match="house: room is nan; it must be a finite number"):
                agent.run("stay alive", session)
        session.close()
        agent.store.check()
        assert len(agent.store) == 0 and len(session.actions) == 2
        last = agent.journal.last()
        assert last is not None
        again = Session.replay(agent.world, agent.trained, last, agent.journal)
        assert np.array_equal(again.observations, session.observations)
        again.close()
