"""Language models behind one Protocol: in this process, on an OpenAI-compatible server, or scripted."""

from __future__ import annotations

from gedanken.agent.llm.protocol import (
    Completion,
    Encoder,
    GrammarError,
    LanguageModel,
    LLMError,
    ModelCorrupt,
    ModelUnavailable,
    PromptTooLong,
    ServerError,
)

__all__ = [
    "Completion",
    "Encoder",
    "GrammarError",
    "LLMError",
    "LanguageModel",
    "ModelCorrupt",
    "ModelUnavailable",
    "PromptTooLong",
    "ServerError",
    "load",
]


def load(name: str) -> LanguageModel:
    """Load a language model by name.

    `embedded` (fetched on first use), `embedded:ADAPTER` (a name or a folder), `openai:http://host:8000/v1` or
    `openai:http://host:8000/v1#model`, or `scripted:answers.json`. An address alone is a server's. Any other model for
    this process is `MODEL` or `MODEL#ADAPTER`: a model's id on the hub, a folder, a GGUF file or its folder; and
    `vllm:MODEL` runs it in vLLM, `vllm` alone the embedded model with the adapter that ships. Raises `LLMError`.
    """
    kind, _, rest = name.partition(":")
    if kind in ("http", "https"):
        kind, rest = "openai", name
    if kind == "embedded":
        from gedanken.agent.llm.fetch import load_embedded

        return load_embedded(rest or None)
    if kind == "openai" and rest:
        from gedanken.agent.llm.openai_compatible import ServerModel

        return ServerModel.from_address(rest)
    if kind == "scripted" and rest:
        from pathlib import Path

        from gedanken.agent.llm.scripted import ScriptedModel

        return ScriptedModel.from_file(Path(rest))
    if kind == "vllm":
        from gedanken.agent.llm.vllm_model import load_vllm

        return load_vllm(rest or None)

    from gedanken.agent.llm.named import known, load_named

    if known(name):
        return load_named(name)
    raise LLMError(
        f"{name!r} is no language model: use 'embedded', 'embedded:ADAPTER', 'openai:http://…[#model]',"
        " 'vllm[:MODEL[#ADAPTER]]', 'scripted:FILE.json', or a MODEL: an id on the hub (OWNER/NAME), or a folder here."
    )
