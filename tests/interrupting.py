"""Presses Ctrl-C at random moments of `gedanken run` and `gedanken chat`, and looks for harm: HOME_FOLDER TIMES SEED.

Each process is forked, so that it begins in no time; the language model and the controller are doubles.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from doubles import QUICK, agent_in

from gedanken import pursue, talk, upkeep  # noqa: F401 (imported before the first fork)
from gedanken.agent import loading
from gedanken.agent.agent import Agent
from gedanken.agent.config import LoopConfig
from gedanken.agent.journal import Journal
from gedanken.cli import INTERRUPTED, REACHED, run
from gedanken.worldmodel.experience import ExperienceStore

GOAL = "go to the red key"
COMMANDS = {
    "run": ["run", GOAL, "--seed", "3", "--preset", "debug", "--learn-steps", "0", "--yes"],
    "chat": ["chat", "--seed", "3", "--preset", "debug", "--learn-steps", "0", "--yes"],
}
SLOW = 0.02
"""Seconds that the controller takes for an action, so that acting is not over in no time."""


@contextlib.contextmanager
def scripted(world: str, config: LoopConfig, *, keep: bool = True) -> Iterator[Agent]:
    """Open an agent of doubles in place of the real one."""
    with agent_in(Path(os.environ["GEDANKEN_HOME"]), lambda prompt: ["go_to(red key)\n"], config=config) as agent:
        controller: Any = agent.trained.controller
        controller.before = lambda: time.sleep(SLOW)
        yield agent


def speak(command: str, home: Path) -> int:
    """Run a command with its output in files, and return its exit code."""
    (home / "typed").write_text(f"{GOAL}\n" * 2)
    for name, descriptor in (("typed", 0), ("out", 1), ("err", 2)):
        flags = os.O_RDONLY if name == "typed" else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(home / name, flags), descriptor)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode, 1) for n, mode in enumerate("rww"))
    return run(COMMANDS[command])


def child(command: str, home: Path) -> None:
    """Be the process that is interrupted."""
    code = INTERRUPTED  # before the command could begin
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        code = speak(command, home)
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def audit(command: str, home: Path, code: int) -> str:
    """Return what was interrupted (nothing, acting, else); raise AssertionError where harm was done."""
    said = "".join((home / name).read_text() for name in ("out", "err") if (home / name).exists())
    assert code in (REACHED, INTERRUPTED), (command, code, said)
    assert "Traceback" not in said and "Error" not in said and "Exception" not in said, (command, said)
    with ExperienceStore(home / "experience.sqlite") as store, Journal(home / "journal.sqlite") as journal:
        store.check()
        episodes = {episode.record["turn"]: episode for _, episode in store.episodes()}
        last = journal.last()
        assert len(store) == len(episodes)
        taken = 0
        for id in range(1, (last.id if last else 0) + 1):
            actions = journal.actions(id)
            assert all(action.done for action in actions), "an action was cut in two"
            for turn in journal.turns(id):
                own = [action.action for action in actions if action.turn == turn.id]
                taken = len(own)
                kept = episodes.get(f"{id}-{turn.id}")
                assert (kept.actions.tolist() if kept else []) == own, (command, id, own, kept)
                assert turn.outcome is not None or not own, f"goal {turn.goal!r} is open although it was interrupted"
    return "not" if code == REACHED else "acting" if taken else "else"


def interrupt_often(home: Path, times: int, seed: int) -> dict[str, dict[str, int]]:
    """Interrupt every command so often; return what was interrupted how often."""
    torch.set_num_threads(1)
    os.environ["GEDANKEN_HOME"] = str(home)
    loading.open_agent = scripted  # type: ignore[assignment]
    upkeep.language_model = lambda: {"here": True}
    with scripted("", QUICK) as agent:  # before the first fork, so that all is imported
        agent.run(GOAL, agent.session(3))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    rng, counts = random.Random(seed), {}
    for command in COMMANDS:
        counts[command] = {"not": 0, "acting": 0, "else": 0}
        longest = 0.0
        for number in range(-2, times):  # the first two are not interrupted, and show how long it takes
            began, process = time.monotonic(), os.fork()
            if not process:
                child(command, home)
            if number >= 0:
                time.sleep(rng.uniform(0.0, longest))
                os.kill(process, signal.SIGINT)
            _, status = os.waitpid(process, 0)
            longest = time.monotonic() - began if number < 0 else longest
            found = audit(command, home, os.waitstatus_to_exitcode(status))
            counts[command][found] += number >= 0
    return counts


if __name__ == "__main__":
    print(json.dumps(interrupt_often(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
