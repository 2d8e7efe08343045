import asyncio
from pathlib import Path

from doubles import agent_in

from gedanken.tools.langchain import gedanken_tool

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
