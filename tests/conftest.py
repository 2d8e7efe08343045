"""Makes `tests/doubles.py` importable, and keeps every test away from the user's own data."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("gedanken", deadline=None, derandomize=True, database=None)  # the same on every machine
settings.load_profile("gedanken")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path / "home"))
