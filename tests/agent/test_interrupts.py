"""Ctrl-C while a goal is pursued."""

import signal

import pytest

from gedanken.agent.events import StepStarted
from gedanken.agent.interrupts import Interrupts, whole


def test_a_second_ctrl_c_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        interrupts(StepStarted(index=0, of=1, step="go_to(red key)"))
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_what_is_whole_is_done_before_ctrl_c_counts() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), whole():
        signal.raise_signal(signal.SIGINT)
        done.append("looked around")
    assert done == ["looked around"]
    with whole():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
