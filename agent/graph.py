"""The loop as one LangGraph graph: wiring only. What the nodes do is in `nodes`."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from gedanken.agent import nodes
from gedanken.agent.mind import Mind
from gedanken.agent.state import State
from gedanken.worldmodel.experience_file import explained, to_wal

Graph = CompiledStateGraph[State, Mind, State, State]

MOST_STEPS = 1_000
"""Far above what bounded rounds and replans can need."""


def perceive(state: State, runtime: Runtime[Mind]) -> Command[Literal["propose"]]:
    """See `nodes.perceive`."""
    return Command(goto="propose", update=nodes.perceive(state, runtime.context))


def propose(state: State, runtime: Runtime[Mind]) -> Command[Literal["rehearse"]]:
    """See `nodes.propose`."""
    return Command(goto="rehearse", update=nodes.propose(state, runtime.context))


def rehearse(state: State, runtime: Runtime[Mind]) -> Command[Literal["revise", "choose"]]:
    """See `nodes.rehearse`."""
    goto, update = nodes.rehearse(state, runtime.context)
    return Command(goto=goto, update=update)


def revise(state: State, runtime: Runtime[Mind]) -> Command[Literal["propose"]]:
    """See `nodes.revise`."""
    return Command(goto="propose", update=nodes.revise(state, runtime.context))


def choose(state: State, runtime: Runtime[Mind]) -> Command[Literal["approve", "finish"]]:
    """See `nodes.choose`."""
    goto, update = nodes.choose(state, runtime.context)
    return Command(goto=goto, update=update)


def approve(state: State, runtime: Runtime[Mind]) -> Command[Literal["act", "finish"]]:
    """See `nodes.approve`."""
    goto, update = nodes.approve(state, runtime.context)
    return Command(goto=goto, update=update)


def act(state: State, runtime: Runtime[Mind]) -> Command[Literal["perceive", "finish"]]:
    """See `nodes.act`."""
    goto, update = nodes.act(state, runtime.context)
    return Command(goto=goto, update=update)


def finish(state: State, runtime: Runtime[Mind]) -> Command[Literal["__end__"]]:
    """See `nodes.finish`."""
    return Command(goto="__end__", update=nodes.finish(state, runtime.context))


def build(saver: BaseCheckpointSaver[Any] | None = None) -> Graph:
    """Return the graph; with a saver it is durable."""
    graph: StateGraph[State, Mind, State, State] = StateGraph(State, context_schema=Mind)
    for node in (perceive, propose, rehearse, revise, choose, approve, act, finish):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "perceive")
    return graph.compile(checkpointer=saver)


class Saver(SqliteSaver):
    """LangGraph's checkpointer in SQLite, whose failures are StoreErrors."""

    def __init__(self, path: Path) -> None:
        super().__init__(sqlite3.connect(path, check_same_thread=False, timeout=30))
        self.path = path

    @contextlib.contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """Yield a cursor; all that this class does goes through one."""
        try:
            with super().cursor(transaction) as cursor:
                yield cursor
        except sqlite3.Error as error:
            raise explained(self.path, error) from error


def saver(path: Path) -> Saver:
    """Open the file in which runs under way are kept. Raises StoreError where it can't be used."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        saver = Saver(path)
        to_wal(saver.conn)
        saver.setup()
    except (OSError, sqlite3.Error) as error:
        raise explained(path, error) from error
    return saver
