"""A real HTTP server on a free port of this machine, for tests."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from gedanken.tools.guard import Guard, server
from gedanken.tools.runs import Runs
from gedanken.tools.service import service


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
