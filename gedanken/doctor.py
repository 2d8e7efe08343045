"""`gedanken doctor`: is everything here and sound? Each check says what to do when it is not."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable

import click

from gedanken.cli import ERROR, REACHED, explain
from gedanken.options import json_option

NEEDED_GB = 1.0


class Unwell(Exception):
    """A check failed; the message says what to do."""


def python() -> str:
    """Say which Python runs."""
    return sys.version.split()[0]


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


def language_model() -> str:
    """Say whether the language model is in the cache."""
    from gedanken.upkeep import language_model as find

    model = find()
    if not model["here"]:
        raise Unwell(f"not in {model['path']} yet; the first run fetches it (600 MB), with a network")
    return str(model["path"])


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
    "python": python,
    "torch": torch,
    "world": world,
    "world model": checkpoint,
    "language model": language_model,
    "experience": store,
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
