"""Kills an agent again and again while it acts, stores and learns, and looks for harm: HOME_FOLDER KILLS SEED.

Each life is a forked process, so that it begins in no time. It goes on with the goal that the last one was killed in,
or begins another, until SIGKILL comes after a random time. Beside the agent's own files stands a ledger: what really
happened to the environment, what was said to be stored. After every kill the files are held against it.
"""

import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from doubles import LEVEL, Stage, WordCritic

from gedanken.agent.agent import Agent
from gedanken.agent.config import LoopConfig
from gedanken.agent.events import Event, Resumed, Stored
from gedanken.agent.graph import saver
from gedanken.agent.journal import Journal, Recorded
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.session import Session
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import Trained, build, load, save
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.spatial import SIZES

GOAL, PLAN = "go to something", "go_to(object)\n"
CONFIG = LoopConfig.preset("debug", horizon=4, patience=5, standstill=6, replans=2, rounds=0, learn_steps=1)
GOALS = 1.5
"""Goals for which there is time in the longest life."""

FIRST = 5
"""Lives before the first that is killed, which show how long one takes."""

Note = Callable[..., None]


class Ledger:
    """Lines of JSON in a file; one `write` a line, so that a kill leaves whole lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, kind: str, **values: object) -> None:
        """Write a line."""
        os.write(self._file, (json.dumps({"kind": kind, **values}) + "\n").encode())

    def read(self) -> list[dict[str, Any]]:
        """Return all lines."""
        return [json.loads(line) for line in self.path.read_text().splitlines()]


# ---- a life ----------------------------------------------------------------------------------------------------------


@contextmanager
def durable(home: Path) -> Iterator[Agent]:
    """The agent: a scripted language model, and the small untrained world model that lies in `home`."""
    world = Stage(LEVEL)
    trained = load(home / "tiny", world.spec)
    runs = saver(home / "runs.sqlite")
    with ExperienceStore(home / "experience.sqlite") as store, Journal(home / "journal.sqlite") as journal:
        llm = ScriptedModel(lambda prompt: [PLAN])
        yield Agent(
            world,
            llm=llm,
            trained=trained,
            critic=WordCritic(),
            store=store,
            config=CONFIG,
            journal=journal,
            saver=runs,
        )
    runs.conn.close()


def live(home: Path, note: Note) -> None:
    """Pursue goal after goal until the end comes."""
    with durable(home) as agent:
        assert agent.journal is not None

        def hear(event: Event) -> None:
            if isinstance(event, Stored):
                note("stored", id=event.episode)
            elif isinstance(event, Resumed):
                note("resumed", unknown=event.unknown)

        if unfinished := agent.unfinished():
            conversation, goal = unfinished
            session = Session.replay(agent.world, agent.trained, conversation, agent.journal)
            watch(agent.journal, session, note)
            agent.resume(goal, session, on_event=hear)
        while True:
            last = agent.journal.last()
            session = agent.session(last.id if last else 0)
            watch(agent.journal, session, note)
            agent.run(GOAL, session, on_event=hear)


def watch(journal: Journal, session: Session, note: Note) -> None:
    """Note every real action, after it was written down as intended and before it can be confirmed."""
    step, conversation = session.env.step, session.conversation
    assert conversation is not None

    def noted(action: int) -> Any:
        result = step(action)
        note("acted", conversation=conversation.id, number=len(session.actions), action=action)
        return result

    session.env.step = noted  # type: ignore[method-assign]


# ---- what must hold --------------------------------------------------------------------------------------------------


class Auditor:
    """Holds the files against the ledger, and against what they held before."""

    def __init__(self, home: Path, ledger: Ledger) -> None:
        self.home, self.ledger = home, ledger
        self.confirmed: dict[int, list[Recorded]] = {1: []}  # the first are nobody's lives
        self.episodes: dict[int, list[int]] = {}
        self.pending: dict[str, Any] | None = None
        self.read = 0
        self.unknown = self.learnt = 0

    def audit(self) -> None:
        """Raise AssertionError, saying what, where harm was done."""
        for file in self.home.glob("*.sqlite"):
            with sqlite3.connect(file) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], file
            db.close()
        lines = self.ledger.read()
        new, self.read = lines[self.read :], len(lines)
        with (
            ExperienceStore(self.home / "experience.sqlite") as store,
            Journal(self.home / "journal.sqlite") as journal,
        ):
            store.check()
            self._resumed(new)
            self._store(store, new)
            last = journal.last()
            for id in range(max(self.confirmed), (last.id if last else 0) + 1):
                self._conversation(journal, id, lines)
        self._checkpoints()

    def _resumed(self, new: list[dict[str, Any]]) -> None:
        """An action that was intended and not confirmed is named by the life that goes on, none other is."""
        said = [line for line in new if line["kind"] == "resumed"]
        if said:
            name = None if self.pending is None else Stage.spec.actions[self.pending["action"]]
            assert said[0]["unknown"] == name, (said, self.pending)
            self.unknown += name is not None
        before = self.pending
        for line in new:
            if line["kind"] == "acted" and before and line["conversation"] == before["conversation"]:
                assert said, "an action was taken where an unconfirmed one had not been named"

    def _store(self, store: ExperienceStore, new: list[dict[str, Any]]) -> None:
        """What was said to be stored is there, stays as it is, and is there once."""
        found = {id: (episode.record["turn"], episode.actions.tolist()) for id, episode in store.episodes()}
        for line in new:
            assert line["kind"] != "stored" or line["id"] in found, f"episode {line['id']} is lost"
        for id, actions in self.episodes.items():
            assert found[id][1] == actions, f"episode {id} changed"
        turns = [turn for turn, _ in found.values()]
        assert len(turns) == len(set(turns)), "a goal was stored twice"
        self.episodes = {id: actions for id, (_, actions) in found.items()}
        self.by_turn = {turn: actions for turn, actions in found.values()}

    def _conversation(self, journal: Journal, id: int, lines: list[dict[str, Any]]) -> None:
        """Confirmed actions stay, happened once, and are those of the episode, once the goal is over."""
        actions = journal.actions(id)
        confirmed = [action for action in actions if action.done]
        assert [action.number for action in actions] == list(range(len(actions)))
        assert actions[: len(confirmed)] == confirmed, "one that was not confirmed lies between those that were"
        before = self.confirmed.get(id, [])
        assert confirmed[: len(before)] == before, f"confirmed actions of conversation {id} changed"
        self.confirmed[id] = confirmed
        self.pending = vars(actions[-1]) | {"conversation": id} if actions and not actions[-1].done else None
        acted = [(line["number"], line["action"]) for line in lines if line.get("conversation") == id]
        times = [number for number, _ in acted]
        for action in confirmed:
            assert action.turn is None or id <= FIRST or (action.number, action.action) in acted, (
                f"{action} never happened"
            )
        repeated = {number for number in times if times.count(number) > 1}
        assert not repeated & {action.number for action in before[: len(before) - 1]} - self.renewed(lines, id)
        for turn in journal.turns(id):
            own = [action.action for action in confirmed if action.turn == turn.id]
            if turn.outcome is not None and own:
                assert self.by_turn.get(f"{id}-{turn.id}") == own, f"the episode of turn {turn.id} is lost or another"

    def renewed(self, lines: list[dict[str, Any]], id: int) -> set[int]:
        """Numbers of actions that were taken again after a life had named the first as unknown."""
        open_number, renewed = -1, set()
        for line in lines:
            if line["kind"] == "acted" and line["conversation"] == id:
                open_number = line["number"]
            elif line["kind"] == "resumed" and line["unknown"]:
                renewed.add(open_number)
        return renewed

    def _checkpoints(self) -> None:
        """What is listed can be loaded."""
        for info in checkpoint.available():
            if info.path.is_relative_to(self.home):
                load(info.path, Stage.spec)
                self.learnt += 1
                for file in info.path.iterdir():
                    file.unlink()
                info.path.rmdir()


def timed(run: Callable[[], object]) -> float:
    """Run something and return the seconds that it took."""
    began = time.monotonic()
    run()
    return time.monotonic() - began


def kill_often(home: Path, kills: int, seed: int) -> dict[str, Any]:
    """Live and die so often; return what happened. Raises AssertionError where harm was done."""
    torch.set_num_threads(1)
    os.environ["GEDANKEN_HOME"] = str(home)
    torch.manual_seed(0)
    model, controller = build(Stage.spec, "spatial", SIZES["debug"].model_dump())
    save(Trained(model, controller.eval(), "tiny"), home / "tiny")
    with durable(home) as agent:  # before the first fork, so that all is imported
        agent.run(GOAL, agent.session(0))
        longest = GOALS * max(timed(lambda seed=seed: agent.run(GOAL, agent.session(seed))) for seed in range(1, FIRST))
    ledger = Ledger(home / "ledger.jsonl")
    auditor, rng = Auditor(home, ledger), random.Random(seed)
    for _ in range(kills):
        child = os.fork()
        if not child:
            try:
                live(home, ledger.note)
            except BaseException as error:  # a life must not end by itself
                ledger.note("failed", why=repr(error))
            os._exit(1)
        time.sleep(rng.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        failed = [line for line in ledger.read() if line["kind"] == "failed"]
        assert not failed, failed
        auditor.audit()
    lines = ledger.read()
    count = {kind: sum(line["kind"] == kind for line in lines) for kind in ("acted", "stored", "resumed")}
    return {"kills": kills, **count, "unknown": auditor.unknown, "learnt": auditor.learnt}


if __name__ == "__main__":
    print(json.dumps(kill_often(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
