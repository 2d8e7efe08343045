"""Ctrl-C while a goal is pursued."""

import signal

import pytest

from gedanken.agent.events import StepStarted
from gedanken.agent.interrupts import Interrupts


def test_a_second_ctrl_c_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        interrupts(StepStarted(index=0, of=1, step="go_to(red key)"))
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
