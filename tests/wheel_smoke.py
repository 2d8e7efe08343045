"""Try a built wheel as a user would: complete, installed in a fresh environment, run outside the repository.

The environment borrows its dependencies from the one that runs this script, but not the editable install in it.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def missing_from(wheel: Path) -> set[str]:
    """Name the committed files of our packages that the wheel lacks."""
    folders = {"gedanken": "gedanken", **{path: f"gedanken/{path}" for path in SETUPTOOLS["package-dir"].values()}}
    listed = subprocess.check_output(["git", "ls-files", "--", *folders], cwd=ROOT, text=True).splitlines()
    files = [Path(name) for name in listed if (ROOT / name).is_file()]
    return {str(folders[file.parts[0]] / file.relative_to(file.parts[0])) for file in files} - set(
        zipfile.ZipFile(wheel).namelist()
    )


def main(wheel: Path) -> None:
    """Fail loudly unless the wheel is complete, imports without a warning, and runs."""
    if missing := missing_from(wheel):
        raise SystemExit(f"{wheel.name} lacks {', '.join(sorted(missing))}: see package-data in pyproject.toml")
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch).resolve()
        venv.create(home / "venv", symlinks=True)
        python = home / "venv/bin/python"
        [site] = (home / "venv/lib").glob("python*/site-packages")
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
        install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel.resolve()]
        subprocess.run(install, check=True)

        imports = f"import {', '.join(SETUPTOOLS['packages'])}; print(gedanken.__file__)"
        env = {"PATH": os.defpath, "HOME": scratch}
        for command in (
            [python, "-W", "error", "-c", imports],
            [home / "venv/bin/gedanken", "--help"],
            [home / "venv/bin/gedanken", "worlds"],
        ):
            done = subprocess.run(command, cwd=home, env=env, stdout=subprocess.PIPE, text=True, check=True)
            if "-c" in command and not Path(done.stdout.strip()).is_relative_to(site):
                raise SystemExit(f"imported {done.stdout.strip()}, not the wheel's gedanken")
            if not done.stdout.strip():
                raise SystemExit(f"{command} said nothing")
    print(f"{wheel.name} is complete, and works outside the repository")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
