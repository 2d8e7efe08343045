"""Dreams over HTTP: begun with words, lived in, bounded in number and in time."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from serving import served

from gedanken.tools.answers import Dream
from gedanken.tools.client import Client, LiveDream, ServiceError
from gedanken.tools.dreams import Dreams
from gedanken.tools.runs import Runs
from gedanken.worlds.babyai import SPEC

PROMPT = "a red ball and a locked blue door"


@pytest.fixture
def runs(learned: Any) -> Iterator[Runs]:
    with Runs(learned) as runs:
        runs.wake()
        yield runs


@pytest.fixture
def world(runs: Runs) -> Iterator[Client]:
    with served(runs) as url, Client(url) as client:
        yield client


def place(runs: Runs) -> Any:
    return runs.place()


def test_a_dream_is_begun_lived_in_and_ended(world: Client) -> None:
    with world.generate(PROMPT, interactive=True) as dream:
        begun = dream.dream
        assert begun.there == ["red ball", "locked blue door"] and begun.world == "BabyAI-GoToLocal-v0"
        assert begun.actions == list(SPEC.action_names) and begun.taken == 0 and not begun.over
        assert dream.now.sees.startswith("You see") and len(dream.now.view) == len(dream.now.doubts) == 7
        assert set(dream.now.missing) <= set(begun.there) and dream.now.what == ""
        acted = dream.act("left", "forward")
        assert [moment.what for moment in acted.moments] == ["left", "forward"] and acted.taken == 2
        assert acted.now.disagreement >= 0 and dream.look().moments == [acted.now]
        opened = dream.happen("the red ball appears")
        assert [moment.what for moment in opened.moments] == ["red ball"] and opened.taken == 2
        assert world.finish(world.plan("go to the red key", wait=0)).work == "plan"  # other runs go on
        path = dream._path
    with pytest.raises(ServiceError, match="no dream has the id .* begin another with generate") as refused:
        world._ask("GET", path)
    assert refused.value.status == 404
    dream.end()  # once more does no harm


def test_seeds_decide_a_dream_and_another_world_may_begin_it(world: Client) -> None:
    def first(**more: Any) -> Any:
        dream = world.generate("a red ball", interactive=False, **more)
        assert isinstance(dream, Dream) and dream.dream_id is None
        return dream.world, dream.now.view

    assert first(seed=7) == first(seed=7, start_seed=3)  # the server's own
    assert first(seed=7) != first(seed=7, start_seed=4)
    assert first(world="BabyAI-UnlockLocalDist-v0")[0] == "BabyAI-UnlockLocalDist-v0"


def test_what_is_not_kept_needs_no_room(world: Client, runs: Runs) -> None:
    place(runs).dreams = Dreams(most=0, idle=7.0)
    world.generate("a red ball", interactive=False)


def test_dreams_are_bounded_in_number(world: Client, runs: Runs) -> None:
    place(runs).dreams = Dreams(most=1, idle=60.0)
    first = world.generate("a red ball")
    with pytest.raises(ServiceError, match="1 dreams go on already; end one") as refused:
        world.generate("a red ball")
    assert refused.value.status == 429 and refused.value.retry_after in range(50, 61)
    first.end()
    world.generate("a red ball")


def test_of_two_that_come_at_once_for_the_last_room_one_is_sent_away(world: Client, runs: Runs) -> None:
    place(runs).dreams = Dreams(most=1)
    said: list[object] = []

    def generate() -> None:
        try:
            said.append(world.generate("a red ball"))
        except ServiceError as error:
            said.append(error.status)

    callers = [threading.Thread(target=generate) for _ in range(2)]
    with place(runs).drawing:  # both are taken up before either has begun
        for caller in callers:
            caller.start()
        while len(runs._now) < 2:
            time.sleep(0.01)
    for caller in callers:
        caller.join()
    assert 429 in said and any(isinstance(one, LiveDream) for one in said)


def test_dreams_that_nobody_asks_for_end(world: Client, runs: Runs) -> None:
    place(runs).dreams = Dreams(most=1, idle=0.2)
    dream = world.generate("a red ball")
    time.sleep(0.3)
    with pytest.raises(ServiceError, match="nobody asks for") as refused:
        dream.act("left")
    assert refused.value.status == 404
    world.generate("a red ball")  # there is room again


def test_a_dream_that_is_over_takes_nothing_more(world: Client, runs: Runs) -> None:
    dream = world.generate("a red ball")
    place(runs).dreams.find(dream.dream.dream_id).env.length = 2
    assert dream.act("left", "left", "left").over and dream.dream.taken == 2
    for more in (lambda: dream.act("left"), lambda: dream.happen("a red ball appears")):
        with pytest.raises(ServiceError, match="this dream is over") as refused:
            more()
        assert refused.value.status == 422
    assert dream.look().over


def test_words_that_the_world_lacks_are_read_by_the_language_model(world: Client) -> None:
    assert world.generate("a crimson sphere and a locked blue door").dream.there == ["red ball", "locked blue door"]


def test_what_takes_long_is_a_run(world: Client, runs: Runs) -> None:
    with place(runs).drawing:
        answer = world._http.post("/generate", json={"prompt": PROMPT}, params={"wait": 0})
        assert answer.status_code == 202 and answer.headers["location"] == f"/runs/{answer.json()['run_id']}"
    report = world.finish(world.run(answer.json()["run_id"]))
    assert isinstance(report.result, Dream) and report.work == "generate"
    place(runs).drawing.acquire()
    path = f"/dreams/{report.result.dream_id}"
    long = world._ask("POST", path, json={"actions": ["left"] * 100}, params={"wait": 0})
    world.stop(long["run_id"])
    place(runs).drawing.release()
    assert world.finish(world.run(long["run_id"])).over and world._ask("GET", path)["taken"] < 100


@pytest.mark.parametrize(
    ("ask", "status", "said"),
    [
        (lambda c, d: c.generate("  "), 422, "empty"),
        (lambda c, d: c.generate("make me a coffee"), 422, "names nothing that this world knows"),
        (lambda c, d: c.generate(PROMPT, world="/etc/passwd"), 422, "choose one of `worlds`"),
        (lambda c, d: c.generate(PROMPT, world="CartPole-v1"), 422, "choose one of `worlds`"),
        (lambda c, d: c._ask("POST", "/generate", json={"prompt": "x" * 301}), 422, "prompt: String should have"),
        (lambda c, d: c._ask("POST", "/generate", json={"prompt": PROMPT, "seed": -1}), 422, "seed: "),
        (lambda c, d: c._ask("POST", "/generate", json={"prompt": PROMPT, "checkpoint": "/"}), 422, "Extra inputs"),
        (lambda c, d: c._ask("POST", "/generate", content=b"{"), 422, ""),
        (lambda c, d: d.act("fly"), 422, "no action 'fly'"),
        (lambda c, d: d.happen("it rains"), 422, "names nothing"),
        (lambda c, d: d.happen("the door sings"), 422, "is no event"),
        (lambda c, d: c._ask("POST", d._path, json={}), 422, "either actions or an event"),
        (lambda c, d: c._ask("POST", d._path, json={"actions": ["left"], "event": "the door opens"}), 422, "not both"),
        (lambda c, d: c._ask("POST", d._path, json={"actions": ["left"] * 101}), 422, "actions: List should have"),
        (lambda c, d: c._ask("POST", "/dreams/unknown", json={"actions": ["left"]}), 404, "no dream has the id"),
        (lambda c, d: c._ask("GET", "/dreams/unknown"), 404, "no dream has the id"),
        (lambda c, d: c._ask("GET", "/dreams/..%2f..%2fetc%2fpasswd"), 404, ""),
        (lambda c, d: c._ask("DELETE", "/dreams/unknown"), 404, "no dream has the id"),
    ],
)
def test_what_is_refused(
    world: Client, ask: Callable[[Client, LiveDream], Any], status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dream = world.generate(PROMPT)
    with pytest.raises(ServiceError) as refused:
        ask(world, dream)
    assert refused.value.status == status and said in str(refused.value)
    assert dream.look().taken == 0


def test_where_nothing_can_be_dreamed_it_is_said(runs: Runs, opening: Any) -> None:
    with Runs(opening()) as others, served(others) as url, Client(url) as client:
        others.wake()
        with pytest.raises(ServiceError, match="imagines no map"):
            client.generate(PROMPT)
