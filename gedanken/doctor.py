"""`gedanken doctor`: is everything here and sound? Each check says what to do when it is not."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import click
from packaging.requirements import Requirement

from gedanken.cli import ERROR, REACHED, explain
from gedanken.options import json_option

NEEDED_GB = 1.0
NEEDED_MEMORY_GB = 3.0


class Unwell(Exception):
    """A check failed; the message says what to do."""


def machine() -> str:
    """Say what the machine is, and whether all fits into it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    said = f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB of memory"
    if memory < NEEDED_MEMORY_GB:
        raise Unwell(f"{said}; the models need a machine with at least {NEEDED_MEMORY_GB:.0f} GB")
    return said


def python() -> str:
    """Say which Python runs."""
    return sys.version.split()[0]


def packages() -> str:
    """Compare the packages here with those that are asked for, and name the extras that are all here."""
    extras, wrong = dict[str, bool](), list[str]()
    for requirement in map(Requirement, metadata.requires("gedanken") or ()):
        [extra] = re.findall(r"extra == .(\w+)", str(requirement.marker)) or [""]
        try:
            found = metadata.version(requirement.name)
            fits = requirement.specifier.contains(found, prereleases=True)
        except metadata.PackageNotFoundError:
            found, fits = "not here", False
        if extra:
            extras[extra] = extras.get(extra, True) and fits
        elif not fits:
            wrong.append(f"{requirement.name} is {found}, {requirement.specifier or 'any version'} is needed")
    if wrong:
        raise Unwell(f"{'; '.join(wrong)}: install gedanken again")
    return f"all as asked for; extras: {', '.join(name for name, here in extras.items() if here) or 'none'}"


def torch() -> str:
    """Say which torch there is and what it computes on."""
    import torch as library

    device = library.cuda.get_device_name() if library.cuda.is_available() else "CPU"
    return f"{library.__version__} on {device}, {library.get_num_threads()} threads"


def world() -> str:
    """Make an environment and take one action."""
    from gedanken.agent.loading import load_world

    adapter = load_world("BabyAI-GoToLocal-v0")
    env = adapter.make()
    env.reset(seed=0)
    env.step(0)
    env.close()
    return f"{adapter.id} resets and steps; spec {adapter.spec.hash}"


def checkpoint() -> str:
    """Load every world model that ships; those of worlds whose packages are not here are left out, and named."""
    from gedanken.agent.loading import load_trained, load_world
    from gedanken.worldmodel.checkpoint import SHIPPED, available
    from gedanken.worlds.gym_world import GymWorld
    from gedanken.worlds.protocol import WorldError
    from gedanken.worlds.shipped import shipped_adapters

    loaded, without = list[str](), list[str]()
    for info in available():
        if info.path.parent != SHIPPED:
            continue
        try:
            ours = shipped_adapters().get(info.spec_name)
            world = GymWorld(ours, info.spec_name) if ours else load_world("BabyAI-GoToLocal-v0")
        except WorldError as error:
            without.append(f"{info.name}: {error}")
            continue
        loaded.append(load_trained(str(info.path), world).name)
    return "; ".join([f"{', '.join(loaded)} load, from {SHIPPED}", *without])


def own_checkpoints() -> str:
    """Look into every checkpoint that was learned here."""
    from safetensors import SafetensorError, safe_open

    from gedanken.worldmodel.checkpoint import available, home

    folder = home() / "checkpoints"
    mine = {info.name: info.path for info in available() if info.path.parent == folder}
    damaged = sorted({file.parent.name for file in folder.glob("[!.]*/config.json")} - mine.keys())
    for name, path in mine.items():
        try:
            with safe_open(path / "model.safetensors", "pt"):
                pass
        except (OSError, SafetensorError):
            damaged.append(name)
    if damaged:
        raise Unwell(f"{', '.join(damaged)} can't be read, in {folder}; delete them, and name others with --checkpoint")
    return f"{len(mine)}, all readable, in {folder}" if mine else "none yet; learning makes them"


def language_model() -> str:
    """Compare the language model in the cache with its sums."""
    from gedanken.agent.llm.fetch import problems
    from gedanken.upkeep import language_model as find

    model = find()
    if not model["here"]:
        raise Unwell(f"not in {model['path']} yet; the first run fetches it (600 MB), with a network")
    if damage := problems(Path(model["path"])):
        raise Unwell(f"{model['path']}: {'; '.join(damage)}; delete the folder, the next run fetches it anew")
    return f"sound, in {model['path']}"


def store() -> str:
    """Read every stored episode."""
    from gedanken.agent.loading import places
    from gedanken.worldmodel.experience import ExperienceStore

    path = places().store
    if not path.exists():
        return f"{path} does not exist yet; the first episode makes it"
    with ExperienceStore(path) as episodes:
        episodes.check()
        return f"{len(episodes)} episodes, all sound, in {path}"


def journal() -> str:
    """Look through the conversations, and through the goals under way."""
    from gedanken.agent.journal import Journal
    from gedanken.agent.loading import places
    from gedanken.worldmodel.experience_file import explained

    if not places().journal.exists():
        return f"{places().journal} does not exist yet; the first conversation makes it"
    with Journal(places().journal) as conversations:
        conversations.check()
    if places().runs.exists():
        try:
            with contextlib.closing(sqlite3.connect(f"{places().runs.as_uri()}?mode=ro", uri=True)) as runs:
                [[said]] = runs.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.Error as error:
            raise explained(places().runs, error) from error
        if said != "ok":
            raise Unwell(f"{places().runs}: {said}; move the file away: goals under way are lost, and nothing else")
    return f"sound, in {places().journal}"


def disk() -> str:
    """Look for room where data are kept."""
    from gedanken.worldmodel.checkpoint import home

    folder = home()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if free < NEEDED_GB:
        raise Unwell(f"{free:.1f} GB free in {folder}; make room for at least {NEEDED_GB:.0f} GB")
    return f"{free:.0f} GB free in {folder}"


CHECKS: dict[str, Callable[[], str]] = {
    "machine": machine,
    "python": python,
    "packages": packages,
    "torch": torch,
    "world": world,
    "world model": checkpoint,
    "checkpoints": own_checkpoints,
    "language model": language_model,
    "experience": store,
    "conversations": journal,
    "disk": disk,
}


@click.command(name="doctor")
@json_option
def doctor_command(as_json: bool) -> int:
    """Check that everything needed is here and sound."""
    results = []
    for name, check in CHECKS.items():
        try:
            well, said = True, check()
        except Unwell as error:
            well, said = False, str(error)
        except Exception as error:
            well, said = False, explain(error)
        results.append({"check": name, "ok": well, "message": said})
        if not as_json:
            click.echo(f"{'ok  ' if well else 'FAIL'}  {name:<15} {said}")
    if as_json:
        click.echo(json.dumps({"ok": all(r["ok"] for r in results), "checks": results}))
    return REACHED if all(r["ok"] for r in results) else ERROR
