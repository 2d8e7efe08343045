"""A language model that vLLM runs in this process, for machines with a GPU; knows nothing of plans.

vLLM is an extra (`pip install gedanken[vllm]`); on other machines it is a server's, see `vllm_server`.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gedanken.agent.llm.adapter import SHIPPED, Adapter
from gedanken.agent.llm.dialogue import Frame, frame, without_thoughts
from gedanken.agent.llm.fetch import fetch, fitting
from gedanken.agent.llm.grammar import ending, held
from gedanken.agent.llm.named import parts
from gedanken.agent.llm.protocol import Completion, LLMError, PromptTooLong, Training

PLANNER = "planner"
"""The adapter that goes with the embedded model where none is named."""

QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_LOGGING_STREAM": "ext://sys.stderr", "VLLM_NO_USAGE_STATS": "1"}
"""Environment variables that are set for vLLM where nobody has: stdout is for answers, and nothing is sent anywhere."""

_SHARE = {"gpu_memory_utilization": 0.5}  # vLLM would take nearly all, and the world model wants to be there, too


def load_vllm(name: str | None = None) -> VllmModel:
    """Load `MODEL` or `MODEL#ADAPTER`, see `named`, or the embedded model as it plans best; one of each per process.

    Raises LLMError.
    """
    return _load(*(parts(name) if name else (fetch(), SHIPPED / PLANNER)))


class VllmModel:
    """Completions by a `vllm.LLM`, all prompts and candidates in one batch; what they share is computed once.

    A model without an adapter is asked in its chat template, where it has one; what it thinks before it answers is left
    out. Text in prompts never becomes a control token. `baseline` is not used.
    """

    def __init__(self, engine: Any, *, name: str, adapter: Adapter | None = None) -> None:
        self.name = name
        self.adapter = adapter
        self._engine = engine
        self._tokenizer = engine.get_tokenizer()
        self._context = int(engine.llm_engine.model_config.max_model_len)
        self._frame = Frame() if adapter else frame(self._tokenizer)

    @classmethod
    def from_folder(cls, folder: Path, *, adapter: Adapter | None = None, **settings: Any) -> VllmModel:
        """Start vLLM on a folder of weights; `settings` are those of `vllm.LLM`. Raises LLMError where it can't."""
        for variable, value in QUIET.items():
            os.environ.setdefault(variable, value)
        lora = {"enable_lora": True, "max_lora_rank": max(8, adapter.rank)} if adapter else {}
        asked = {"model": str(folder), "enable_prefix_caching": True, "seed": 0, **_SHARE, **lora, **settings}
        try:
            engine = _part("vllm", "LLM")(**asked)
        except (OSError, RuntimeError, ValueError, _part("vllm.exceptions", "VLLMError")) as error:
            raise LLMError(f"vLLM does not start with {folder}: {error}. `make serve-vllm` serves it apart.") from error
        return cls(engine, name=f"{folder.name}{f'+{adapter.name}' if adapter else ''} in vLLM", adapter=adapter)

    @property
    def training(self) -> Training | None:
        """See `Tuned`."""
        return self.adapter.training if self.adapter else None

    def complete(
        self,
        prompts: Sequence[str],
        *,
        n: int,
        grammar: str | None,
        temperature: float,
        max_tokens: int,
        stop: Sequence[str] = (),
        seed: int,
        baseline: str | None = None,
        exclude: Sequence[str] = (),
    ) -> list[list[Completion]]:
        """See `LanguageModel.complete`. At temperature 0 one candidate is asked for: more would be the same."""
        if not prompts:
            return []
        asked: dict[str, Any] = {
            "n": n if temperature > 0 else 1,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "stop": list(stop),
            "seed": seed,
            "logprobs": 0,  # none but that of what was said
        }
        if grammar is not None:
            outputs = _part("vllm.sampling_params", "StructuredOutputsParams")
            asked["structured_outputs"] = outputs(grammar=ending(grammar, stop))
        began = time.perf_counter()
        encoded = [{"prompt_token_ids": self._encode(prompt, max_tokens)} for prompt in prompts]
        try:
            params = _part("vllm", "SamplingParams")(**asked)
            answers = self._engine.generate(encoded, params, use_tqdm=False, **self._lora())
        except (RuntimeError, ValueError, _part("vllm.exceptions", "VLLMError")) as error:
            raise LLMError(f"vLLM could not answer: {error}") from error
        seconds = time.perf_counter() - began
        return [self._completions(answer, grammar, exclude, seconds) for answer in answers]

    def _encode(self, prompt: str, room: int) -> list[int]:
        text = self._tokenizer.encode(prompt, add_special_tokens=False, split_special_tokens=True)
        tokens = [*self._frame.before, *text, *self._frame.after]
        if len(tokens) + room > self._context:
            raise PromptTooLong(
                f"The prompt has {len(tokens)} tokens and {room} more are wanted, but {self.name} takes {self._context}"
                " in all: shorten the scene or the examples."
            )
        return tokens

    def _lora(self) -> Mapping[str, Any]:
        if self.adapter is None:
            return {}
        return {"lora_request": _part("vllm.lora.request", "LoRARequest")(self.adapter.name, 1, str(self.adapter.path))}

    def _completions(
        self, answer: Any, grammar: str | None, exclude: Sequence[str], seconds: float
    ) -> list[Completion]:
        read = len(answer.prompt_token_ids or ())
        said = [
            Completion(
                without_thoughts(output.text),
                math.nan if output.cumulative_logprob is None else output.cumulative_logprob,
                read,
                len(output.token_ids),
                seconds,
                output.finish_reason == "length",
            )
            for output in answer.outputs
        ]
        if grammar is not None:
            said = held(said, grammar, self.name)
        said.sort(key=lambda completion: -completion.log_probability)
        return [completion for completion in said if completion.text.strip() not in exclude]


@functools.lru_cache(maxsize=1)
def _load(folder: Path, adapter: Path | None) -> VllmModel:
    return VllmModel.from_folder(folder, adapter=fitting(folder, adapter))


def _part(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise LLMError(
            f"vLLM is not installed here ({error}): `pip install 'gedanken[vllm]'`, or serve the model (`make"
            " serve-vllm`) and use --llm openai:http://…"
        ) from error
