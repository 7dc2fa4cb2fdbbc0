"""This machine's clock: one process at a time measures by it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

from automl.files import locked
from automl.latency import user_folder
from automl.profiling import LocalRunner, Timing, measure_models

#: How long one process waits for another that measures.
WAIT_SECONDS: Final = 6 * 3600.0


@contextlib.contextmanager
def measuring_here() -> Iterator[None]:
    """Measure on this machine until the block ends, while no other process does.

    Two processes that measure at a time would each time the other as well.

    Raises:
        LockedError: Another process has been measuring for hours, and which.
        TargetError: There is no home folder for tables.
    """
    folder = user_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f"measuring-on-{socket.gethostname()}", WAIT_SECONDS):
        yield


def time_here(models: dict[str, bytes], threads: int, seconds: float = 12.0) -> dict[str, Timing]:
    """Times of whole networks on this machine, interleaved, with their spread."""
    with measuring_here(), LocalRunner(threads=threads) as runner:
        return measure_models(models, runner, seconds_cap=seconds)
