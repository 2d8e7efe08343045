"""The conversation: goals, commands, typing, Ctrl-C, kill -9 and --continue."""

import contextlib
import fcntl
import io
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from doubles import Stage, WordCritic, agent_in
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from gedanken.agent.agent import Agent
from gedanken.agent.chat.commands import COMMANDS, table
from gedanken.agent.chat.completion import suggestions
from gedanken.agent.chat.conversation import Chat
from gedanken.agent.chat.vocabulary import things
from gedanken.agent.events import StepStarted
from gedanken.agent.interrupts import Interrupts
from gedanken.agent.journal import Journal
from gedanken.agent.llm.scripted import ScriptedModel
from gedanken.agent.session import Session, SessionError
from gedanken.agent.verdict import Verdict
from gedanken.terminal import Completions, Terminal
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.learn import LearnReport
from gedanken.worlds.babyai import level_ids

Start = Callable[..., "subprocess.Popen[str]"]
PROCESS = Path(__file__).with_name("chat_process.py")
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_in(tmp_path, lambda prompt: ["go_to(red key)\n"]) as agent:
        yield agent


class Typed:
    """A person whose lines are known beforehand; where one is an exception, it is raised."""

    def __init__(self, lines: Sequence[str | BaseException], *, stays: bool = True) -> None:
        self.lines, self.stays = list(lines), stays
        self.asked: list[tuple[str, str]] = []

    def line(self) -> str:
        if not self.lines:
            raise EOFError
        said = self.lines.pop(0)
        if isinstance(said, BaseException):
            raise said
        return said

    def answer(self, question: str, text: str = "") -> str:
        self.asked.append((question, text))
        return self.line()


def begin(agent: Agent, *lines: str | BaseException, yes: bool = True, terminal: bool = False) -> Chat:
    """A chat to which these lines will be typed, in a level with a red key, a grey ball and a blue one."""
    find: Any = Stage
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal)
    return Chat(
        agent,
        agent.session(3),
        console,
        Typed(lines),
        yes=yes,
        find_world=find,
        find_llm=lambda name: ScriptedModel([[f"{name}\n"]], name=name),
        worlds=level_ids(),
    )


def heard(chat: Chat) -> str:
    """What a chat answers, when all has been typed."""
    chat.run()
    screen: Any = chat.console.file
    return str(screen.getvalue())


def talk(agent: Agent, *lines: str | BaseException, yes: bool = True) -> str:
    """What a chat answers to lines typed."""
    return heard(begin(agent, *lines, yes=yes))


# ---- goals -----------------------------------------------------------------------------------------------------------


def test_a_goal_is_answered_in_words(agent: Agent) -> None:
    said = talk(agent, "go to the red key", "/why", "/history", "/quit", "never read")
    assert "Reached: go_to(red key), every step achieved in" in said and "90 % had been expected" in said
    assert "I expect it to work: 90 % (45–95 %), in about 1 action." in said and "Kept as episode 1" in said
    assert "Beforehand: I expect it to work" in said and "the critic expects 90%" in said and "works out" in said
    assert "1  go to the red key: reached" in said
    assert "\x1b" not in said


def test_doubt_is_said(tmp_path: Path) -> None:
    class Doubtful(WordCritic):
        def judge(self, *arguments: Any) -> list[Verdict]:
            doubts = {"disagreement": 0.3, "satisfies": 0.4, "carried_out": 0.5, "success": 0.3}
            return [verdict.model_copy(update=doubts) for verdict in super().judge(*arguments)]

    with agent_in(tmp_path, lambda prompt: ["go_to(red key)\n"], critic=Doubtful(adds=" of it")) as agent:
        said = talk(agent, "/imagine go to the red key", "/why")
    assert "I doubt it: 30 %" in said and "I give 40 %" in said and "The critic expects 90% of it." in said
    assert "unsure here (0.30 nats" in said


def test_a_plan_is_drawn_in_a_terminal(agent: Agent) -> None:
    said = heard(begin(agent, "go to the red key", terminal=True))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert "\x1b[" in said and "▲" in plain and "⚷" in plain
    assert "✓ go_to(red key)" in plain and "100 % by action 1" in plain and "at action" in plain


