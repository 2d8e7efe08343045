"""A real HTTP server on a free port of this machine, and a workplace that can dream, for tests."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import torch
from doubles import LEVEL, QUICK, Stage, WordCritic

from gedanken.agent.agent import Agent
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.tools.guard import Guard, server
from gedanken.tools.runs import Runs
from gedanken.tools.service import service
from gedanken.tools.work import Workshop
from gedanken.worldmodel.checkpoint import Trained, build
from gedanken.worldmodel.spatial import SIZES


@contextlib.contextmanager
def served(runs: Runs, token: str | None = None) -> Iterator[str]:
    """Serve in a thread; yield the address."""
    web = server(Guard(service(runs), token))
    with socket.create_server(("127.0.0.1", 0)) as wire:
        thread = threading.Thread(target=web.run, kwargs={"sockets": [wire]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{wire.getsockname()[1]}"
        finally:
            web.should_exit = True
            thread.join()


def read(prompt: str) -> list[str]:
    """Say a plan for what is crimson, none for anything else."""
    return ["go_to(red ball)\n"] if "crimson" in prompt else []


@contextlib.contextmanager
def untrained() -> Iterator[Workshop]:
    """Open a workplace with the smallest world model, untrained, and a language model that knows what is crimson."""
    torch.manual_seed(1)
    world = Stage(LEVEL)
    model: Any
    model, controller = build(world.spec, "spatial", SIZES["debug"].model_dump())
    with torch.no_grad():
        model.signals.net[-1].bias[1] = 9.0  # untrained, it would hold that every episode is over
    trained = Trained(model, controller.eval(), "tiny")
    agent = Agent(world, llm=ScriptedModel(read), trained=trained, critic=WordCritic(), config=QUICK)
    yield Workshop(agent, agent.session(3))
