"""What sharing saves: a sweep of 64 searches of the example through Ray, and some by themselves.

    python tests/benchmarks/bench_cluster.py [--budgets 4] [--seeds 2] [--alone 4] [--json out.json]

Four fitted targets, so many budgets, two agents, so many seeds. Searches by themselves are commands
of their own, evenly chosen; the cost of all is taken to be their mean times the number of searches.
CPU seconds of the searches' processes are compared, for wall time depends on who else is there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from automl.sweep import Case, make_recipe, run_sweep

TARGETS = ("s10-large", "pixel4-small", "jetson-orin-nano", "rpi4-4t")
BUDGETS = ("70%", "60%", "50%", "40%")
AGENTS = ("lagrangian", "random")
TRIALS = 24


def main() -> None:
    """Run the sweep, then some of its searches by themselves, and print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budgets", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--alone", type=int, default=4)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    grid = {
        "target": list(TARGETS),
        "budget": list(BUDGETS[: args.budgets]),
        "agent": list(AGENTS),
        "seed": list(range(args.seeds)),
    }
    with tempfile.TemporaryDirectory() as folder:
        written = {"common": {"trials": TRIALS}, "grid": grid, "out": f"{folder}/sweep"}
        recipe = make_recipe(written, folder=Path(folder))
        start, cpu = time.monotonic(), children()
        result = run_sweep(recipe, ray="local")
        wall = time.monotonic() - start
        shared = sum(row.cpu_seconds for row in result.rows)
        everything = children() - cpu  # with Ray's own processes, where they have ended
        chosen = recipe.cases[:: max(1, len(recipe.cases) // args.alone)][: args.alone]
        alone = [seconds_alone(case, Path(folder) / f"alone-{n}") for n, case in enumerate(chosen)]
    separate = sum(alone) / len(alone) * len(recipe.cases)
    found: dict[str, Any] = {
        "searches": len(recipe.cases),
        "states": sorted({row.state for row in result.rows}),
        "wall_seconds": round(wall, 1),
        "cpu_seconds_of_searches": round(shared, 1),
        "cpu_seconds_of_all_processes": round(everything, 1),
        "alone_measured": len(alone),
        "cpu_seconds_alone_each": [round(each, 1) for each in alone],
        "cpu_seconds_alone_all": round(separate, 1),
        "share": round(shared / separate, 3),
    }
    print(json.dumps(found, indent=2))
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def children() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds_alone(case: Case, out: Path) -> float:
    """CPU seconds of one search as a command of its own."""
    words: Sequence[str] = [
        word for key, value in case.values.items() for word in (f"--{key}", str(value))
    ]
    before = children()
    command = [sys.executable, "-m", "automl", "search", *words, "--out", str(out)]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env=os.environ)
    return children() - before


if __name__ == "__main__":
    main()