def test_imagining_does_nothing(agent: Agent) -> None:
    said = talk(agent, "/imagine go to the red key", "/plan go to the red key", "/history")
    assert said.count("Only imagined, nothing was done.") == 2 and "No goals yet" in said
    assert agent.store is not None and len(agent.store) == 0


def test_approval(agent: Agent) -> None:
    assert "you did not approve" in talk(agent, "go to the red key", "n", yes=False)
    assert "you did not approve" in talk(agent, "go to the red key", yes=False)
    assert "Please answer y or n" in (said := talk(agent, "go to the red key", "maybe", "y", yes=False))
    assert "Reached" in said
    chat = begin(agent, "go to the red key", "/history", yes=False)
    chat.person.stays = False
    assert "you did not approve" in heard(chat)  # a pipe is asked once
    said = talk(agent, "/approve", "/approve always", "go to the red key", "/approve ask", yes=False)
    assert "now it is ask" in said and "Reached" in said and "I ask before I act" in said


def test_bad_goals_do_not_end_it(agent: Agent) -> None:
    said = talk(agent, "x" * 3000, "a\x07b", "/imagine", "go to the red key")
    assert "3,000 characters" in said and "U+0007" in said and "the goal is empty" in said and "Reached" in said


def test_whatif_rehearses_a_plan_of_ones_own(agent: Agent) -> None:
    said = talk(agent, "/imagine go to the red key", "/whatif go_to(grey ball); pick_up(grey ball)", "/history")
    assert "go_to(grey ball) → pick_up(grey ball)" in said and "No goals yet" in said
    assert "there is no goal yet" in talk(agent, "/whatif go_to(grey ball)")


def test_edit_runs_another_plan(agent: Agent) -> None:
    chat = begin(agent, "go to the red key", "/edit", "go_to(grey ball)", "y", "/edit go_to(red key)", "n", "/edit", "")
    chat.person.lines.insert(1, "n")  # type: ignore[attr-defined]
    chat.yes = False
    said = heard(chat)
    assert ("Plan: ", "go_to(red key)") in chat.person.asked  # type: ignore[attr-defined]
    assert "Reached: go_to(grey ball)" in said and said.count("you did not approve") == 2
    assert "Nothing was changed." in said
    assert agent.store is not None and len(agent.store) == 1


def test_edit_begins_from_the_likeliest_plan_where_none_was_chosen(agent: Agent) -> None:
    agent.llm = ScriptedModel(lambda prompt: ["go_to(purple ball)\n"])
    chat = begin(agent, "go to the purple ball", "/edit", EOFError(), "/history")
    said = heard(chat)
    assert ("Plan: ", "go_to(purple ball)") in chat.person.asked  # type: ignore[attr-defined]
    assert "I did nothing: I know of no purple ball" in said and "Nothing was changed." in said
    assert "1  go to the purple ball: declined" in said


def test_a_plan_of_ones_own_is_neither_revised_nor_declined(tmp_path: Path) -> None:
    critic = WordCritic({"grey ball": 0.01})
    with agent_in(tmp_path, lambda prompt: ["go_to(red key)\n"], critic=critic) as agent:
        chat = begin(agent, "go to the red key", "/edit go_to(grey ball)", "n", "/edit go_to(grey ball)", "y")
        said = heard(chat)
    assert "1 % expected" in chat.person.asked[0][0]  # type: ignore[attr-defined]  # although nothing else is asked
    assert "you did not approve" in said and "Reached: go_to(grey ball)" in said and "I plan anew" not in said


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ("pick_up red key", "step 1: not a step: 'pick_up red key'"),
        ("go_to(red key); pickup(red key)", "step 2: no skill 'pickup'"),
        ("go_to(red key); pickup(red key)", "Did you mean pick_up?"),
        ("go_to(purpel ball)", "Did you mean purple?"),
        ("go_to(red)", "choose from ball, box, door, key, object"),
        ("; ;", "a plan has 1 to 6 steps, parted by `;`, this one has 0"),
    ],
)
def test_a_plan_that_is_none_is_explained(agent: Agent, plan: str, told: str) -> None:
    assert told in talk(agent, "/imagine go to the red key", f"/whatif {plan}")


