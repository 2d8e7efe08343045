"""Servers that misbehave on a real socket, and a run that asks them: few tries, a clear error, and no action."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doubles import agent_in

from gedanken.agent.llm import LLMError, ServerError
from gedanken.agent.llm.openai_compatible import ServerModel

Manner = Callable[[socket.socket], None]
JSON = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"


def drips(line: socket.socket) -> None:
    line.sendall(JSON + b"Content-Length: 4000\r\n\r\n{")
    with contextlib.suppress(OSError):
        for _ in range(100):
            line.sendall(b" ")
            time.sleep(0.05)


def says(*parts: bytes) -> Manner:
    return lambda line: line.sendall(b"".join(parts))


MANNERS: dict[str, tuple[Manner, str]] = {
    "silent": (lambda line: time.sleep(0.6), "no answer in time"),
    "drips": (drips, "no answer in time"),
    "hangs up": (lambda line: None, "disconnected"),
    "cut": (says(JSON, b'Content-Length: 400\r\n\r\n{"choices": [{"te'), "closed connection|incomplete"),
    "cut chunk": (says(JSON, b'Transfer-Encoding: chunked\r\n\r\n40\r\n{"choices"'), "closed connection|incomplete"),
    "no HTTP": (says(b"\x00\x01\x02 hello\r\n\r\n"), "status line|illegal|disconnected"),
    "no JSON": (says(JSON, b"Content-Length: 6\r\n\r\n<html>"), "not JSON"),
    "429": (says(b"HTTP/1.1 429 Slow Down\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), "status 429"),
    "500": (says(b"HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), "status 500"),
}


@contextlib.contextmanager
def serving(manner: Manner) -> Iterator[tuple[str, list[int]]]:
    """An address, and the number of times that somebody came."""
    came: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(line: socket.socket) -> None:
            with line, contextlib.suppress(OSError):
                line.recv(65536)
                manner(line)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = listener.accept()
                    came.append(1)
                    threading.Thread(target=answer, args=[line], daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", came
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("kind", MANNERS)
def test_a_bad_server_is_asked_three_times_and_nothing_is_done(kind: str, tmp_path: Path) -> None:
    manner, reason = MANNERS[kind]
    with serving(manner) as (address, came), agent_in(tmp_path, []) as agent:
        agent.llm = ServerModel(address, model="m", timeout_s=0.4, retries=2, sleep=lambda _: None)
        session = agent.session(3, free=False)
        began = time.monotonic()
        with pytest.raises(ServerError, match=f"3 tries .*({reason}).*Is the server up") as error:
            agent.run(session.mission, session)
        assert len(came) == 3 and time.monotonic() - began < 10 and "\n" not in str(error.value)
        assert not session.actions
        agent.llm.close()


def test_nobody_is_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with agent_in(tmp_path, []) as agent:
        agent.llm = ServerModel(f"http://127.0.0.1:{port}/v1", model="m", retries=1, sleep=lambda _: None)
        session = agent.session(3, free=False)
        with pytest.raises(LLMError, match="2 tries .*refused"):
            agent.run(session.mission, session)
        assert not session.actions
        agent.llm.close()
