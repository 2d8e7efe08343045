"""`gedanken doctor`: what is broken is found, and said with what to do."""

import json
import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from gedanken import doctor
from gedanken.agent.journal import Journal
from gedanken.agent.llm import fetch
from gedanken.cli import run
from gedanken.worldmodel.checkpoint import Trained, build, home, save
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC

Checked = Callable[..., dict[str, str]]


@pytest.fixture
def learned() -> Path:
    """A checkpoint of one's own."""
    model, controller = build(SPEC, "spatial", SIZES["debug"].model_dump())
    return save(Trained(model, controller, "mine"), home() / "checkpoints" / "mine")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Checked:
    """Return what makes some of the checks only, and returns what they say."""
    checks = dict(doctor.CHECKS)

    def check(*names: str) -> dict[str, str]:
        monkeypatch.setattr(doctor, "CHECKS", {name: checks[name] for name in names})
        code = run(["doctor", "--json"])
        said = json.loads(capsys.readouterr().out)
        assert said["ok"] == (code == 0)
        return {one["check"]: f"{'' if one['ok'] else 'FAIL '}{one['message']}" for one in said["checks"]}

    return check


def test_what_is_well_is_said(learned: Path, checked: Checked) -> None:
    Journal(home() / "journal.sqlite").close()
    said = checked("machine", "python", "packages", "checkpoints", "conversations")
    assert not [message for message in said.values() if message.startswith("FAIL")], said
    assert "cores" in said["machine"] and said["checkpoints"].startswith("1, all readable")
    assert said["packages"].startswith("all as asked for; extras: ") and "serve" in said["packages"]


def test_what_is_damaged_is_named(learned: Path, checked: Checked) -> None:
    os.truncate(learned / "model.safetensors", 100)
    (home() / "runs.sqlite").write_bytes(b"no database at all " * 500)
    Journal(home() / "journal.sqlite").close()
    said = checked("checkpoints", "conversations")
    assert said["checkpoints"].startswith("FAIL mine can't be read") and "delete them" in said["checkpoints"]
    assert "runs.sqlite" in said["conversations"] and "move the file away" in said["conversations"]
    (learned / "config.json").write_text("{")
    (home() / "journal.sqlite").write_bytes(b"no database at all " * 500)
    said = checked("checkpoints", "conversations")
    assert said["checkpoints"].startswith("FAIL mine can't be read")
    assert "journal.sqlite" in said["conversations"] and "move the file away" in said["conversations"]


def test_a_package_of_another_version_is_named(monkeypatch: pytest.MonkeyPatch, checked: Checked) -> None:
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.0" if name == "torch" else version(name))
    assert "FAIL torch is 1.0, ==2.13.0 is needed: install" in checked("packages")["packages"]


def test_a_model_in_the_cache_that_changed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: Checked
) -> None:
    monkeypatch.setattr(fetch, "model_folder", lambda: tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"x": {"bytes": 3, "sha256": "0"}}}))
    (tmp_path / "x").write_text("abc")
    said = checked("language model")["language model"]
    assert said.startswith("FAIL ") and "x has another SHA-256" in said and "delete the folder" in said


def test_a_small_machine_is_told(monkeypatch: pytest.MonkeyPatch, checked: Checked) -> None:
    monkeypatch.setattr(doctor, "NEEDED_MEMORY_GB", 1e6)
    assert "the models need a machine with at least" in checked("machine")["machine"]