# ---- conversations ---------------------------------------------------------------------------------------------------


def test_undo_goes_back_to_before_the_last_goal(agent: Agent) -> None:
    chat = begin(
        agent, "go to the red key", "/edit go_to(grey ball)", "/undo", "/history", "/undo", "/history", "/undo"
    )
    before = [chat.session.view.copy()]
    said = heard(chat)
    assert "Its episode 2 stays stored" in said and "Its episode 1 stays stored" in said
    assert said.count("1  go to the red key: reached") == 1 and "2  go" not in said and "No goals yet" in said
    assert "nothing to undo" in said
    assert (chat.session.view == before[0]).all() and agent.store is not None and len(agent.store) == 2


def test_what_was_undone_stays_undone(agent: Agent) -> None:
    chat = begin(agent, "go to the red key", "/edit go_to(grey ball)", "/undo")
    heard(chat)
    assert agent.journal is not None
    last = agent.journal.last()
    assert last is not None
    again = Session.replay(agent.world, agent.trained, last, agent.journal)
    assert again.actions == chat.session.actions and len(agent.journal.turns(last.id)) == 1
    assert "Reached" in talk(agent, "go to the red key")


def test_a_conversation_that_does_not_replay_is_not_gone_back_to(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Session:
        raise SessionError("it does not replay")

    monkeypatch.setattr(Session, "replay", refuse)
    chat = begin(agent, "go to the red key", "/undo", "/history")
    said = heard(chat)
    assert "it does not replay" in said and "1  go to the red key: reached" in said
    assert agent.journal is not None and agent.journal.last() == chat.session.conversation


def test_what_failed_is_not_finished(agent: Agent) -> None:
    agent.llm = ScriptedModel([])
    said = talk(agent, "go to the red key", "/history", "/why")
    assert "no answer left" in said and "1  go to the red key: not finished, 0 actions" in said


def test_save_and_load(agent: Agent) -> None:
    said = talk(agent, "go to the red key", "/save one", "/edit go_to(grey ball)", "/load one", "/history", "/save one")
    assert "Saved as one; /load one" in said and "Back in one, after 1 goal." in said
    assert "1  go to the red key" in said and "2  go" not in said and "in place of what had that name" in said
    agent.world = Stage("BabyAI-OpenDoor-v0")
    chat = begin(agent, "/load one", "/why")
    assert "Reached: go_to(red key)" in heard(chat) and chat.agent.world.id == "BabyAI-GoToLocal-v0"


def test_names_that_do_not_serve(agent: Agent) -> None:
    said = talk(agent, "/load one", "/save ../one", "/save", "/save one", "/load two")
    assert "no conversation is saved as one; none was saved yet" in said
    assert said.count("a conversation's name is 1 to 64 letters") == 2
    assert "no conversation is saved as two; there are one" in said


def test_world_shows_and_changes(agent: Agent) -> None:
    bad = ["/world nowhere", "/world a b c", "/world 99999999999999999999", "/world [/]", "/world ²"]
    said = talk(agent, "/world", "/world 7", "/world BabyAI-OpenDoor-v0 2", *bad)
    assert "from 0 to 1,073,741,823" in said and "unknown world '[/]'" in said and "unknown world '²'" in said
    assert (
        "seed 7" in said and "BabyAI-OpenDoor-v0, seed 2" in said and "unknown world" in said and "write /world" in said
    )


# ---- the agent -------------------------------------------------------------------------------------------------------


def test_help_knows_every_command(agent: Agent) -> None:
    said = talk(agent, "/help", "/help why", "/nonsense", "/hepl", "/")
    for command in COMMANDS.values():
        assert command.usage in said and command.help in said
    assert said.count("Show side by side") == 3 and "go_to(object)" in said
    assert "no command /nonsense; there are /imagine" in said and "no command /hepl; did you mean /help?" in said


def test_the_readme_has_every_command() -> None:
    assert table() in README.read_text()


def test_another_language_model(agent: Agent) -> None:
    said = talk(agent, "/llm", "/llm [/bold]", "/llm go_to(red key)", "/imagine go to the red key", "/models")
    assert "scripted writes the plans" in said and "go_to(red key) writes the plans" in said
    assert "Only imagined" in said and "world model" in said
    assert agent.config.llm == "go_to(red key)"


def test_learning_now(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def learn(trained: Any, store: Any, *, steps: int, seed: int) -> LearnReport:
        asked.append(steps)
        return LearnReport(steps, {"views": 2.0}, {"views": 1.5}, Path("/somewhere/babyai-1"), 0.1)

    monkeypatch.setattr("gedanken.worldmodel.learn.learn", learn)
    said = talk(agent, "/learn", "/learn 0", "/learn many", "/learn 3")
    assert asked == [3] and "--learn-steps is 0" in said and said.count("1 to 10,000 steps") == 2
    assert "Learnt: 3 gradient steps, loss 2.000 → 1.500, into checkpoint babyai-1." in said
    assert "views: 2.000 → 1.500" in said


def test_learning_from_nothing(agent: Agent) -> None:
    assert "no episode of this world is stored yet" in talk(agent, "/learn 3")


# ---- typing ----------------------------------------------------------------------------------------------------------


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


def test_typing_in_a_terminal(tmp_path: Path) -> None:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        terminal = Terminal(tmp_path / "new" / "history", lambda line: [], lambda: "standing")
        keys.send_text("one\x1b\rtwo\r")  # Alt-Enter begins another line
        assert terminal.line() == "one\ntwo"
        keys.send_text("y\r")
        assert terminal.answer("Do it? ") == "y"
        keys.send_text("\r")
        assert terminal.answer("Plan: ", "go_to(red key)") == "go_to(red key)"
        keys.send_text("half\x03")
        with pytest.raises(KeyboardInterrupt):
            terminal.line()
        keys.send_text("\x04")
        with pytest.raises(EOFError):
            terminal.line()
    kept = (tmp_path / "new" / "history").read_text()
    assert "+one\n+two" in kept and "+y" not in kept


def test_ctrl_c_at_the_prompt_begins_another_line(agent: Agent) -> None:
    assert "No goals yet" in talk(agent, KeyboardInterrupt(), "/history")
    chat = begin(agent, KeyboardInterrupt(), "/history")
    chat.person.stays = False
    with pytest.raises(KeyboardInterrupt):
        chat.run()


def test_ctrl_c_during_a_run_comes_back_to_the_prompt(agent: Agent) -> None:
    controller: Any = agent.trained.controller
    controller.before = lambda: signal.raise_signal(signal.SIGINT)  # in the middle of the first action
    handler = signal.getsignal(signal.SIGINT)
    chat = begin(agent, "go to the red key", "/history", "/undo", "/history")
    said = heard(chat)
    assert "Interrupted after 1 action; they are kept" in said and "1  go to the red key: interrupted, 1 action" in said
    assert "1 action undone. Its episode 1 stays stored" in said and "No goals yet" in said
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        interrupts(StepStarted(index=0, of=1, step="go_to(red key)"))
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_thinking_or_learning(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*arguments: Any, **more: Any) -> Any:
        signal.raise_signal(signal.SIGINT)

    agent.config = agent.config.model_copy(update={"learn_steps": 3})
    monkeypatch.setattr("gedanken.worldmodel.learn.learn", press)
    said = talk(agent, "go to the red key", "/history")
    assert (
        "Reached" in said
        and "Learning was stopped" in said
        and "Interrupted" not in said
        and "1  go to the red key: reached" in said
    )
    assert agent.store is not None and len(agent.store) == 1
    agent.llm.complete = press  # type: ignore[method-assign]
    said = talk(agent, "go to the red key", "/history")
    assert "Interrupted; nothing was done." in said and len(agent.store) == 1


# ---- processes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def chat() -> Iterator[Start]:
    """Start chats in processes of their own; whatever is left of them at the end is killed."""
    with contextlib.ExitStack() as stack:

        def start(home: Path, slow: float, *more: str) -> subprocess.Popen[str]:
            process = stack.enter_context(_process(home, slow, *more))
            stack.callback(process.kill)
            return process

        yield start


def _process(home: Path, slow: float, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROCESS), str(home), str(slow), *more]
    environment = {**os.environ, "GEDANKEN_HOME": str(home)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def wait_for_actions(home: Path, count: int) -> None:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        if (home / "journal.sqlite").exists():
            with Journal(home / "journal.sqlite") as journal:
                last = journal.last()
                if last and sum(a.done and a.turn is not None for a in journal.actions(last.id)) >= count:
                    return
        time.sleep(0.05)
    raise AssertionError("nothing was done in 150 s")


def read_until(screen: int, pattern: str) -> None:
    said, deadline = "", time.monotonic() + 150
    while not re.search(pattern, said, re.DOTALL):
        ready, _, _ = select.select([screen], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, said
        said += os.read(screen, 65536).decode(errors="replace")


def test_ctrl_c_in_a_terminal_comes_back_to_the_prompt(tmp_path: Path) -> None:
    keys, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, str(PROCESS), str(tmp_path), "0.5"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C becomes a signal
        env={**os.environ, "GEDANKEN_HOME": str(tmp_path), "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"},
    ) as process:
        try:
            read_until(keys, "›")
            os.write(keys, b"go to the red key\r")
            read_until(keys, "action 1 …")
            os.write(keys, b"\x03")
            read_until(keys, "Interrupted after.*›")
            os.write(keys, b"\x04")
            assert process.wait(60) == 0
        finally:
            process.kill()
            os.close(keys)
            os.close(terminal)
    with ExperienceStore(tmp_path / "experience.sqlite") as store:
        assert len(store) == 1
    assert (tmp_path / "chat_history").read_text().endswith("+go to the red key\n")


def test_killed_while_acting_it_goes_on(tmp_path: Path, chat: Start) -> None:
    process = chat(tmp_path, 0.5)
    assert process.stdin
    process.stdin.write("go to the red key\n")
    process.stdin.flush()
    wait_for_actions(tmp_path, 2)
    process.kill()
    process.communicate()

    with Journal(tmp_path / "journal.sqlite") as journal:
        conversation = journal.last()
        assert conversation
        before = [a for a in journal.actions(conversation.id) if a.done and a.turn is not None]
        # as if the process had died between the intention and the action
        journal.intend(conversation.id, before[-1].number + 1, before[-1].turn, 2, "go_to(red key)", 0)
    out, err = chat(tmp_path, 0.0, "--continue").communicate("/history\n", timeout=250)
    assert "Traceback" not in err and "Resumes" in out and "never confirmed" in out, (out, err)
    assert "1  go to the red key: reached" in out
    with ExperienceStore(tmp_path / "experience.sqlite") as store:
        [(_, episode)] = store.recent(5)
    assert len(episode) > len(before) and episode.actions[: len(before)].tolist() == [a.action for a in before]
    assert episode.record["outcome"]["success"]
    again, _ = chat(tmp_path, 0.0, "--continue").communicate("/history\n", timeout=250)
    assert "Resumes" not in again and "1  go to the red key: reached" in again


def test_ctrl_c_while_acting(tmp_path: Path, chat: Start) -> None:
    process = chat(tmp_path, 0.5)
    assert process.stdin
    process.stdin.write("go to the red key\n")
    process.stdin.flush()
    wait_for_actions(tmp_path, 1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=150)
    assert "Interrupted after" in out and "--continue" in out
    with ExperienceStore(tmp_path / "experience.sqlite") as store:
        [(_, episode)] = store.recent(5)
    assert len(episode) >= 1 and episode.record["outcome"]["status"] == "interrupted"
