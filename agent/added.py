"""The worlds that a user added: a JSON file each under the user's home, with the adapter and the spec of that day.

Those that ship need not be added; a user's own of the same id goes before.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from gedanken.agent.objective_critic import calibrated, pairs_of
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import TrainedDynamics, home
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.fit import Fitted, startling
from gedanken.worldmodel.learn import seen_seeds
from gedanken.worldmodel.trying import IMAGINED, Apprentice
from gedanken.worlds.adapter import Adapter, read_adapter, said
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.listening import listened
from gedanken.worlds.logs import Log, LogWorld
from gedanken.worlds.shipped import shipped_adapters
from gedanken.worlds.spec import SpecError, WorldSpec


def slug(id: str) -> str:
    """Return an id as the name of a file or a checkpoint."""
    return re.sub(r"[^\w.-]+", "-", id).strip("-.") or "world"


def _file(id: str) -> Path:
    return home() / "worlds" / f"{slug(id)}.json"


def add_world(environment: str, *, adapter: Path | None = None, id: str | None = None) -> GymWorld:
    """Try an environment, and keep it as a world; the same id again replaces it.

    `environment` is a Gymnasium id, a world for which an adapter ships, or an adapter's file. Raises SpecError for what
    is not supported and WorldError for what the environment does wrong; then nothing is kept.
    """
    if environment.endswith(".toml"):
        adapter, environment = Path(environment), ""
    known = read_adapter(adapter) if adapter else shipped_adapters().get(environment)
    known = known or Adapter(environment=environment)
    if adapter and environment and known.environment != environment:
        raise SpecError(f"adapter {adapter} is for {known.environment!r}, not for {environment!r}")
    known = listened(known, id or known.environment, FIRST_TRAINING_SEED)
    world = GymWorld(known, id or environment or known.environment)
    if world.id.startswith("BabyAI-"):
        raise SpecError(f"{world.id!r} is there already; `gedanken worlds` lists it")
    world.check()
    _keep(world.id, {"adapter": known.model_dump(mode="json"), "spec": world.spec.model_dump(mode="json")})
    return world


def keep_log(log: Log, moments: list[list[float]]) -> LogWorld:
    """Keep a log as a world; the same id again replaces it."""
    told = {"every": log.every, "moments": moments}
    _keep(log.world.name, {"log": told, "spec": log.world.model_dump(mode="json")})
    return LogWorld(log.world, log.every, moments)


def _keep(id: str, kept: dict[str, Any]) -> None:
    path = _file(id)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"id": id, **kept}, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def keep_learned(
    apprentice: Apprentice, lived: Sequence[Episode], path: Path, card: Mapping[str, Any]
) -> TrainedDynamics:
    """Write what was learned by trying as a checkpoint, its calibration by what was foretold among it.

    `card` says more about it. Raises CheckpointError.
    """
    config = apprentice.config
    acting = {"search": config.search} if config.acting == "search" else {"policy": config.policy}
    told = {
        "plan": ";".join(map(str, apprentice.plan.steps)),
        "seed": config.seed,
        **{key: value.model_dump(mode="json") for key, value in acting.items()},
        "horizon": IMAGINED,
        "surprise": startling(cast(Fitted, apprentice.model), lived),
        "calibration": calibrated(pairs_of(lived)).model_dump(mode="json"),
        "seen": seen_seeds({}, lived),
    }
    trained = TrainedDynamics(apprentice.model, path.name, path, {**told, **card}, apprentice.policies)
    checkpoint.save(trained, path)
    return trained


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


def alike(id: str) -> list[str]:
    """Return the worlds of numbers whose names are most like one that is not there."""
    return difflib.get_close_matches(id, [*added(), *shipped_adapters()], n=2)


def unknown(id: str) -> SpecError:
    """Return the error for a world that is not there."""
    close = alike(id)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    return SpecError(f"unknown world {id!r}; {meant}`gedanken worlds` lists them, `gedanken worlds add` adds one")


def load_added(id: str) -> GymWorld | None:
    """Return an added world or one that ships, None where none has that id.

    Raises SpecError for a damaged file, and where the environment shows or takes something else than when it was added;
    WorldError where the environment can't be made.
    """
    path = _file(id)
    if not path.is_file():
        return GymWorld(shipped_adapters()[id], id) if id in shipped_adapters() else None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        spec = WorldSpec.model_validate(kept["spec"])
        if "log" in kept:
            return LogWorld(spec, kept["log"]["every"], kept["log"]["moments"]) if kept["id"] == id else None
        adapter = Adapter.model_validate(kept["adapter"])
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
