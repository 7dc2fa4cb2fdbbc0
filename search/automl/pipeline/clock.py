"""This machine's clock: one process at a time measures by it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

from automl.files import locked
from automl.latency import user_folder

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
