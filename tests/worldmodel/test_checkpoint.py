import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gedanken.agent.loading import latest
from gedanken.agent.recipes import babyai
from gedanken.worldmodel import checkpoint
from gedanken.worldmodel.checkpoint import (
    FORMAT,
    CheckpointError,
    Trained,
    available,
    begin_from,
    build,
    home,
    load,
    next_path,
    resolve,
    save,
    save_next,
    stem_of,
)
from gedanken.worldmodel.spatial import SIZES
from gedanken.worlds.babyai import SPEC
from gedanken.worlds.spec import WorldSpec

CARD = {"seconds": 1.5, "seeds": "0…9"}


@pytest.fixture(autouse=True)
def gedanken_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEDANKEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def trained() -> Trained:
    torch.manual_seed(1)
    model, controller = build(SPEC, "spatial", SIZES["debug"].model_dump())
    return Trained(model, controller.eval(), "tiny", card=CARD)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    model: Any = trained.model
    parts = {"model": model.state_dict(), "controller": trained.controller.state_dict()}
    return {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}


def edit(path: Path, **changes: Any) -> None:
    file = path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_what_is_saved_is_loaded(trained: Trained, tmp_path: Path) -> None:
    path = save(trained, tmp_path / "tiny-1")
    again = load(path, SPEC)
    assert (again.name, again.path, again.card) == ("tiny-1", path, CARD)
    before, after = weights(trained), weights(again)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].half(), after[name].half()) for name in before)
    step = torch.tensor([SPEC.step_codes(SPEC.parse_step("go_to(red ball)"))])
    acts = [t.controller.act(t.model.initial(1), step) for t in (trained, again)]
    torch.testing.assert_close(*acts, atol=0.01, rtol=0)
    twice = weights(load(save(again, tmp_path / "tiny-2"), SPEC))
    assert all(torch.equal(after[name], twice[name]) for name in after)
    assert not any(value.requires_grad for value in again.controller.parameters())
    assert sorted(file.name for file in path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert "- **seconds**: 1.5" in (path / "README.md").read_text()


def test_files_of_others_travel_along_and_do_not_replace_what_is_new(trained: Trained, tmp_path: Path) -> None:
    first = save(trained, tmp_path / "a")
    (first / "critic.json").write_text("{}")
    second = save(Trained(trained.model, trained.controller, "b", card={"note": "new"}), tmp_path / "b", beside=first)
    assert (second / "critic.json").read_text() == "{}"
    assert load(second, SPEC).card == {"note": "new"}


def test_two_who_learn_at_once_both_keep_what_they_learned(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may take the number between the choice of it and the last moment."""
    rename = Path.rename

    def slow(folder: Path, path: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        save_next(trained, "tiny")
        return rename(folder, path)

    monkeypatch.setattr(Path, "rename", slow)
    assert save_next(trained, "tiny").name == "tiny-2" and stem_of("tiny-2") == "tiny"
    assert sorted(path.name for path in (home() / "checkpoints").iterdir()) == ["tiny-1", "tiny-2"]


def test_a_checkpoint_is_never_overwritten(trained: Trained, tmp_path: Path) -> None:
    path = save(trained, tmp_path / "tiny")
    before = (path / "model.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="exists; a checkpoint is never overwritten"):
        save(trained, path)
    assert (path / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]


def test_a_failed_save_leaves_nothing_behind(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gedanken.worldmodel.checkpoint.save_file", full)
    with pytest.raises(CheckpointError, match="No space left on device.*; free some space"):
        save(trained, tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_another_world_is_refused_saying_what_differs(trained: Trained, tmp_path: Path) -> None:
    path = save(trained, tmp_path / "tiny")
    other = WorldSpec.model_validate({**SPEC.model_dump(), "name": "maze", "actions": (*SPEC.actions, "jump")})
    with pytest.raises(CheckpointError) as caught:
        load(path, other)
    message = str(caught.value)
    assert "was trained for world 'babyai'" in message and "not for 'maze'" in message
    assert "they differ in: name, actions" in message and "gedanken train" in message


def test_truncated_weights_are_told_from_missing_ones(trained: Trained, tmp_path: Path) -> None:
    path = save(trained, tmp_path / "tiny")
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="truncated or damaged.*fetch or train it again"):
        load(path, SPEC)
    file.unlink()
    with pytest.raises(CheckpointError, match="fetch or train it again"):
        load(path, SPEC)


OTHER = "made by another version of gedanken.*make it anew.*or take one that ships"


def test_another_format_is_refused_before_anything_else_is_read(trained: Trained, tmp_path: Path) -> None:
    path = save(trained, tmp_path / "tiny")
    for version in (FORMAT + 1, FORMAT - 1):
        (path / "config.json").write_text(json.dumps({"format": version, "family": "spatial"}))
        with pytest.raises(CheckpointError, match=rf"another version.*format {version}, this one reads {FORMAT}"):
            load(path, SPEC)


@pytest.mark.parametrize("change", ["sizes", "a shape", "a name more", "a name less", "no size"])
def test_another_layout_is_told_from_damage(trained: Trained, tmp_path: Path, change: str) -> None:
    path = save(trained, tmp_path / "tiny")
    file = path / "model.safetensors"
    tensors = load_file(file)
    name = next(iter(tensors))
    if change == "sizes":
        edit(path, config=SIZES["small"].model_dump())
    elif change == "no size":
        edit(path, config={"radius": "wide"})
    elif change == "a shape":
        tensors[name] = torch.zeros(3)
    elif change == "a name more":
        tensors["model.old.weight"] = torch.zeros(3)
    else:
        del tensors[name]
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=OTHER):
        load(path, SPEC)


def test_an_unknown_family_is_refused(trained: Trained, tmp_path: Path) -> None:
    path = save(trained, tmp_path / "tiny")
    edit(path, family="quantum")
    with pytest.raises(CheckpointError, match="unknown family 'quantum'; there are spatial and rssm"):
        load(path, SPEC)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "one"}'])
def test_a_damaged_config_is_one_clear_error(trained: Trained, tmp_path: Path, text: str) -> None:
    path = save(trained, tmp_path / "tiny")
    (path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json can't be read"):
        load(path, SPEC)


def test_a_config_that_lacks_something_says_what(trained: Trained, tmp_path: Path) -> None:
    path = save(trained, tmp_path / "tiny")
    (path / "config.json").write_text('{"format": 1, "family": "spatial", "config": {}, "card": {}}')
    with pytest.raises(CheckpointError, match=r"config\.json lacks spec, spec_hash; fetch or train it again"):
        load(path, SPEC)


def test_worlds_whose_names_end_in_numbers_have_checkpoints_of_their_own() -> None:
    for name in ("CartPole-v1-1", "CartPole-v1-2", "CartPole-v1-2-1", "CartPole-v1-2-2", "CartPole-v1-2-3"):
        assert next_path(stem_of(name)).name == name
        next_path(stem_of(name)).mkdir(parents=True)
    assert latest("CartPole-v1") == "CartPole-v1-2" and latest("CartPole-v1-2") == "CartPole-v1-2-3"
    assert next_path("CartPole-v1").name == "CartPole-v1-3"


def test_checkpoints_are_found_by_name_and_numbered(trained: Trained, gedanken_home: Path) -> None:
    assert home() == gedanken_home
    first = save(trained, next_path("tiny"))
    second = save(trained, next_path(stem_of("tiny-1")))
    assert [first.name, second.name] == ["tiny-1", "tiny-2"] and next_path("other").name == "other-1"
    assert resolve("tiny-2") == second and resolve(first) == first
    (first / "config.json").write_text("damaged")
    mine = [info for info in available() if info.path.is_relative_to(gedanken_home)]
    assert [(info.name, info.family, info.spec_name, info.card) for info in mine] == [
        ("tiny-2", "spatial", "babyai", CARD)
    ]
    parameters = sum(value.numel() for value in weights(trained).values())
    assert abs(mine[0].parameters - parameters) < 0.05 * parameters
    with pytest.raises(CheckpointError, match="no checkpoint 'nowhere'; there are: .*tiny-2"):
        resolve("nowhere")


def test_shipped_checkpoints_are_small_and_load() -> None:
    for info in available():
        assert info.bytes < 16_000_000
        if info.spec_name == SPEC.name:  # the others load in tests/worlds/test_shipped.py
            load(info.path, SPEC)


def test_a_world_gets_the_shipped_checkpoint_that_practised_little_else(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path)
    spec = trained.model.spec
    with pytest.raises(CheckpointError, match="no checkpoint ships for"):
        checkpoint.shipped(spec, "one")
    for name, levels in (("all", ["one", "two", "three"]), ("few", ["one", "two"]), ("unknown", [])):
        card = {"levels": levels} if levels else {}
        checkpoint.save(Trained(trained.model, trained.controller, name, None, card), tmp_path / name)
    assert [checkpoint.shipped(spec, world) for world in ("one", "three", "four")] == ["few", "all", "all"]


def test_what_was_measured_is_what_a_world_gets() -> None:
    """The figures of the suite `babyai-local` are the checkpoint `babyai`'s; levels of many rooms are not for it."""
    rooms = ("KeyCorridor", "BossLevel", "GoToImpUnlock", "PutNextS7N4", "OpenTwoDoors")
    assert {checkpoint.shipped(SPEC, level) for level in babyai().suite} == {"babyai"}
    assert {checkpoint.shipped(SPEC, f"BabyAI-{name}-v0") for name in rooms} == {"rooms"}


def test_a_wider_model_begins_as_the_one_it_goes_on_from(trained: Trained, tmp_path: Path) -> None:
    path = save(trained, tmp_path / "tiny-1")
    wide = SIZES["debug"].model_copy(update={"radius": 9, "window": 6, "ways": True})
    model, controller = build(SPEC, "spatial", wide.model_dump())
    begin_from(path, Trained(model, controller.eval(), "wide"))
    step = torch.tensor([SPEC.step_codes(SPEC.parse_step("go_to(red ball)"))])
    view = torch.randint(0, 3, (1, 7, 7, 3))
    first = torch.zeros(1, dtype=torch.long), view, torch.tensor([True])
    old = load(path, SPEC)
    acts = [c.act(m.observe(m.initial(1), *first), step) for m, c in ((old.model, old.controller), (model, controller))]
    assert torch.allclose(*acts, atol=1e-5)


def test_what_has_no_place_is_refused(trained: Trained, tmp_path: Path) -> None:
    path = save(trained, tmp_path / "tiny-1")
    small = SIZES["debug"].model_copy(update={"hidden": 32})
    with pytest.raises(CheckpointError, match="can't be gone on from"):
        begin_from(path, Trained(*build(SPEC, "spatial", small.model_dump()), "small"))
