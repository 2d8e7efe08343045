"""Models by name: hub ids, folders and GGUF files, with no network."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from gedanken.agent import llm, loading
from gedanken.agent.llm import LLMError, ModelCorrupt, ModelUnavailable, fetch, named
from gedanken.agent.llm.adapter import AdapterError
from gedanken.agent.llm.embedded import EmbeddedModel
from gedanken.agent.llm.protocol import training_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEDANKEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "llm"


def copy(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def test_a_folder_is_used_where_it_lies(tiny_folder: Path, cache: Path, grammar: str) -> None:
    model = llm.load(str(tiny_folder))
    assert isinstance(model, EmbeddedModel) and model.name == tiny_folder.name and not cache.exists()
    [[plan, *_]] = model.complete(["Plan:\n"], n=2, grammar=grammar, temperature=0, max_tokens=60, seed=0)
    assert plan.text and llm.load(str(tiny_folder)) is model


def test_a_hub_model_is_fetched_once_and_checked(
    tiny_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def give(target: Path, work: Path, tell: fetch.Progress, model: str = "") -> None:
        asked.append(model)
        copy(tiny_folder, target)

    monkeypatch.setattr(named, "from_hub", give)
    for _ in range(2):
        assert named.folder_of("Some-One/tiny.2") == cache / "Some-One--tiny.2"
    assert asked == ["Some-One/tiny.2"]
    (cache / "Some-One--tiny.2" / "config.json").write_text("{}")
    said: list[str] = []
    named.folder_of("Some-One/tiny.2", said.append)
    assert len(asked) == 2 and "damaged" in said[0]

    def gone(target: Path, work: Path, tell: fetch.Progress, model: str = "") -> None:
        raise fetch.SourceFailed("404, no such repository")

    monkeypatch.setattr(named, "from_hub", gone)
    with pytest.raises(ModelUnavailable, match="nobody/nothing could not be fetched .*404"):
        llm.load("nobody/nothing")


def test_a_gguf_file_is_converted_once_alone_or_in_a_folder(
    tiny_folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[str] = []

    def convert(source: Path, gguf: str, target: Path) -> None:
        assert (source / gguf).is_file()
        converted.append(gguf)
        copy(tiny_folder, target)

    monkeypatch.setattr(named, "convert", convert)
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "small-Q4.gguf").write_bytes(b"GGUF")
    made = named.folder_of(str(folder))
    assert named.folder_of(str(folder / "small-Q4.gguf")) == made and made.parent == cache
    assert converted == ["small-Q4.gguf"] and fetch.problems(made) == []
    (folder / "other.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelCorrupt, match=r"other\.gguf, small-Q4\.gguf; name the file"):
        named.folder_of(str(folder))


def test_what_is_no_gguf_is_an_error_that_names_it(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, but no more of it")
    with pytest.raises(ModelCorrupt, match=r"broken\.gguf cannot be read"):
        llm.load(str(tmp_path / "broken.gguf"))
    assert not list(cache.iterdir())
    with pytest.raises(ModelCorrupt, match="nothing of the kind"):
        llm.load(str(cache))


@pytest.mark.parametrize("name", ["", "gpt", "a/b/c", "openai:", "../up", "vllm:nothing-here", "sand wich/x"])
def test_other_names_are_answered_with_what_there_is(name: str) -> None:
    with pytest.raises(LLMError, match="OWNER/NAME"):
        llm.load(name)


def test_an_adapter_goes_with_the_weights_that_it_was_trained_for(tiny_folder: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256((tiny_folder / "model.safetensors").read_bytes()).hexdigest()
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"lora_alpha": 2, "r": 1}')
    card = {"format": 1, "prompt": "plan", "base_sha256": digest, "first_layer": 1}
    (folder / "card.json").write_text(json.dumps(card))
    rows, columns = LlamaForCausalLM.from_pretrained(tiny_folder).model.layers[1].self_attn.q_proj.weight.shape
    from safetensors.torch import save_file

    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_"
    save_file(
        {f"{name}A.weight": torch.ones(1, columns), f"{name}B.weight": torch.ones(rows, 1)},
        folder / "adapter_model.safetensors",
    )
    model = llm.load(f"{tiny_folder}#{folder}")
    training = training_of(model)
    assert training and training.prompt == "plan" and model.name.endswith("+mine")
    (folder / "card.json").write_text(json.dumps({**card, "base_sha256": "0" * 64}))
    named._load.cache_clear()
    with pytest.raises(AdapterError, match="was trained for a model with"):
        llm.load(f"{tiny_folder}#{folder}")


def test_the_critic_reads_with_the_embedded_model_whoever_plans(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    plain = EmbeddedModel.from_folder(tiny_folder)
    monkeypatch.setattr(loading.language, "load", lambda name: plain if name == "embedded" else None)
    monkeypatch.setattr(loading.Critic, "load", lambda path, spec, encoder: read.append(encoder))
    world = loading.load_world("BabyAI-GoToLocal-v0")
    loading.load_critic(tmp_path, world, llm.load(str(tiny_folder)))
    assert read == [plain]
