"""What ends foreign code: Ctrl-C and its like, and limits of time.

A KeyboardInterrupt that foreign code raises by itself is told apart from one that was asked for.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from math import isinf
from types import FrameType
from typing import Final

#: Signals that ask a command to end: Ctrl-C, `kill`, and a terminal that was closed.
ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP")
#: Seconds in which code that is over its time may still notice it; it is told every second.
GRACE: Final = 10.0


class OverTime(BaseException):
    """Code that takes longer than it may.

    It is no Exception: foreign code that expects some goes on after each.

    Attributes:
        seconds: What it may take.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"it took more than {self.seconds:g} s"


class _Watch:
    """What was asked of this process.

    Attributes:
        watching: Whether the signals come to `take`; else nothing is known of who interrupts.
        asked: Whether one has come.
        give_up: Ends the process where code over its time cannot be interrupted, which nothing else
            can end; None where that is not ours to do.
    """

    def __init__(self) -> None:
        self.watching = False
        self.asked = False
        self.give_up: Callable[[OverTime], None] | None = None

    def take(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True
        raise KeyboardInterrupt


_watch: Final = _Watch()


@contextlib.contextmanager
def endable(give_up: Callable[[OverTime], None]) -> Iterator[None]:
    """Let each of `ENDING` interrupt the main thread as Ctrl-C does, until the block ends.

    What the process was started to ignore (`nohup`, a shell's background) stays ignored. In another
    thread than the main one nothing is changed.

    Args:
        give_up: Ends the process, from another thread, where code that is over its `time_limit`
            cannot be interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for name in ENDING:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _watch.take)
    _watch.watching, _watch.asked, _watch.give_up = True, False, give_up
    try:
        yield
    finally:
        _watch.watching, _watch.asked, _watch.give_up = False, False, None
        for number, handler in before.items():
            signal.signal(number, handler)


def asked_to_end() -> bool:
    """Whether a KeyboardInterrupt is somebody's wish, as far as that can be known.

    It is not where the signals are watched (`endable`) and none has come: then foreign code raised
    it by itself.
    """
    return _watch.asked or not _watch.watching


def raise_asked() -> None:
    """Raise the KeyboardInterrupt that was asked for, where foreign code has kept it to itself."""
    if _watch.asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block where it takes longer; in the main thread, where signals come, alone.

    Args:
        seconds: Of wall time; infinite for no limit.

    Raises:
        OverTime: Inside the block, and again each second that it does not end.
    """
    alarm = getattr(signal, "SIGALRM", None)  # Windows has none
    main = threading.current_thread() is threading.main_thread()
    if isinf(seconds) or alarm is None or not main:
        yield
        return
    error = OverTime(seconds)

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise error.with_traceback(None)

    done = threading.Event()
    if _watch.give_up is not None:
        arguments = (done, error, _watch.give_up)
        threading.Thread(target=_give_up, args=arguments, daemon=True).start()
    start, handler = time.monotonic(), signal.signal(alarm, interrupt)
    outer, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        done.set()
        signal.signal(alarm, handler)
        if outer:  # somebody else's, who is told late where it is over by now
            left = max(1e-3, outer - (time.monotonic() - start))
            signal.setitimer(signal.ITIMER_REAL, left, interval)


def _give_up(done: threading.Event, error: OverTime, give_up: Callable[[OverTime], None]) -> None:
    if not done.wait(error.seconds + GRACE):
        give_up(error)
