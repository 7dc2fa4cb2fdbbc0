"""What sharing saves: a sweep of 64 searches of the example through Ray, and some by themselves.

    python tests/benchmarks/bench_cluster.py [--targets 4] [--budgets 4] [--seeds 2] [--trials 16]
        [--alone 8] [--at-once 2] [--json out.json]

So many fitted targets and budgets, two agents, so many seeds. Searches by themselves are commands
of their own, spread evenly over targets, budgets, agents and seeds, as many at once as the sweep
has; the cost of all is taken to be their mean, agent by agent, times the number of searches. CPU
seconds are compared, for wall time depends on who else is there.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from automl.sweep import Case, SweepResult, make_recipe, run_sweep

TARGETS = ("s10-large", "pixel4-small", "jetson-orin-nano", "rpi4-4t")
BUDGETS = ("70%", "60%", "50%", "40%")
AGENTS = ("lagrangian", "random")


def main() -> None:
    """Run the sweep, then some of its searches by themselves, and print both."""
    args = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"  # as Ray's actors have it
    grid = {
        "target": list(TARGETS[: args.targets]),
        "budget": list(BUDGETS[: args.budgets]),
        "agent": list(AGENTS),
        "seed": list(range(args.seeds)),
    }
    ray = {"concurrency": args.at_once}
    common = {"trials": args.trials}
    with tempfile.TemporaryDirectory() as folder:
        written = {"common": common, "grid": grid, "out": f"{folder}/sweep", "ray": ray}
        recipe = make_recipe(written, folder=Path(folder))
        start, before = time.monotonic(), ended()
        result = run_sweep(recipe, ray="local")
        wall, everything = time.monotonic() - start, ended() - before
        sizes = (args.targets, args.budgets, args.seeds)
        chosen = spread(recipe.cases, args.alone, *sizes)
        with ThreadPoolExecutor(args.at_once) as pool:
            numbered = list(enumerate(chosen))
            alone = list(
                pool.map(lambda each: seconds_alone(each[1], Path(folder) / f"{each[0]}"), numbered)
            )
    found = compared(result, list(zip(chosen, alone, strict=True)), everything)
    found = {"trials": args.trials, "wall_seconds": round(wall, 1), **found}
    print(json.dumps(found, indent=2))
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=len(TARGETS))
    parser.add_argument("--budgets", type=int, default=len(BUDGETS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--alone", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def spread(cases: Sequence[Case], count: int, targets: int, budgets: int, seeds: int) -> list[Case]:
    """So many of the cases, each target, budget, agent and seed as often as any other."""
    wanted = [
        (
            TARGETS[n % targets],
            (BUDGETS[(n % targets + 2 * (n // targets)) % budgets],),
            AGENTS[(n % targets + n // targets) % 2],
            (n // 2 + n // targets) % seeds,
        )
        for n in range(count)
    ]
    known = {
        (each.search.target, each.search.budget, each.search.agent, each.search.seed): each
        for each in cases
    }
    return [known[each] for each in dict.fromkeys(wanted)]


def compared(
    result: SweepResult, alone: Sequence[tuple[Case, float]], everything: float
) -> dict[str, Any]:
    """The sweep's CPU seconds beside those of as many searches by themselves."""
    shared = sum(row.cpu_seconds for row in result.rows)
    agents, separate = {}, 0.0
    for agent in AGENTS:
        rows = [row.cpu_seconds for row in result.rows if row.agent == agent]
        by_themselves = [seconds for case, seconds in alone if case.search.agent == agent]
        if not by_themselves:
            raise SystemExit(f"no search of {agent} by itself: --alone 2 or more")
        separate += mean(by_themselves) * len(rows)
        agents[agent] = {
            "searches": len(rows),
            "cpu_seconds_each_in_the_sweep": round(mean(rows), 1),
            "cpu_seconds_each_alone": round(mean(by_themselves), 1),
        }
    return {
        "searches": len(result.rows),
        "states": sorted({row.state for row in result.rows}),
        "cpu_seconds_of_searches": round(shared, 1),
        "cpu_seconds_of_all_processes": round(everything, 1),
        "agents": agents,
        "alone": {case.name: round(seconds, 1) for case, seconds in alone},
        "cpu_seconds_alone_all": round(separate, 1),
        "share": round(shared / separate, 3),
        "share_with_rays_own_processes": round(everything / separate, 3),
    }


def ended() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds_alone(case: Case, out: Path) -> float:
    """CPU seconds of one search as a command of its own."""
    words: Sequence[str] = [
        word for key, value in case.values.items() for word in (f"--{key}", str(value))
    ]
    command = [sys.executable, "-m", "automl", "search", *words, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
