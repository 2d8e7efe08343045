"""`gedanken mcp` with a scripted agent whose every part prints, for a test of what reaches stdout."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))


def script(prompt: str) -> list[str]:
    """Say a plan, and print where nothing may be printed."""
    print("a library prints")
    os.write(1, b"a C library prints\n")
    return ["go_to(red key)\n"]


@contextlib.contextmanager
def open_agent(world: str, config: Any, *, keep: bool = True) -> Iterator[Any]:
    """Stand in for the real one."""
    from doubles import agent_in

    print("loading prints")
    with agent_in(Path(sys.argv[1]), script, level=world, config=config) as agent:
        yield agent


if __name__ == "__main__":
    from gedanken.agent import loading

    loading.open_agent = open_agent  # type: ignore[assignment]
    from gedanken.cli import run

    sys.exit(run(["mcp", "--seed", "3", "--preset", "debug", "--learn-steps", "0", *sys.argv[2:]]))
