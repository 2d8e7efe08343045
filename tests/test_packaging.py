"""The wheel lists every folder, the links agree with it, and imports point one way."""

import ast
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
MAY_IMPORT = {
    "worlds": set(),
    "prompts": set(),
    "worldmodel": {"worlds"},
    "agent": {"worlds", "prompts", "worldmodel"},
    "tools": {"worlds", "prompts", "worldmodel", "agent"},
    "evals": {"worlds", "prompts", "worldmodel", "agent", "tools"},
}


def imported_folders(file: Path) -> Iterator[str]:
    """Yield our folder behind each import of ours in `file`, or `gedanken` for the facade's own modules."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, *rest = name.split(".")
            if package == "gedanken":
                yield rest[0] if rest and rest[0] in MAY_IMPORT else "gedanken"


def test_packages_are_the_folders_with_code() -> None:
    folders = [init.parent for init in ROOT.glob("*/__init__.py") if init.parent.name not in ("gedanken", "tests")]
    code = {file.parent.relative_to(ROOT) for folder in folders for file in folder.rglob("*.py")}
    assert sorted(SETUPTOOLS["packages"]) == ["gedanken", *sorted(".".join(("gedanken", *path.parts)) for path in code)]
    assert SETUPTOOLS["package-dir"] == {f"gedanken.{folder.name}": folder.name for folder in folders}


def test_links_say_what_package_dir_says() -> None:
    links = {f"gedanken.{path.name}": os.readlink(path) for path in (ROOT / "gedanken").iterdir() if path.is_symlink()}
    assert links == {package: f"../{folder}" for package, folder in SETUPTOOLS["package-dir"].items()}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder: str) -> None:
    wrong = {
        f"{file.relative_to(ROOT)} imports {target}"
        for file in (ROOT / folder).rglob("*.py")
        for target in imported_folders(file)
        if target != folder and target not in MAY_IMPORT[folder]
    }
    assert not wrong
