"""Keep the smallest runs that the tests compare with, and that `make reproduce` does again."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

LEVELS = ("GoToObj", "PutNextLocal", "UnlockLocalDist")
ARMS = ("loop", "oracle-plan", "random", "no-op")
ASKED = {
    "babyai-local": [
        *("babyai-local", "--limit", "10", "--seed", "7"),
        *(part for level in LEVELS for part in ("--task", f"BabyAI-{level}-v0")),
        *(part for arm in ARMS for part in ("--arm", arm)),
    ],
    "world-model": [
        *("world-model", "--limit", "6", "--seed", "7", "--arm", "model"),
        *("--task", "BabyAI-GoToLocal-v0", "--task", "BabyAI-UnlockLocalDist-v0"),
    ],
}
FILES = ("run.json", "samples.jsonl", "summary.json")


def main() -> None:
    """Measure in a folder that goes away, and keep the runs without their charts."""
    from gedanken.cli import run

    reference = Path(__file__).resolve().parent / "reference"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, asked in ASKED.items():
            if run(["eval", *asked]) != 0:
                raise SystemExit(f"{name} could not be measured; what was kept stays")
            [path] = Path("runs").glob(f"*-{name}-*")
            (reference / name).mkdir(parents=True, exist_ok=True)
            for file in FILES:
                shutil.copyfile(path / file, reference / name / file)


if __name__ == "__main__":
    main()
