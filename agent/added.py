"""The worlds that a user added: a JSON file each under the user's home, with the adapter and the spec of that day.

Those that ship need not be added; a user's own of the same id goes before.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import ValidationError

from gedanken.agent.objective_critic import calibrated, pairs_of
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import TrainedDynamics, home
from gedanken.worldmodel.collect import FIRST_TRAINING_SEED
from gedanken.worldmodel.ensemble import EnsembleModel
from gedanken.worldmodel.episode import Episode
from gedanken.worldmodel.experience import ExperienceStore
from gedanken.worldmodel.fit import startling
from gedanken.worldmodel.trying import IMAGINED, Apprentice
from gedanken.worlds.adapter import Adapter, read_adapter, said
from gedanken.worlds.gym_world import GymWorld
from gedanken.worlds.logs import LogWorld, Piece, Repairs, read_log, read_log_spec
from gedanken.worlds.shipped import shipped_adapters
from gedanken.worlds.spec import SpecError, WorldSpec

LOGGED = "logged"
"""Source of an episode that was read from a log."""


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
    world = GymWorld(known, id or environment or known.environment)
    if world.id.startswith("BabyAI-"):
        raise SpecError(f"{world.id!r} is there already; `gedanken worlds` lists it")
    world.check()
    _keep(world.id, {"adapter": known.model_dump(mode="json"), "spec": world.spec.model_dump(mode="json")})
    return world


def import_log(path: Path, spec: Path, store: ExperienceStore, *, id: str | None = None) -> tuple[LogWorld, Repairs]:
    """Read a log, store its episodes and keep it as a world; the same id again replaces the world and adds episodes.

    Raises SpecError for what is wrong with either file; then nothing of it is kept.
    """
    meaning, repairs, name = read_log_spec(spec), Repairs(), id or slug(path.stem)
    world = meaning.world(name)
    if name.startswith("BabyAI-"):
        raise SpecError(f"{name!r} is there already; choose another --as")
    seeds = itertools.count(FIRST_TRAINING_SEED)
    for _ in read_log(path, meaning, Repairs()):  # the whole of it first: a log is stored whole or not at all
        pass
    pieces = (_logged(world, next(seeds), piece) for piece in read_log(path, meaning, repairs))
    stored = sum(len(store.append_many(batch)) for batch in _batches(pieces))
    if not stored:
        raise SpecError(f"{path}: no two of its {repairs.rows:,} rows follow each other, so there is nothing to learn")
    _keep(name, {"log": {"every": meaning.every, "moments": repairs.moments}, "spec": world.model_dump(mode="json")})
    return LogWorld(world, meaning.every, repairs.moments), repairs


def _batches(pieces: Iterator[Episode], size: int = 64) -> Iterator[list[Episode]]:
    while batch := list(itertools.islice(pieces, size)):
        yield batch


def _logged(spec: WorldSpec, seed: int, piece: Piece) -> Episode:
    length = len(piece.actions)
    return Episode(
        world=spec.name,
        spec_hash=spec.hash,
        seed=seed,
        source=LOGGED,
        goal="",
        observations=piece.observations,
        actions=piece.actions,
        rewards=piece.rewards,
        terminated=False,
        steps=(),
        step_index=np.full(length, -1, np.int16),
        origin=np.zeros(0, np.int16),
        expert=np.full(length, -1, np.int8),
        achieved=np.zeros(length, np.bool_),
    )


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
        "surprise": startling(cast(EnsembleModel, apprentice.model), lived),
        "calibration": calibrated(pairs_of(lived)).model_dump(mode="json"),
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
