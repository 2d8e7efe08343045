"""LoRA on a tiny random model: it learns, goes on where it stopped, and what is shipped is what was trained."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from gedanken.agent.llm.adapter import CARD, CONFIG, SHIPPED, WEIGHTS, Adapter, AdapterError, resolve
from gedanken.agent.llm.embedded import EmbeddedModel
from gedanken.agent.llm.protocol import Training
from gedanken.agent.llm.tune import Packer, TuneConfig, Tuner, TuningError, _card_text, losses

PAIRS = [
    ("Goal: open the red door\nPlan:\n", "open(red door)\n"),
    ("Goal: go to the blue box\nPlan:\n", "go_to(blue box)\n"),
    ("Goal: pick up the grey key\nPlan:\n", "pick_up(grey key)\n"),
]
CARD_OF = {"prompt": "plan", "base": "tiny", "base_sha256": "a" * 64}


def pairs(index: int) -> tuple[str, str]:
    return PAIRS[index % len(PAIRS)]


def config(**changes: object) -> TuneConfig:
    quick = {"steps": 40, "tokens": 128, "rank": 4, "alpha": 16, "first_layer": 1, "rate": 2e-2, "warmup": 2}
    return TuneConfig.model_validate(quick | {"save_every": 2} | changes)


@pytest.fixture
def tuner(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tuner]:
    monkeypatch.setattr("gedanken.agent.llm.tune.fastest_dtype", lambda device: torch.float32)  # to the last digit
    return lambda folder="work", **changes: Tuner(tiny_folder, pairs, config(**changes), tmp_path / folder)


def test_it_learns_and_the_merged_adapter_says_what_was_learned(
    tuner: Callable[..., Tuner], tiny_folder: Path, tmp_path: Path, grammar: str
) -> None:
    trained = tuner()
    rows = list(trained.train())
    assert rows[-1]["loss"] < 0.1 < rows[0]["loss"]
    assert losses(tmp_path / "work", 1) == [rows[-1]["loss"]]
    path = trained.save(tmp_path / "adapters" / "planner", CARD_OF)
    assert {file.name for file in path.iterdir()} == {CONFIG, WEIGHTS, CARD, "README.md"}
    assert json.loads((path / CONFIG).read_text())["base_model_name_or_path"] == "tiny", "no path of this machine"
    card = json.loads((path / CARD).read_text())
    assert (card["steps"], card["examples"]) == (40, trained.seen) and card["training"]["rank"] == 4

    adapter = Adapter.open(path)
    model = EmbeddedModel.from_folder(tiny_folder, dtype=torch.float32, adapter=adapter)
    assert (model.training, model.name) == (Training("plan"), f"{tiny_folder.name}+planner")
    answers = model.complete([p for p, _ in PAIRS], n=2, grammar=grammar, temperature=0, max_tokens=60, seed=0)
    assert [completions[0].text for completions in answers] == [answer for _, answer in PAIRS]

    plain = EmbeddedModel.from_folder(tiny_folder, dtype=torch.float32)
    assert torch.equal(model.embed(["open"], layer=1)[0], plain.embed(["open"], layer=1)[0]), "the critic reads these"
    for layer in (2, -1):
        with pytest.raises(ValueError, match="changed by"):
            model.embed(["open"], layer=layer)


def test_it_learns_in_bfloat16_too(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gedanken.agent.llm.tune.fastest_dtype", lambda device: torch.bfloat16)
    trained = Tuner(tiny_folder, pairs, config(), tmp_path / "work")
    assert {p.dtype for p in trained.parameters} == {torch.float32}, "steps too small for bfloat16 would be lost"
    rows = list(trained.train())
    assert rows[-1]["loss"] < 0.1 < rows[0]["loss"]


def test_merging_gives_what_peft_gives(tuner: Callable[..., Tuner], tiny_folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    trained = tuner(steps=4)
    list(trained.train())
    path = trained.save(tmp_path / "planner", CARD_OF)
    tokens = torch.tensor([AutoTokenizer.from_pretrained(tiny_folder).encode(PAIRS[0][0])])
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder), path)
    ours = AutoModelForCausalLM.from_pretrained(tiny_folder)
    before = ours(tokens).logits
    assert Adapter.open(path).merge(ours) == 14, "seven linear layers in each of two blocks"
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(ours(tokens).logits, before, atol=1e-3)


def test_examples_of_a_row_do_not_see_each_other_and_only_answers_count(
    tuner: Callable[..., Tuner], tiny_folder: Path
) -> None:
    trained, tokenizer = tuner(), AutoTokenizer.from_pretrained(tiny_folder)
    row = trained._packer.row(0)
    assert len(row.sizes) >= 3 and len(row.tokens) <= 128
    total, count = 0.0, 0
    with torch.no_grad():
        packed = trained.loss(row)
        for index in range(len(row.sizes)):
            prompt, answer = (tokenizer.encode(text) for text in pairs(index))
            tokens = torch.tensor([[*prompt, *answer, tokenizer.eos_token_id]])
            logits = trained._inner(tokens).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            total -= float(logits.gather(1, tokens[0, len(prompt) :, None]).sum())
            count += len(answer) + 1
    assert int(row.answers.sum()) == count
    assert float(packed) == pytest.approx(total / count, rel=1e-4)


def test_training_goes_on_where_it_stopped(tuner: Callable[..., Tuner]) -> None:
    whole = list(tuner("whole", steps=6).train())
    first = tuner("parts", steps=6).train()
    begun = [next(first) for _ in range(5)]  # the last state was written after step 4
    rest = list(tuner("parts", steps=6).train())
    assert [row["step"] for row in rest] == [5, 6]
    for ours, theirs in zip([*begun[:4], *rest], whole, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4) and ours["examples"] == theirs["examples"]
    with pytest.raises(TuningError, match="other settings"):
        tuner("parts", steps=7)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(
    tuner: Callable[..., Tuner], tmp_path: Path
) -> None:
    trained = tuner(steps=6)
    rows = trained.train()
    for _ in range(3):
        next(rows)
    kept = (tmp_path / "work" / "state.pt").read_bytes()
    with torch.no_grad():
        trained.parameters[0].fill_(float("nan"))
    with pytest.raises(TuningError, match="step 4: loss nan.*last good state"):
        next(rows)
    assert (tmp_path / "work" / "state.pt").read_bytes() == kept
    assert next(tuner(steps=6).train())["step"] == 3


def test_settings_that_cannot_be(tuner: Callable[..., Tuner], tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="has 3 layers"):
        tuner(first_layer=3)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    with pytest.raises(TuningError, match="a row holds 16"):
        Packer(tokenizer, pairs, 16, 0).row(0)
    (tmp_path / "there").mkdir()
    with pytest.raises(TuningError, match="never overwritten"):
        tuner().save(tmp_path / "there", CARD_OF)


@pytest.fixture
def saved(tuner: Callable[..., Tuner], tmp_path: Path) -> Path:
    return tuner(steps=1).save(tmp_path / "planner", CARD_OF)


def test_an_adapter_for_other_weights_is_refused(saved: Path) -> None:
    adapter = Adapter.open(saved)
    adapter.check("a" * 64)
    with pytest.raises(AdapterError, match="aaaaaaaaaaaa….*bbbbbbbbbbbb…"):
        adapter.check("b" * 64)


def test_damaged_adapters_are_errors_that_say_so(saved: Path, tiny_folder: Path) -> None:
    tensors = load_file(saved / WEIGHTS)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wrong = {name: tensor[:, :-1].contiguous() if "lora_A" in name else tensor for name, tensor in tensors.items()}
    odd = {name.replace("layers", "blocks"): tensor for name, tensor in tensors.items()}
    for bad in (wrong, odd, dict(list(tensors.items())[1:])):
        save_file(bad, saved / WEIGHTS)
        with pytest.raises(AdapterError, match="does not fit"):
            Adapter.open(saved).merge(model)
    (saved / WEIGHTS).write_bytes((saved / WEIGHTS).read_bytes()[:-10])
    with pytest.raises(AdapterError, match="damaged"):
        Adapter.open(saved).merge(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "nothing half merged"
    card = json.loads((saved / CARD).read_text())
    (saved / CARD).write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(AdapterError, match="format 99"):
        Adapter.open(saved)
    (saved / CARD).write_text("{}")
    with pytest.raises(AdapterError, match="no usable adapter"):
        Adapter.open(saved)


def test_an_adapter_is_found_by_name_or_path(saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path))
    assert resolve(str(saved)) == saved
    with pytest.raises(AdapterError, match="there are: planner. "):  # it ships
        resolve("mine")
    (tmp_path / "adapters").mkdir()
    saved.rename(tmp_path / "adapters" / "mine")
    assert resolve("mine") == tmp_path / "adapters" / "mine"
    with pytest.raises(AdapterError, match="there are: planner, mine. "):
        resolve("nobody")


def test_the_shipped_adapter_is_whole_and_fits_the_embedded_model() -> None:
    adapter = Adapter.open(SHIPPED / "planner")
    assert adapter.training == Training("plan", declines=True, supposes=True) and adapter.first_layer == 3
    tensors = load_file(adapter.path / WEIGHTS)
    assert len(tensors) == 2 * 7 * 27 and all(tensor.isfinite().all() for tensor in tensors.values())
    assert (adapter.path / WEIGHTS).stat().st_size < 16e6


def test_training_begins_from_an_adapter(tuner: Callable[..., Tuner], tiny_folder: Path, tmp_path: Path) -> None:
    trained = tuner()
    losses_before = [row["loss"] for row in trained.train()]
    adapter = Adapter.open(trained.save(tmp_path / "first", CARD_OF))
    again = Tuner(tiny_folder, pairs, config(steps=1, rate=1e-6), tmp_path / "again", begin=adapter)
    [row] = again.train()
    assert row["loss"] < 2 * losses_before[-1] < losses_before[0] / 4
    with pytest.raises(TuningError, match="other layers or ranks"):
        Tuner(tiny_folder, pairs, config(rank=2), tmp_path / "other", begin=adapter)


def test_the_card_tells_every_part_of_a_training_first_to_last() -> None:
    first = {"command": "gedanken train --planner --seed 0", "steps": 800, "data": "missions"}
    text = _card_text("again", {"format": 1, "command": "… --seed 1", "steps": 20, "begins_from": first})
    assert "1. `gedanken train --planner --seed 0`: 800 steps. missions\n1. `… --seed 1`: 20 steps.\n" in text
    assert "begins_from" not in text and "- **format**: 1\n" in text
