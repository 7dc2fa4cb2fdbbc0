"""Two searches at once beside one alone: what threads that spin for each other's cores cost.

The example by `automl search`, with as many threads as there are cores, alone and two at once; with
libgomp's own waiting (`GOMP_SPINCOUNT=300000`) and with the command's, which looks as it starts
whether others have the cores. The second of two begins five seconds after the first. Rounds are
interleaved.

    python tests/benchmarks/bench_beside.py
    python tests/benchmarks/bench_beside.py --rounds 3 --json beside.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEARCH = ["search", "--example", "classifier", "--target", "rpi4-1t", "--budget", "50%"]
#: Of libgomp where nothing says otherwise, and none: the command says it then.
WAYS = {"libgomp's": {"GOMP_SPINCOUNT": "300000"}, "ours": {}}
APART_SECONDS = 5.0
ASKED = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


def searched(count: int, way: str) -> float:
    """Seconds until so many searches, of which each begins a little later, are done."""
    kept = {name: each for name, each in os.environ.items() if name not in ASKED}
    told = kept | WAYS[way] | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        running = []
        for number in range(count):
            time.sleep(APART_SECONDS if number else 0)
            command = [sys.executable, "-m", "automl", *SEARCH, "--out", f"{folder}/{number}"]
            silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            running.append(subprocess.Popen(command, env=told, **silent))
        ended = [each.wait() for each in running]
        if any(ended):
            raise SystemExit("a search failed")
        return time.monotonic() - start


def main() -> None:
    """Measure, and print a line each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {way: {"1": [], "2": []} for way in WAYS}
    for _ in range(options.rounds):
        for way, times in found.items():
            for count, seconds in times.items():
                seconds.append(searched(int(count), way))
    print("| waiting | one search, s | two at once, s |\n|---|---|---|")
    for way, times in found.items():
        cells = [" ".join(f"{each:.0f}" for each in sorted(times[count])) for count in ("1", "2")]
        print(f"| {way} | {cells[0]} | {cells[1]} |")
    if options.json:
        options.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
