import asyncio
from pathlib import Path
from typing import Any

from doubles import agent_in
from langgraph.graph import START, StateGraph

from gedanken.agent.graph import saver
from gedanken.tools.langchain import Task, gedanken_graph, gedanken_tool

RIGHT = "go_to(red key)\n"


def call(**arguments: object) -> dict[str, object]:
    return {"type": "tool_call", "id": "1", "name": "gedanken", "args": arguments}


def test_content_is_short_and_the_artifact_is_everything(tmp_path: Path) -> None:
    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        tool = gedanken_tool(agent, agent.session(3))
        said = tool.invoke(call(goal="go to the red key"))
        assert said.content.startswith("reached:") and len(said.content) < 300
        assert said.artifact["success"] and said.artifact["actions"] and said.artifact["proposals"][0]["verdicts"]


def test_async_imagining_and_refusing(tmp_path: Path) -> None:
    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        session = agent.session(3)
        tool = gedanken_tool(agent, session)
        said = asyncio.run(tool.ainvoke(call(goal="go to the red key", imagine_only=True)))
        assert said.content.startswith("imagined") and session.spent == 0
        assert tool.invoke(call(goal=" ")).content.startswith("declined:")


def test_a_graph_in_another_graph_keeps_its_state_apart(tmp_path: Path) -> None:
    """Also where the other one keeps its own, under the same thread's name."""
    with agent_in(tmp_path, lambda prompt: [RIGHT]) as agent:
        session = agent.session(3)
        outer = StateGraph(Task)
        outer.add_node("go", gedanken_graph(agent, session))
        outer.add_edge(START, "go")
        kept = saver(tmp_path / "outer.sqlite")
        graph = outer.compile(checkpointer=kept)
        config: Any = {"configurable": {"thread_id": "mine"}}
        outcome = graph.invoke({"goal": "go to the red key"}, config)["outcome"]
        assert outcome["status"] == "reached" and outcome["stored"]["episode"] == 1
        assert session.conversation and agent.journal
        [turn] = agent.journal.turns(session.conversation.id)
        agents_own: Any = {"configurable": {"thread_id": f"{session.conversation.id}-{turn.id}"}}
        assert agent._graph.get_state(agents_own).values["outcome"]["status"] == "reached"
        assert not [key for key in graph.get_state(config).values if key not in ("goal", "outcome")]
        declined = graph.invoke({"goal": " "}, config)["outcome"]
        assert declined["status"] == "declined" and "empty" in declined["message"]
        kept.conn.close()
