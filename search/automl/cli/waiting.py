"""How threads of PyTorch wait for each other, where other work has their cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: How often a thread (of libgomp) looks whether the others are done before it sleeps. Its own
#: 300,000 hold a core for milliseconds, in which another process has the other thread's core.
_LOOKS: Final = ("GOMP_SPINCOUNT", "1000")
_ASKED: Final = (_LOOKS[0], "OMP_WAIT_POLICY")
_SAMPLES: Final = 3
_APART_SECONDS: Final = 0.002
_LOAD: Final = Path("/proc/loadavg")


def wait_briefly_where_busy(running: Callable[[], int] | None = None) -> None:
    """Have threads sleep soon at barriers if other work has half of the cores now.

    Two searches at once took five and eight times as long as one (bench_beside.py, two runs). Where
    nothing else runs, sleeping costs a quarter, so it is not asked for. Read as torch is loaded,
    so this comes before. What the user's environment says stays. Results do not depend on it.

    Args:
        running: Gives how many threads run or would, in the whole machine, this one among them;
            None for the kernel's number where there is one (Linux).
    """
    if any(name in os.environ for name in _ASKED):
        return
    if running is None:
        if not _LOAD.is_file():
            return
        running = _running
    fewest = running()
    for _ in range(_SAMPLES - 1):
        time.sleep(_APART_SECONDS)
        fewest = min(fewest, running())
    if fewest - 1 >= len(os.sched_getaffinity(0)) / 2:
        os.environ.update([_LOOKS])


def _running() -> int:
    return int(_LOAD.read_text().split()[3].partition("/")[0])
