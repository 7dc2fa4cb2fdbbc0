"""A worker whose runs take so many times as long: it stands for a slower board (bench_slow.py).

A run is as many runs, one after the other, or it is followed by a pause and says that it took as
long. After a pause the caches are cold and the core has slept, as on no board that works.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import automl.profiling


def main() -> None:
    """The worker as it is, but for how it runs a model."""
    times, pauses = int(os.environ["AUTOML_SLOW_TIMES"]), os.environ["AUTOML_SLOW_BY"] == "pauses"
    folder = str(Path(automl.profiling.__file__).parent)
    sys.path.insert(0, folder)
    worker: Any = importlib.import_module("worker")
    quickest = worker.quickest

    def slow(call: Callable[[], None], threads: int) -> Callable[[int], float]:
        timed = quickest(call, threads)

        def pausing() -> float:
            found = timed(1)
            time.sleep(found * (times - 1))
            return found * times

        def repeating() -> float:
            return sum(timed(1) for _ in range(times))

        once = pausing if pauses else repeating
        return lambda repeats: min(once() for _ in range(repeats))

    worker.quickest = slow
    worker.main()


if __name__ == "__main__":
    main()
