"""Serves the embedded model and its adapters with vLLM: `python -m gedanken.agent.llm.vllm_server PYTHON PORT`.

vLLM lives in an environment of its own, whose Python is named; `make serve-vllm` sets that up, too. Its module is
called and not its command `vllm`, which does not start where the package is the build for CPUs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from gedanken.agent.llm.adapter import CONFIG, Adapter, available
from gedanken.agent.llm.fetch import fetch, weights_digest

NAME = "smollm2-135m-instruct"
"""What the embedded model is called on the server; adapters keep their names."""

CONTEXT = 2048  # tokens


def command(python: str, folder: Path, adapters: Mapping[str, Path], port: int) -> list[str]:
    """Return the command that serves a model folder, and adapters of it, on this machine's loopback address."""
    words = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--served-model-name", NAME]
    words += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(CONTEXT)]
    if adapters:
        ranks = [int(json.loads((path / CONFIG).read_text(encoding="utf-8"))["r"]) for path in adapters.values()]
        words += ["--enable-lora", "--max-lora-rank", str(max(8, *ranks)), "--lora-modules"]
        words += [f"{name}={path}" for name, path in adapters.items()]
    return words


def settings() -> dict[str, str]:
    """Return the environment variables of the server: this one's, and no more memory than a small model needs."""
    return {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", **os.environ}


def main(python: str, port: str = "8000") -> None:
    """Fetch the model where need be, and become the server. Raises LLMError."""
    folder = fetch(lambda line: print(line, file=sys.stderr))
    digest = weights_digest(folder)
    fitting = {name: path for name, path in available().items() if Adapter.open(path).base == digest}
    for name in (NAME, *fitting):
        print(f"gedanken chat --llm openai:http://127.0.0.1:{port}/v1#{name}", file=sys.stderr)
    os.execvpe(python, command(python, folder, fitting, int(port)), settings())


if __name__ == "__main__":
    main(*sys.argv[1:])
