"""A chat in a process of its own, with slow actions, so that a test can kill it: HOME_FOLDER [--continue]."""

import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from doubles import agent_in
from rich.console import Console

from gedanken.talk import converse

signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background hands down that it is ignored
home, slow = Path(sys.argv[1]), float(sys.argv[2])
with agent_in(home, lambda prompt: ["go_to(red key)\n"]) as agent:
    controller: Any = agent.trained.controller
    controller.before = lambda: time.sleep(slow)
    converse(agent, Console(highlight=False, width=200), seed=3, yes=True, go_on="--continue" in sys.argv)
