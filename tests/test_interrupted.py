"""Ctrl-C in a loop: no traceback, the right exit code, every action taken is kept. Run by `make test-kill`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPTING = Path(__file__).with_name("interrupting.py")


@pytest.mark.kill
@pytest.mark.timeout(3600)
def test_interrupted_again_and_again(tmp_path: Path) -> None:
    command = [sys.executable, str(INTERRUPTING), str(tmp_path), "30", os.environ.get("SEED", "0")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(happened := json.loads(done.stdout))
    assert all(found["acting"] for found in happened.values())
