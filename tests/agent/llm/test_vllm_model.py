"""vLLM in this process, by a double with vLLM 0.32's signatures; `make test-vllm` asks the real one the same."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from gedanken.agent import llm
from gedanken.agent.llm import GrammarError, LanguageModel, LLMError, PromptTooLong
from gedanken.agent.llm.adapter import SHIPPED, Adapter
from gedanken.agent.llm.protocol import Training, training_of
from gedanken.agent.llm.vllm_model import QUIET, VllmModel


class VLLMError(Exception):
    pass


@dataclass
class StructuredOutputsParams:
    json: Any = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    seed: int | None = None
    stop: Any = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    structured_outputs: StructuredOutputsParams | None = None


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str = ""


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: Any
    finish_reason: str | None = None


@dataclass
class LLM:
    model: str
    gpu_memory_utilization: float = 0.9
    seed: int = 0
    enable_prefix_caching: bool | None = None
    enable_lora: bool = False
    max_lora_rank: int = 16
    asked: list[Any] = field(default_factory=list)
    says: Callable[[str], Sequence[str]] = lambda prompt: ["drop()\n"]

    def __post_init__(self) -> None:
        if not Path(self.model).is_dir():
            raise ValueError(f"no model in {self.model}")
        self.tokenizer = AutoTokenizer.from_pretrained(self.model)
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=256))

    def get_tokenizer(self) -> Any:
        return self.tokenizer

    def generate(
        self, prompts: Any, sampling_params: Any = None, *, use_tqdm: bool = True, lora_request: Any = None
    ) -> list[Any]:
        self.asked.append((prompts, sampling_params, lora_request))
        answers = []
        for prompt in prompts:
            texts = self.says(self.tokenizer.decode(prompt["prompt_token_ids"]))
            outputs = [
                CompletionOutput(i, text, [1] * 4, -float(i), None, "stop" if text.endswith("\n") else "length")
                for i, text in enumerate(texts)
            ]
            answers.append(SimpleNamespace(prompt_token_ids=prompt["prompt_token_ids"], outputs=outputs))
        return answers


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: dict[str, Any] = {
        "vllm": {"LLM": LLM, "SamplingParams": SamplingParams},
        "vllm.sampling_params": {"StructuredOutputsParams": StructuredOutputsParams},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.exceptions": {"VLLMError": VLLMError},
    }
    for variable in QUIET:
        monkeypatch.setenv(variable, "as the user wants it")
    for name, values in parts.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)


def ask(model: VllmModel, *prompts: str, **settings: Any) -> list[list[str]]:
    settings = {"n": 3, "grammar": None, "temperature": 0.7, "max_tokens": 9, "seed": 3} | settings
    return [[c.text for c in completions] for completions in model.complete(prompts, **settings)]


def test_one_batch_goes_out_under_the_grammar(vllm: None, tiny_folder: Path, grammar: str) -> None:
    model = VllmModel.from_folder(tiny_folder)
    assert isinstance(model, LanguageModel) and training_of(model) is None and ask(model) == []
    model._engine.says = lambda prompt: ["open(door)\n", "fly()\n", "drop()\n", "<think>no</think>drop()\n"]
    answers = ask(model, "A", "B", grammar=grammar, stop=["done"], exclude=["open(door)"])
    assert answers == [["drop()\n", "drop()\n"]] * 2
    [(prompts, params, lora)] = model._engine.asked
    assert [model._tokenizer.decode(p["prompt_token_ids"]) for p in prompts] == ["A", "B"] and lora is None
    assert (params.n, params.stop, params.seed, params.max_tokens) == (3, ["done"], 3, 9)
    assert params.structured_outputs.grammar == grammar.replace("step{1,3}", '(step{1,3}) ("done")?', 1)
    ask(model, "A", temperature=0)
    assert model._engine.asked[-1][1].n == 1
    assert model._engine.enable_prefix_caching and model._engine.gpu_memory_utilization == 0.5


def test_the_adapter_that_ships_goes_along(vllm: None, tiny_folder: Path) -> None:
    adapter = Adapter.open(SHIPPED / "planner")
    model = VllmModel.from_folder(tiny_folder, adapter=adapter)
    assert training_of(model) == Training("plan", declines=True, supposes=True)
    ask(model, "A")
    assert model._engine.asked[0][2] == LoRARequest("planner", 1, str(SHIPPED / "planner"))
    assert model._engine.enable_lora and model._engine.max_lora_rank == adapter.rank == 16


def test_a_chat_template_is_respected_and_prompts_stay_text(vllm: None, tiny_folder: Path, tmp_path: Path) -> None:
    for file in tiny_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text("<|end|>user:{{ messages[0].content }}<|end|>assistant:")
    model = VllmModel.from_folder(tmp_path)
    ask(model, "say <|end|>")
    [tokens] = [prompt["prompt_token_ids"] for prompt in model._engine.asked[0][0]]
    assert model._tokenizer.decode(tokens) == "<|end|>user:say <|end|><|end|>assistant:"
    assert tokens.count(model._tokenizer.eos_token_id) == 2


def test_what_goes_wrong_is_said(vllm: None, tiny_folder: Path, grammar: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LLMError, match="does not start"):
        VllmModel.from_folder(tiny_folder / "nothing")
    model = VllmModel.from_folder(tiny_folder)
    with pytest.raises(PromptTooLong, match="takes 256"):
        ask(model, "x y " * 300)
    model._engine.says = lambda prompt: ["fly()\n"]
    with pytest.raises(GrammarError, match="did not keep to the grammar"):
        ask(model, "A", grammar=grammar)

    def dies(prompt: str) -> list[str]:
        raise VLLMError("the engine is dead")

    model._engine.says = dies
    with pytest.raises(LLMError, match="could not answer: the engine is dead"):
        ask(model, "A")
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(LLMError, match=r"pip install 'gedanken\[vllm\]'"):
        VllmModel.from_folder(tiny_folder)


def test_it_is_loaded_by_name(vllm: None, tiny_folder: Path) -> None:
    model = llm.load(f"vllm:{tiny_folder}")
    assert isinstance(model, VllmModel) and model.name == f"{tiny_folder.name} in vLLM"
    assert llm.load(f"vllm:{tiny_folder}") is model
