"""One folder per run: what was asked, on what, and a line of JSON for every sample. Knows nothing of what is measured.

``run.json`` holds everything needed to run again, ``samples.jsonl`` what happened, ``summary.json`` what it comes to. A
run that was killed goes on where it stopped: samples are known by their task, seed and arm.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from gedanken.evals.errors import RunError

FORMAT = 1
KNOWN = ("suite", "started", "config", "seeds", "versions", "commit", "machine", "checkpoints")
PACKAGES = (
    *("gedanken", "torch", "transformers", "minigrid", "gymnasium", "numpy", "llguidance", "langgraph", "ray"),
    *("pyspellchecker", "highway-env", "gym-electric-motor", "stable-baselines3", "stable-worldmodel", "vllm"),
)
Key = tuple[str, int, str]
"""Task, seed and arm of a sample."""

EpochKey = tuple[str, int, str, int]
"""A key and the epoch, from 1 on."""


@dataclass(frozen=True)
class RunFolder:
    """A run under way or finished."""

    path: Path
    about: dict[str, Any]

    @property
    def id(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def suite(self) -> str:
        """How the suite is called, or where the run keeps its file (`own_suite`)."""
        file, kind = self.about.get("suite_file"), self.about.get("suite_class")
        return str(self.about["suite"]) if file is None else f"{self.path / file}{f':{kind}' if kind else ''}"

    @classmethod
    def create(
        cls,
        root: Path,
        suite: str,
        config: Mapping[str, Any],
        seeds: Mapping[str, Any],
        checkpoints: Iterable[Path] = (),
        suite_file: Path | None = None,
        **more: str | int,
    ) -> RunFolder:
        """Begin a run: write all that is known before the first sample. Raises RunError where it can't be written.

        `suite_file` is kept with it, where the suite is somebody's own.
        """
        now = datetime.now(UTC)
        about: dict[str, Any] = {
            "format": FORMAT,
            "suite": suite,
            "started": now.isoformat(timespec="seconds"),
            "config": dict(config),
            "seeds": dict(seeds),
            "versions": versions(),
            "commit": commit(),
            "machine": machine(),
            "checkpoints": _sums(checkpoints),
            **({"suite_file": suite_file.name, "suite_sha256": sha256(suite_file)} if suite_file else {}),
            **more,
        }
        path = root / f"{now:%Y%m%d-%H%M%S}-{suite}-{secrets.token_hex(2)}"
        try:
            path.mkdir(parents=True)
            if suite_file:
                shutil.copyfile(suite_file, path / about["suite_file"])
            _write(path / "run.json", about)
        except OSError as error:
            raise RunError(
                f"can't write the run folder {path}: {error.strerror}; make room, or run elsewhere"
            ) from error
        return cls(path, about)

    @classmethod
    def open(cls, root: Path, name: str) -> RunFolder:
        """Open a run by its id, its path, or "last". Raises RunError for none, and for one of another version."""
        path = Path(name) if (Path(name) / "run.json").is_file() else root / name
        if name == "last":
            path = max(
                root.glob("*/run.json"), key=lambda file: file.parent.name, default=root / "last/run.json"
            ).parent
        try:
            about = json.loads((path / "run.json").read_text(encoding="utf-8"))
            version = about["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            known = ", ".join(sorted(file.parent.name for file in root.glob("*/run.json"))[-5:]) or "none"
            raise RunError(f"no run {name!r} ({error}); the latest in {root}/ are: {known}") from error
        if version != FORMAT:
            raise RunError(f"run {path.name} has format {version}, this version knows {FORMAT}; run it again")
        if lacking := [key for key in KNOWN if key not in about]:
            raise RunError(f"run {path.name} is of another version ({', '.join(lacking)} is missing); run it again")
        return cls(path, about)

    def agree(
        self, suite: str, config: Mapping[str, Any], seeds: Mapping[str, Any], checkpoints: Iterable[Path] = ()
    ) -> None:
        """Raise RunError, naming what differs, unless the run was begun with these settings and these weights.

        Settings that a later version added are not compared.
        """
        wanted = _settings(suite, config, seeds)
        begun = _settings(self.about["suite"], self.about["config"], self.about["seeds"])
        if keys := [key for key in begun if begun[key] != wanted.get(key)]:
            changes = "; ".join(f"{key} was {begun[key]!r}, is {wanted.get(key)!r}" for key in keys)
            raise RunError(f"run {self.id} was begun with other settings ({changes}); start a new one")
        there = _sums(checkpoints)
        if others := [name for name, digest in self.about["checkpoints"].items() if there.get(name) != digest]:
            raise RunError(
                f"run {self.id} was begun with another {', '.join(others)}; name those weights with --checkpoint"
                " or --llm, or start a new run"
            )

    @property
    def in_one_go(self) -> bool:
        """Whether all samples were asked in the company that `--rerun` gives them: in one process, without a break."""
        return not self.about.get("resumed") and self.about.get("workers", 1) == 1 and self.about.get("on") is None

    def go_on(self) -> None:
        """Take the run up again: note that, and the commit; cut off a line that a kill left unfinished."""
        path = self.path / "samples.jsonl"
        if path.exists() and (whole := _whole_lines(data := path.read_bytes())) != data:
            path.write_bytes(whole)
        if (now := commit()) not in self.about["commit"].split(", "):
            self.about["commit"] += f", {now}"
        self.about["resumed"] = True
        _write(self.path / "run.json", self.about)

    def note(self, checkpoints: Iterable[Path] = (), **more: Any) -> None:
        """Note the SHA-256 of weights that were learned on the way, those known already stay, and what else is said."""
        found = {"checkpoints": _sums(checkpoints) | self.about["checkpoints"], **more}
        if any(self.about.get(key) != value for key, value in found.items()):
            self.about.update(found)
            _write(self.path / "run.json", self.about)

    def forget(self, checkpoints: Iterable[Path]) -> None:
        """Leave out weights that had no part in the results."""
        idle = {f"{path.parent.name}/{path.name}" for path in checkpoints}
        if idle & self.about["checkpoints"].keys():
            self.about["checkpoints"] = {n: s for n, s in self.about["checkpoints"].items() if n not in idle}
            _write(self.path / "run.json", self.about)

    # ---- samples ---------------------------------------------------------------------------------------------------

    def append(self, sample: Mapping[str, Any]) -> None:
        """Write one sample; it needs `task`, `seed` and `arm`. Raises RunError when the disk refuses."""
        line = json.dumps({"task": sample["task"], "seed": sample["seed"], "arm": sample["arm"], **sample})
        try:
            with (self.path / "samples.jsonl").open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> RunError:
        return RunError(f"run {self.id}: {error.strerror}; make room and go on with --resume {self.id}")

    def samples(self) -> list[dict[str, Any]]:
        """Return the samples so far, task by task in the order of their seeds, however they came.

        A line that is not whole is left out, a repeated sample counts once: where it first came to something.
        """
        path = self.path / "samples.jsonl"
        if not path.exists():
            return []
        whole = _whole_lines(path.read_bytes())
        found: dict[EpochKey, dict[str, Any]] = {}
        for number, line in enumerate(whole.decode("utf-8").splitlines(), 1):
            try:
                sample = json.loads(line)
                key = key_of(sample)
                if key not in found or found[key].get("error"):
                    found[key] = sample
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(f"{path}, line {number}: {error}; remove that line to go on") from error
        tasks = list(dict.fromkeys(key[0] for key in found))
        order = sorted(found, key=lambda key: (tasks.index(key[0]), *key[1:]))
        return [found[key] for key in order]

    def done(self) -> set[EpochKey]:
        """Return the keys of the samples so far; those that raised are to be done again."""
        return {key_of(sample) for sample in self.samples() if not sample.get("error")}

    @property
    def finished(self) -> bool:
        """Return whether the run came to its end."""
        return (self.path / "summary.json").is_file()

    # ---- summary ---------------------------------------------------------------------------------------------------

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Write the summary and return it: the results and everything about the run, NaN as null.

        Raises RunError when the disk refuses.
        """
        summary = {
            "run": self.id,
            **self.about,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "results": plain(results),
        }
        try:
            _write(self.path / "summary.json", summary)
        except OSError as error:
            raise self._refused(error) from error
        return summary


