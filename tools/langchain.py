"""Gedanken as a LangChain tool and as a LangGraph graph: a goal in, what happened out. Knows the agent."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, TypedDict

from langchain_core.tools import StructuredTool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel, Field

from gedanken.agent.agent import Agent
from gedanken.agent.events import Event, Outcome
from gedanken.agent.goals import LONGEST_GOAL, GoalError, abilities
from gedanken.agent.session import Session
from gedanken.agent.trace import Trace
from gedanken.tools.answers import tell

__all__ = ["Task", "gedanken_graph", "gedanken_tool"]


class Goal(BaseModel):
    """The tool's arguments."""

    goal: str = Field(description="What should be done, in plain words.", min_length=1, max_length=LONGEST_GOAL)
    imagine_only: bool = Field(default=False, description="Only say how it could be done and how likely that is.")


def gedanken_tool(agent: Agent, session: Session, *, name: str = "gedanken") -> StructuredTool:
    """Return a tool that reaches goals in `session`, one at a time, without asking anybody.

    Its content is one short text, its artifact the run as one object (`Trace.answer`). A goal that is none is an
    answer, not an exception, so that the model that called can better it.
    """

    def pursue(goal: str, imagine_only: bool = False) -> tuple[str, dict[str, Any]]:
        with session.alone:
            trace = Trace()
            try:
                work = agent.plan if imagine_only else agent.run
                outcome = _apart(work, goal, session, on_event=trace)
            except GoalError as error:
                return f"declined: {error}", {"status": "declined", "success": False, "message": str(error)}
            return say(outcome), trace.answer(outcome)

    async def pursue_async(goal: str, imagine_only: bool = False) -> tuple[str, dict[str, Any]]:
        return await asyncio.to_thread(pursue, goal, imagine_only)

    skills = "; ".join(abilities(agent.world.spec))
    return StructuredTool.from_function(
        func=pursue,
        coroutine=pursue_async,
        name=name,
        description=(
            f"Reach a goal in the environment {agent.world.id}: plans are made, rehearsed in a learned world model,"
            f" and the best one is carried out. It can do: {skills}."
        ),
        args_schema=Goal,
        response_format="content_and_artifact",
    )


class Task(TypedDict, total=False):
    """The state of `gedanken_graph`: a goal, and then the run as one object (`Trace.answer`)."""

    goal: str
    outcome: dict[str, Any]


def gedanken_graph(agent: Agent, session: Session) -> CompiledStateGraph[Task, None, Task, Task]:
    """Return a compiled graph that reaches `goal` in `session` and writes `outcome`; it can be a node of another graph.

    While it works, the stream mode `custom` has ``{"gedanken": what happened, in words}``. A goal that is none is an
    outcome, declined.
    """

    def pursue(state: Task) -> Task:
        trace, write, here = Trace(), get_stream_writer(), contextvars.copy_context()

        def hear(event: Event) -> None:
            trace(event)
            here.run(write, {"gedanken": tell(event)})

        with session.alone:
            try:
                outcome = _apart(agent.run, state["goal"], session, on_event=hear)
            except GoalError as error:
                return {"outcome": {"status": "declined", "success": False, "message": str(error)}}
        return {"outcome": trace.answer(outcome)}

    return StateGraph(Task).add_node("gedanken", pursue).add_edge(START, "gedanken").compile()


def _apart(work: Callable[..., Outcome], *arguments: Any, **named: Any) -> Outcome:
    """Work as if no other graph were under way: the agent's own keeps its state in its own place."""
    return contextvars.Context().run(work, *arguments, **named)


def say(outcome: Outcome) -> str:
    """Return an outcome in one short text."""
    plan = f" Plan: {' → '.join(outcome.plan.split(chr(10)))}." if outcome.plan else ""
    predicted = f" Predicted success: {outcome.predicted:.0%}." if outcome.predicted is not None else ""
    return f"{outcome.status.replace('_', ' ')}: {outcome.message}.{plan}{predicted}"
