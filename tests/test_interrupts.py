"""What ends foreign code, and what it does not end."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from automl import interrupts
from automl.errors import Raised, attempt
from automl.interrupts import OverTime, asked_to_end, endable, raise_asked, time_limit


def ignore(error: OverTime) -> None:
    del error


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The signals as they were, whatever a test does."""
    names = (*interrupts.ENDING, "SIGALRM")
    before = {number: signal.getsignal(number) for number in (getattr(signal, n) for n in names)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", interrupts.ENDING)
def test_each_signal_interrupts_as_ctrl_c_does(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with endable(ignore):
        assert not asked_to_end()
        raise_asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert asked_to_end()
        with pytest.raises(KeyboardInterrupt):
            raise_asked()
    assert signal.getsignal(number) is before
    raise_asked()  # what comes after the block was not asked to end


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with endable(ignore):
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def raising() -> None:
    raise KeyboardInterrupt


def test_an_interrupt_that_nobody_asked_for_is_the_codes_own() -> None:
    with endable(ignore):
        found = attempt(raising)
        assert str(found).startswith("it raised KeyboardInterrupt by itself (")
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            attempt(raising)
    with pytest.raises(KeyboardInterrupt):  # nobody watches: it may be Ctrl-C
        attempt(raising)


def test_in_another_thread_nothing_is_changed() -> None:
    found: list[object] = []

    def run() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with endable(ignore), time_limit(0.01):
            time.sleep(0.05)
            found.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [True]


def sleeping() -> None:
    with time_limit(0.05):
        time.sleep(600)


def test_what_takes_longer_is_interrupted() -> None:
    found = attempt(sleeping)
    assert isinstance(found, Raised)
    assert str(found).startswith(f"it took more than 0.05 s ({__file__}:")
    with time_limit(0.05):
        pass
    time.sleep(0.1)  # nothing comes afterwards


def test_a_limit_within_a_limit_leaves_the_outer_one() -> None:
    def inner() -> None:
        with time_limit(600.0):
            pass
        time.sleep(600)

    with pytest.raises(OverTime, match=r"more than 0\.1 s"), time_limit(0.1):
        inner()


def test_what_cannot_be_interrupted_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "GRACE", 0.05)
    given_up = threading.Event()
    with endable(lambda error: given_up.set()), contextlib.suppress(OverTime), time_limit(0.05):
        while not given_up.is_set():
            with contextlib.suppress(OverTime):
                time.sleep(0.01)
    assert given_up.is_set()