def key_of(sample: Mapping[str, Any]) -> EpochKey:
    """Return a sample's key."""
    return sample["task"], sample["seed"], sample["arm"], sample.get("epoch", 1)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return what the machine is: processor, cores, memory, threads that torch uses."""
    import torch

    model = platform.processor() or platform.machine()
    info, memory = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    kilobytes = int(memory.read_text().split()[1]) if memory.exists() else 0
    accelerator = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(kilobytes / 2**20, 1),
        "torch_threads": torch.get_num_threads(),
        "accelerator": accelerator,
        "system": platform.system(),
    }


def commit() -> str:
    """Return the source's commit, with "+changes" where tracked files differ from it; "none" outside of a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "pyproject.toml").is_file() or not (root / ".git").exists():
        return "none"
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "none"
    return head[:12] + ("+changes" if changed else "")


def sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def _settings(suite: str, config: Mapping[str, Any], seeds: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings side by side, as JSON has them."""
    loop = {f"loop.{key}": value for key, value in config.get("loop", {}).items()}
    flat = {"suite": suite, **config, **loop, **seeds}
    flat.pop("loop", None)
    found: dict[str, Any] = json.loads(json.dumps(flat))
    return found


def _sums(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of the files that are there, by folder and name."""
    return {f"{path.parent.name}/{path.name}": sha256(path) for path in paths if path.is_file()}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def plain(value: Any) -> Any:
    """Return JSON data without NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else value


def _write(path: Path, data: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
