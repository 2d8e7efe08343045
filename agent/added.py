"""The worlds that a user added: a JSON file each under the user's home, with the adapter and the spec of that day."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pydantic import ValidationError

from gedanken.worldmodel.checkpoint import home
from gedanken.worlds.adapter import Adapter, read_adapter, said
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.spec import SpecError, WorldSpec


def slug(id: str) -> str:
    """Return an id as the name of a file or a checkpoint."""
    return re.sub(r"[^\w.-]+", "-", id).strip("-.") or "world"


def _file(id: str) -> Path:
    return home() / "worlds" / f"{slug(id)}.json"


def add_world(environment: str, *, adapter: Path | None = None, id: str | None = None) -> GymWorld:
    """Try an environment, and keep it as a world; the same id again replaces it.

    `environment` is a Gymnasium id, or an adapter's file. Raises SpecError for what is not supported and WorldError for
    what the environment does wrong; then nothing is kept.
    """
    if environment.endswith(".toml"):
        adapter, environment = Path(environment), ""
    known = read_adapter(adapter) if adapter else Adapter(environment=environment)
    if adapter and environment and known.environment != environment:
        raise SpecError(f"adapter {adapter} is for {known.environment!r}, not for {environment!r}")
    world = GymWorld(known, id or known.environment)
    if world.id.startswith("BabyAI-"):
        raise SpecError(f"{world.id!r} is there already; `gedanken worlds` lists it")
    world.check()
    path = _file(world.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"id": world.id, "adapter": known.model_dump(mode="json"), "spec": world.spec.model_dump(mode="json")}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
    return world


def added() -> dict[str, WorldSpec]:
    """Return the added worlds' specs by id; files that can't be read are left out."""
    found = {}
    for path in sorted((home() / "worlds").glob("*.json")):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            found[str(kept["id"])] = WorldSpec.model_validate(kept["spec"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def load_added(id: str) -> GymWorld | None:
    """Return an added world, None where none has that id.

    Raises SpecError for a damaged file, and where the environment shows or takes something else than when it was added.
    """
    path = _file(id)
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        adapter, spec = Adapter.model_validate(kept["adapter"]), WorldSpec.model_validate(kept["spec"])
    except ValidationError as error:
        raise SpecError(f"{path} is damaged ({said(error)}); add the world again") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(f"{path} is damaged ({error}); add the world again") from error
    if kept["id"] != id:
        return None
    world = GymWorld(adapter, id)
    if world.spec.hash != spec.hash:
        parts = ", ".join(world.spec.differences(spec))
        raise SpecError(
            f"{id} is no longer what was added; its {parts} changed with the environment's version. "
            f"Install the former version, or `gedanken worlds add` it again and learn anew"
        )
    return world
