"""Checkpoints: a folder with config.json, model.safetensors and a card. Nothing is ever unpickled."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from platformdirs import user_data_dir
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gedanken.worldmodel.controller import Controller
from gedanken.worldmodel.policy import Policy, PolicyConfig
from gedanken.worldmodel.protocol import VectorDynamics, WorldModel
from gedanken.worldmodel.tasks import practised_for
from gedanken.worldmodel.trained import Trained, TrainedDynamics, plan_of
from gedanken.worlds.fields import GridField
from gedanken.worlds.spec import WorldSpec

__all__ = [
    "FORMAT",
    "SHIPPED",
    "CheckpointError",
    "CheckpointInfo",
    "Trained",
    "TrainedDynamics",
    "available",
    "begin_from",
    "build",
    "build_dynamics",
    "fill",
    "home",
    "load",
    "load_dynamics",
    "made_by_another_version",
    "next_path",
    "numbers",
    "resolve",
    "save",
    "save_next",
    "shipped",
    "stem_of",
    "stored",
]

FORMAT = 1
"""Changes when what lies in a checkpoint means something else than before; names and shapes are compared anyway."""

Made = TypeVar("Made")
_KEYS = ("family", "config", "spec", "spec_hash", "card")
SHIPPED = Path(__file__).parent / "checkpoints"


class CheckpointError(RuntimeError):
    """A checkpoint is missing, broken, or made for another world."""


class CheckpointExists(CheckpointError):
    """A folder is there already, and stays as it is."""


@dataclass(frozen=True)
class CheckpointInfo:
    """One checkpoint as `gedanken models` lists it."""

    name: str
    path: Path
    family: str
    spec_name: str
    parameters: int
    bytes: int
    card: dict[str, Any]


def home() -> Path:
    """Return the folder of users' data: $GEDANKEN_HOME, or the platform's own."""
    return Path(os.environ.get("GEDANKEN_HOME") or user_data_dir("gedanken"))


def build(spec: WorldSpec, family: str, config: dict[str, Any]) -> tuple[WorldModel, Controller]:
    """Make an untrained model of a family and its controller. Raises CheckpointError for an unknown family."""
    model: object
    if family == "spatial":
        from gedanken.worldmodel.spatial import SpatialConfig, SpatialModel

        model = SpatialModel(spec, SpatialConfig(**config))
    elif family == "rssm":
        from gedanken.worldmodel.rssm import RSSMConfig, RSSMModel

        model = RSSMModel(spec, RSSMConfig(**config))
    else:
        raise CheckpointError(f"unknown family {family!r}; there are spatial and rssm")
    world_model = cast(WorldModel, model)  # each family takes only its own beliefs
    return world_model, Controller(world_model)


def build_dynamics(spec: WorldSpec, family: str, config: dict[str, Any]) -> VectorDynamics:
    """Make an untrained model without a controller. Raises CheckpointError for a family that needs one."""
    if family == "pictures":
        from gedanken.worldmodel.pictured import PicturesConfig, PicturesModel

        return cast(VectorDynamics, PicturesModel(spec, PicturesConfig(**config)))
    if family != "ensemble":
        raise CheckpointError(f"family {family!r} comes with a controller; those without are ensemble and pictures")
    from gedanken.worldmodel.ensemble import EnsembleConfig, EnsembleModel

    return cast(VectorDynamics, EnsembleModel(spec, EnsembleConfig(**config)))


def save(trained: Trained | TrainedDynamics, path: Path, beside: Path | None = None) -> Path:
    """Write a checkpoint into a new folder, whole or not at all; files of others (the critic's) come from `beside`.

    Dynamics of numbers are written in full precision: their means may be larger than half precision holds. Raises
    CheckpointError where the folder exists or can't be written.
    """
    if path.exists():
        raise CheckpointExists(f"{path} exists; a checkpoint is never overwritten, choose another name")
    model: Any = trained.model
    written = stored if isinstance(trained, Trained) else Tensor.contiguous
    tensors = {f"{part}.{k}": written(v) for part, m in trained.parts.items() for k, v in m.state_dict().items()}
    config = {
        "format": FORMAT,
        "family": model.family,
        "config": model.config.model_dump(),
        "spec": model.spec.model_dump(mode="json"),
        "spec_hash": model.spec.hash,
        "card": trained.card,
    }
    folder = path.parent / f".{path.name}-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True)
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(_card_text(path.name, config), encoding="utf-8")
        for other in beside.iterdir() if beside else ():
            if other.is_file() and not (folder / other.name).exists():
                shutil.copyfile(other, folder / other.name)
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)
        folder.rename(path)
    except (OSError, SafetensorError) as error:
        if path.exists():  # somebody else was faster
            raise CheckpointExists(f"{path} exists; a checkpoint is never overwritten, choose another name") from error
        raise CheckpointError(f"could not write checkpoint {path} ({error}); free some space and try again") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return path


def save_next(trained: Trained | TrainedDynamics, stem: str, beside: Path | None = None) -> Path:
    """Write a stem's next checkpoint, see `save`; where others write theirs meanwhile, the one after those."""
    while True:
        path = next_path(stem)
        with contextlib.suppress(CheckpointExists):
            return save(replace(trained, name=path.name, path=path), path, beside)


def stored(tensor: Tensor) -> Tensor:
    """Return a tensor as it is written: floats in half precision, half the file and no measurable loss of skill."""
    return (tensor.half() if tensor.is_floating_point() else tensor).contiguous()


def numbers(stem: str) -> list[int]:
    """Return the numbers of a stem's checkpoints; ``CartPole-v1-2-1`` is not one of ``CartPole-v1``."""
    names = [path.name.removeprefix(f"{stem}-") for path in (home() / "checkpoints").glob(f"{stem}-*")]
    return [int(number) for number in names if number.isdecimal()]


def next_path(stem: str) -> Path:
    """Return the folder of a stem's next checkpoint, ``<home>/checkpoints/<stem>-<n>``."""
    return home() / "checkpoints" / f"{stem}-{max(numbers(stem), default=0) + 1}"


def stem_of(name: str) -> str:
    """Return a checkpoint's name without its number."""
    return re.sub(r"-\d+$", "", name)


def available() -> list[CheckpointInfo]:
    """List the checkpoints that ship and those in the user's folder; folders that can't be read are left out."""
    found = []
    for base in (SHIPPED, home() / "checkpoints"):
        for path in sorted(base.glob("[!.]*/config.json")):  # a name with a dot is not finished, or never will be
            try:
                config = _read_config(path.parent)
            except CheckpointError:
                continue
            weights = path.parent / "model.safetensors"
            size = weights.stat().st_size if weights.exists() else 0
            spec = config["spec"]["name"]
            family = config["family"]
            each = 4 if family in ("ensemble", "pictures") else 2  # bytes of a parameter
            found.append(
                CheckpointInfo(path.parent.name, path.parent, family, spec, size // each, size, config["card"])
            )
    return found


def shipped(spec: WorldSpec, *worlds: str) -> str:
    """Return the shipped checkpoint for worlds of a spec: of those that practised them all, the one of fewest levels.

    Where none did, it is the one of most. Raises CheckpointError where none is for the spec.
    """
    found = dict[str, list[str]]()
    for path in sorted(SHIPPED.glob("*/config.json")):
        config = _read_config(path.parent)
        if config["spec_hash"] == spec.hash:
            found[path.parent.name] = config["card"].get("levels", [])
    if not found:
        raise CheckpointError(f"no checkpoint ships for {spec.name!r}; `gedanken train` makes one")
    practised = [name for name, levels in found.items() if set(worlds) <= set(levels)]
    if practised:
        return min(practised, key=lambda name: len(found[name]))
    return max(found, key=lambda name: len(found[name]))


def resolve(name: str | Path) -> Path:
    """Return a checkpoint's folder by its name or path. Raises CheckpointError naming those there are."""
    candidates = [Path(name), home() / "checkpoints" / str(name), SHIPPED / str(name)]
    for path in candidates:
        if (path / "config.json").is_file():
            return path
    known = ", ".join(info.name for info in available()) or "none"
    raise CheckpointError(f"no checkpoint {str(name)!r}; there are: {known}. `gedanken train` makes one")


def load(name: str | Path, spec: WorldSpec, device: str = "cpu") -> Trained:
    """Load a checkpoint for a world.

    Raises CheckpointError when it is missing, truncated, of another spec, or made by another version.
    """
    path, config = _fitting(name, spec)
    model, controller = _built(path, lambda: build(spec, config["family"], config["config"]))
    trained = Trained(model, controller, path.name, path, config["card"])
    _fill(path, trained.parts, device)
    return trained


def begin_from(name: str | Path, trained: Trained) -> None:
    """Put a checkpoint's weights into untrained networks, which may have more: further inputs begin without a say.

    Raises CheckpointError when it does not fit, and as `load` does.
    """
    other = load(name, trained.model.spec)
    for part, module in trained.parts.items():
        own, theirs = module.state_dict(), other.parts[part].state_dict()
        for key, value in theirs.items():
            mine = own.get(key)
            if mine is None or mine.shape[:1] != value.shape[:1] or mine.shape[2:] != value.shape[2:]:
                raise CheckpointError(
                    f"{other.name!r} can't be gone on from: its {part}'s {key} has no place here; "
                    "choose a size and a family that hold all of it"
                )
            if mine.shape != value.shape:
                mine.zero_()
            mine[tuple(slice(size) for size in value.shape)] = value


def load_dynamics(name: str | Path, spec: WorldSpec, device: str = "cpu") -> TrainedDynamics:
    """Load a checkpoint without a controller; raises as `load` does."""
    path, config = _fitting(name, spec)
    model = _built(path, lambda: build_dynamics(spec, config["family"], config["config"]))
    policies = _built(path, lambda: _policies(model, config["card"]))
    trained = TrainedDynamics(model, path.name, path, config["card"], policies)
    _fill(path, trained.parts, device)
    return trained


def _policies(model: VectorDynamics, card: Mapping[str, Any]) -> tuple[Policy, ...]:
    """Make the untrained policies of the plan that a card tells of; none where it tells of no practice."""
    if "policy" not in card:
        return ()
    config, features = PolicyConfig.model_validate(card["policy"]), model.features(model.initial(1)).shape[1]
    return tuple(Policy(model.spec, features, config) for _ in practised_for(model.spec, plan_of(model.spec, card)))


def _fitting(name: str | Path, spec: WorldSpec) -> tuple[Path, dict[str, Any]]:
    path = resolve(name)
    config = _read_config(path)
    if config["spec_hash"] != spec.hash:
        theirs = WorldSpec.model_validate(config["spec"])
        parts = ", ".join(spec.differences(theirs)) or "format"
        how = "train" if isinstance(spec.observation, GridField) else f"learn {spec.name}"
        raise CheckpointError(
            f"checkpoint {path.name!r} was trained for world {theirs.name!r} ({config['spec_hash']}), "
            f"not for {spec.name!r} ({spec.hash}); they differ in: {parts}. Train one with `gedanken {how}`"
        )
    return path, config


def _fill(path: Path, modules: dict[str, nn.Module], device: str) -> None:
    try:
        tensors = load_file(path / "model.safetensors", device=device)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path}: its weights are truncated or damaged ({error}); fetch or train it again"
        ) from error
    for part, module in modules.items():
        fill(module, part, tensors, path)
        module.to(device).eval()
        module.requires_grad_(False)


