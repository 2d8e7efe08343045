import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from gedanken.agent.config import LoopConfig
from gedanken.options import NAMES
from gedanken.pursue import run_command
from gedanken.worldmodel.collect import Practice
from gedanken.worldmodel.episode import STANDSTILL


def test_every_field_is_documented_and_an_option() -> None:
    shown = " ".join(CliRunner().invoke(run_command, ["--help"], terminal_width=100).output.split())
    for name, field in LoopConfig.model_fields.items():
        assert field.description
        assert f"--{NAMES.get(name, name).replace('_', '-')}" in shown
        assert " ".join(field.description.split()[:4]) in shown
        if field.default is not None:  # else the description says what happens
            assert f"[default: {str(field.default).lower() if field.annotation is bool else field.default}]" in shown
    assert "None" not in shown


def test_debug_is_smaller() -> None:
    assert LoopConfig.preset("debug").samples < LoopConfig().samples
    assert LoopConfig.preset("debug", samples=7).samples == 7


def test_out_of_range_is_an_error() -> None:
    with pytest.raises(ValidationError):
        LoopConfig(samples=0)
    with pytest.raises(ValidationError):
        LoopConfig(unknown=1)  # type: ignore[call-arg]


def test_practice_rehearsal_and_reality_give_up_at_the_same_standstill() -> None:
    assert LoopConfig().standstill == Practice().standstill == STANDSTILL


def test_a_checkpoint_has_its_own_patience_unless_somebody_chose() -> None:
    card = {"patience": 250, "horizon": 120, "seconds": 7}
    own = LoopConfig().practised(card)
    assert (own.patience, own.horizon, own.samples) == (250, 120, LoopConfig().samples)
    assert LoopConfig(patience=9).practised(card).patience == 9
    assert LoopConfig.preset("debug").practised(card).horizon == LoopConfig.preset("debug").horizon
    assert LoopConfig().practised({}) == LoopConfig()
