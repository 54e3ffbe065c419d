"""A signal ends a run at once, but for what must not be left half done."""

import os
import signal

import jax
import pytest

from experiments import distributed
from experiments.termination import Terminated, Termination


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_outside_of_the_loop_it_ends_at_once(number):
    with pytest.raises(SystemExit) as end, Termination():
        os.kill(os.getpid(), number)
        pytest.fail("the signal was not heeded")
    assert end.value.code == 128 + number


def test_inside_the_loop_it_waits_to_be_asked_however_often_it_comes():
    with pytest.raises(Terminated) as end, Termination() as termination:
        assert not termination.requested()
        with termination.postponed():
            with termination.postponed():
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
            saved = True
            assert termination.requested()
            termination.end()
    assert saved and end.value.code == 143


def test_a_second_signal_does_not_disturb_the_end_that_the_first_began():
    cleaned = False
    with pytest.raises(Terminated), Termination():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned = True
    assert cleaned


def test_afterwards_signals_are_what_they_were():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Termination():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_process_of_several_that_fails_waits_for_no_other(monkeypatch, capsys):
    def leave(code):
        raise RuntimeError(f"left with {code}")

    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit), distributed.ends_alone():
        raise SystemExit("error: alone")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(RuntimeError, match="left with 1"), distributed.ends_alone():
        raise SystemExit("error: one of two")
    assert capsys.readouterr().err == "error: one of two\n"
    with pytest.raises(Terminated), distributed.ends_alone():  # which all of them do together
        raise Terminated(143)