def fill(module: nn.Module, part: str, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put a part's tensors, ``part.name``, into a module. Raises CheckpointError where names or shapes are not its."""
    state = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
    own = {name: value.shape for name, value in module.state_dict().items()}
    other = sorted(
        name for name in own.keys() | state.keys() if name not in state or own.get(name) != state[name].shape
    )
    if other:
        raise made_by_another_version(path, f"{len(other)} of its {part}'s weights, first {other[0]}, are not as here")
    module.load_state_dict(state)


def made_by_another_version(path: Path, why: str) -> CheckpointError:
    """Return the error for a checkpoint that is whole, but laid out as another version of this package did."""
    return CheckpointError(
        f"checkpoint {path} was made by another version of gedanken ({why}); make it anew (`gedanken learn WORLD` for a"
        " world of numbers, `gedanken train` for others), or take one that ships (`gedanken models`)"
    )


def _built(path: Path, make: Callable[[], Made]) -> Made:
    """Make what a config describes. Raises CheckpointError for sizes that this version does not know."""
    try:
        return make()
    except (TypeError, ValidationError) as error:
        raise made_by_another_version(path, "its sizes can't be read") from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        version = int(config["format"])
        missing = [key for key in _KEYS if key not in config]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"checkpoint {path}: config.json can't be read ({error}); fetch or train it again"
        ) from error
    if version != FORMAT:
        raise made_by_another_version(path, f"format {version}, this one reads {FORMAT}")
    if missing:
        raise CheckpointError(f"checkpoint {path}: config.json lacks {', '.join(missing)}; fetch or train it again")
    return dict(config)


def _card_text(name: str, config: dict[str, Any]) -> str:
    lines = [f"# {name}", "", f"World model family `{config['family']}` for world `{config['spec']['name']}`.", ""]
    said = {key: ", ".join(value) if isinstance(value, list) else value for key, value in config["card"].items()}
    lines += [f"- **{key}**: {value}" for key, value in said.items()]
    return "\n".join(lines) + "\n"
