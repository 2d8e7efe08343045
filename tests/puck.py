"""The page on pictures has an environment; tests use it."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "pictures.md").read_text(encoding="utf-8")
FILES = {name: block for block, name in re.findall(r"```\w+\n(# file: (\S+)\n.*?)```", PAGE, re.DOTALL)}


def write_files(folder: Path) -> Path:
    """Write the page's files into a folder and return it."""
    for name, block in FILES.items():
        (folder / name).write_text(block, encoding="utf-8")
    return folder
