"""A worker whose runs take so many times as long: it stands for a slower board (bench_slow.py)."""

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
    """The worker as it is, but that each run sleeps, and says that it took as long."""
    times = float(os.environ["AUTOML_SLOW_TIMES"])
    folder = str(Path(automl.profiling.__file__).parent)
    sys.path.insert(0, folder)
    worker: Any = importlib.import_module("worker")
    quickest = worker.quickest

    def slow(call: Callable[[], None], threads: int) -> Callable[[int], float]:
        timed = quickest(call, threads)

        def run(repeats: int) -> float:
            found = []
            for _ in range(repeats):
                found.append(timed(1))
                time.sleep(found[-1] * (times - 1))
            return min(found) * times

        return run

    worker.quickest = slow
    worker.main()


if __name__ == "__main__":
    main()
