"""docs/evals.md is carried out as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from gedanken.cli import ERROR, REACHED, run
from gedanken.evals.main import SUITES
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import Trained

PAGE = (Path(__file__).parents[2] / "docs" / "evals.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's files, and a tiny checkpoint in the place of the one that ships."""
    for block, name in re.findall(r"```\w+\n(# file: (\S+)\n.*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(block, encoding="utf-8")
    kitchen = (tmp_path / "kitchen.toml").read_text()
    (tmp_path / "typo.toml").write_text('[[tasks]]\nworld = "BabyAI-GoToLocal-v0"\ngaol = "x"\n')
    monkeypatch.chdir(tmp_path)
    checkpoint.save(Trained(trained.model, trained.controller, "tiny"), checkpoint.home() / "checkpoints" / "tiny")
    assert 'name = "ball, then key"' in kitchen
    return tmp_path


def test_the_page_works_as_it_stands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line) for line in re.findall(r"^\$ gedanken (.*)$", PAGE, re.MULTILINE)]
    kitchen, typo, straight = commands
    assert run([*kitchen, "--checkpoint", "tiny"]) == REACHED
    said = capsys.readouterr().out
    assert all(task in said for task in ("BabyAI-GoToLocal-v0", "go to, other words", "ball, then key"))
    assert run([*straight, "--checkpoint", "tiny"]) == REACHED
    assert "straight" in (said := capsys.readouterr().out) and "100.0 [43.9, 100.0]" in said
    assert run(typo) == ERROR
    assert capsys.readouterr().err.strip() in PAGE
    runs = sorted((folder / "runs").iterdir())
    for file in ("run.json", "samples.jsonl", "summary.json"):
        assert (runs[0] / file).exists() and f"`{file}`" in PAGE
    assert run(["eval", "--rerun", "last", "--json"]) == REACHED
    assert run(["compare", str(runs[1]), str(sorted((folder / "runs").iterdir())[2])]) == REACHED


def test_every_suite_and_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--help"]) == REACHED
    help = " ".join(capsys.readouterr().out.split())
    for suite in SUITES:
        assert f"| `{suite}` |" in PAGE, suite
        assert suite in help, suite
    others = {"--fail-on-regression", "--model"}  # `gedanken compare` has the one, `inspect eval` the other
    for option in set(re.findall(r"(?<!-)--[a-z][a-z-]+", PAGE)) - others:
        assert option in help, option
