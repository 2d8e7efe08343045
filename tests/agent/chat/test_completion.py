"""What completes a line, and the words it is taken from."""

from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from talking import begin, heard

from gedanken.agent.agent import Agent
from gedanken.agent.chat.completion import suggestions
from gedanken.agent.chat.vocabulary import things
from gedanken.terminal import Completions


def test_what_completes_a_line(agent: Agent) -> None:
    chat = begin(agent, "/save one")
    heard(chat)
    offered = {line: [text for text, _ in suggestions(line, chat)] for line in LINES}
    assert offered["/w"] == ["/whatif", "/why", "/world"]
    assert "BabyAI-PickupLoc-v0" in offered["/world pickup"]
    assert offered["/load "] == ["one"] and offered["/approve a"] == ["always", "ask"]
    assert things(chat.agent.world.spec, chat.session.known()[0]) == SEEN
    assert offered["/whatif pick_up(re"] == ["red key", "red ball", "red box", "red"]
    assert offered["/whatif pi"] == ["pick_up("] and offered["/nonsense x"] == offered["/why r"] == []
    assert offered["go to the red b"] == ["red ball", "red box", "blue", "ball", "box", "behind you"]
    document = Document("/whatif pick_up(grey b", 22)
    found = Completions(lambda line: suggestions(line, chat)).get_completions(document, CompleteEvent())
    assert [(one.text, one.start_position) for one in found] == [
        ("grey ball", -6),
        ("blue", -1),
        ("ball", -1),
        ("box", -1),
        ("behind you", -1),
    ]


LINES = (
    "/w",
    "/world pickup",
    "/load ",
    "/approve a",
    "/whatif pick_up(re",
    "/whatif pi",
    "/nonsense x",
    "/why r",
    "go to the red b",
)


SEEN = ["red key", "red ball", "grey ball", "red box", "green box"]
