from pathlib import Path

import pytest
import torch

from gedanken.agent.llm.embedded import EmbeddedModel
from gedanken.agent.llm.packed import PackedLinear, can_pack, pack

pytestmark = pytest.mark.skipif(not can_pack(), reason="no FBGEMM on this machine")


@pytest.mark.parametrize("bias", [True, False])
def test_computes_what_the_linear_layer_computes(bias: bool) -> None:
    linear = torch.nn.Linear(48, 32, bias=bias)
    linear.weight.data = linear.weight.data.half().float()
    inputs = torch.randn(2, 5, 48)
    torch.testing.assert_close(PackedLinear(linear)(inputs), linear(inputs), rtol=1e-4, atol=1e-5)


def test_packs_every_layer_but_the_one_to_keep() -> None:
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 4), torch.nn.Sequential(torch.nn.Linear(4, 4)), torch.nn.Linear(4, 2)
    )
    keep = model[2]
    assert pack(model, keep=keep) == 2
    assert model[2] is keep
    assert isinstance(model[0], PackedLinear)
    assert model(torch.zeros(1, 4)).shape == (1, 2)


def test_a_packed_model_writes_what_the_plain_one_writes(tiny_folder: Path, grammar: str) -> None:
    def ask(dtype: torch.dtype | None) -> list[tuple[str, float]]:
        model = EmbeddedModel.from_folder(tiny_folder, dtype=dtype)
        packed = any(isinstance(module, PackedLinear) for module in model._model.modules())
        assert packed == (dtype is None and model._model.dtype == torch.float32)
        answers = model.complete(["Plan:\n"], n=4, grammar=grammar, temperature=0, max_tokens=60, seed=0)
        return [(c.text, c.log_probability) for c in answers[0]]

    for (text, log_probability), (expected, expected_log_probability) in zip(
        ask(None), ask(torch.float32), strict=True
    ):
        assert text == expected
        assert log_probability == pytest.approx(expected_log_probability, abs=0.05)
