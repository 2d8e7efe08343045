"""kill -9 in a loop: no corrupt store, no lost episode, no action silently repeated. Run by `make test-kill`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLING = Path(__file__).with_name("killing.py")


@pytest.mark.kill
@pytest.mark.timeout(3600)
def test_killed_again_and_again(tmp_path: Path) -> None:
    kills, seed = os.environ.get("KILLS", "200"), os.environ.get("SEED", "0")
    done = subprocess.run([sys.executable, str(KILLING), str(tmp_path), kills, seed], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    happened = json.loads(done.stdout)
    print(happened)
    assert happened["resumed"] and happened["stored"] and happened["unknown"] and happened["learnt"]
    assert happened["acted"] >= int(kills) / 4, "the lives were too short to act in"
