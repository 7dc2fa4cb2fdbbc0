"""One process at a time measures on this machine."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from automl.errors import LockedError
from automl.pipeline import clock


def _hold(home: str, taken: str) -> None:
    patch = pytest.MonkeyPatch()
    patch.setenv("AUTOML_HOME", home)
    with clock.measuring_here():
        Path(taken).write_text("")
        time.sleep(0.5)


def test_a_second_process_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    taken = tmp_path / "taken"
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=_hold, args=(str(tmp_path / "home"), str(taken)))
    other.start()
    try:
        while not taken.exists():
            assert other.is_alive()
            time.sleep(0.01)
        monkeypatch.setattr(clock, "WAIT_SECONDS", 0.0)
        with pytest.raises(LockedError, match="is in use by process"), clock.measuring_here():
            pass
        monkeypatch.setattr(clock, "WAIT_SECONDS", 30.0)
        with clock.measuring_here():
            assert other.exitcode is None or other.exitcode == 0
    finally:
        other.join()
