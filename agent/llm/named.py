"""Any other language model by name: a hub id, a folder, or a folder with a GGUF file; knows nothing of decoding.

Hub models and what was converted from GGUF are kept in the cache beside the embedded model, with a manifest that is
checked at every load; a folder of safetensors is used where it lies.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gedanken.agent.llm.fetch import Progress, Source, build, cache_dir, convert, fitting, from_hub, problems
from gedanken.agent.llm.protocol import LLMError, ModelCorrupt

if TYPE_CHECKING:
    from gedanken.agent.llm.embedded import EmbeddedModel

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_log = logging.getLogger(__name__)


def load_named(name: str) -> EmbeddedModel:
    """Load a model for this process, `MODEL` or `MODEL#ADAPTER`, one of each; it is asked by its chat template.

    With an adapter it is asked as that was trained. Raises LLMError.
    """
    return _load(*parts(name))


def parts(name: str) -> tuple[Path, Path | None]:
    """Return the model's folder, fetched or converted if need be, and that of the adapter, if any. Raises LLMError."""
    from gedanken.agent.llm.adapter import resolve

    model, _, beside = name.partition("#")
    adapter = resolve(beside) if beside else None  # before anything is fetched
    return folder_of(model), adapter


def known(name: str) -> bool:
    """Whether a name may be a model's: a folder or file that is here, or the form of a hub id."""
    model = name.partition("#")[0]
    return bool(model) and (Path(model).exists() or _HUB_ID.fullmatch(model) is not None)


def folder_of(model: str, progress: Progress | None = None) -> Path:
    """Return a folder of safetensors for a hub id, a folder, or a GGUF file or its folder. Raises LLMError."""
    tell = progress or _log.info
    here = Path(model)
    if here.is_dir() and any(here.glob("*.safetensors")):
        return here
    if here.exists():
        gguf = _gguf_in(here)
        at = gguf.stat()
        mark = hashlib.sha256(f"{gguf.resolve()} {at.st_size} {at.st_mtime_ns}".encode()).hexdigest()[:12]
        return _kept(f"{gguf.stem}-{mark}", model, {str(gguf): _converted(gguf)}, tell)
    if not _HUB_ID.fullmatch(model):
        raise LLMError(f"{model!r} is no folder here and no model's id on the hub (OWNER/NAME).")
    return _kept(model.replace("/", "--"), model, {"the model hub": functools.partial(from_hub, model=model)}, tell)


@functools.lru_cache(maxsize=2)
def _load(folder: Path, adapter: Path | None) -> EmbeddedModel:
    from gedanken.agent.llm.embedded import EmbeddedModel

    return EmbeddedModel.from_folder(folder, adapter=fitting(folder, adapter), chat=adapter is None)


def _kept(name: str, model: str, sources: dict[str, Source], tell: Progress) -> Path:
    folder = cache_dir() / "llm" / name
    if folder.exists() and (damage := problems(folder)):
        tell(f"The cached language model {model} is damaged ({damage[0]}); making it anew.")
    if not folder.exists() or damage:
        build(folder, model, sources, tell)
    return folder


def _gguf_in(path: Path) -> Path:
    files = [path] if path.is_file() else sorted(path.glob("*.gguf"))
    if len(files) != 1 or files[0].suffix != ".gguf":
        found = ", ".join(file.name for file in files) or "nothing of the kind"
        raise ModelCorrupt(f"{path} should hold safetensors or one GGUF file, and there is {found}; name the file.")
    return files[0]


def _converted(gguf: Path) -> Source:
    def source(target: Path, work: Path, tell: Progress) -> None:
        tell(f"Converting {gguf.name}, once …")
        try:
            convert(gguf.parent, gguf.name, target)
        except Exception as error:  # of a file that is none, the reader says whatever it stumbles over
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ModelCorrupt(f"{gguf} cannot be read: {error}. Serve it (llama.cpp), or name another.") from error

    return source
