"""The plain command on a board that is ten times slower: this machine, its runs made longer.

Each run of a model takes so many times as long by the clock, and says so (slow_worker.py). So what
the search measures, and when it stops, is that of a slow board; what it computes is this machine's.

    python tests/benchmarks/bench_slow.py [--networks resnet20] [--times 1 10] [--budget 50%]
        [--by repeats]   # or pauses, which disturb what is timed

Every search begins with an empty latency table. Printed are: operators that it measured, the
seconds that measuring took and those of the whole command, the share of the dense latency that was
predicted and that was measured, and the accuracy on all test images. Networks, data and seeds are
those of bench_plain.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench_plain import described, search

from automl.cli.main import run
from automl.profiling import runner

HERE = Path(__file__).resolve().parent
#: Stages in which something is measured.
MEASURING = ("granularity", "measuring", "fitting overhead", "timing")


def slow(command: list[str]) -> Any:
    """The slow worker, in place of the one that was asked for."""
    return PIPE([command[0], str(HERE / "slow_worker.py"), *command[2:]])


PIPE = runner.Pipe


def measured(home: Path, folder: Path) -> str:
    """Rows that the tables gained, and seconds of the stages that measure."""
    rows = sum(len(path.read_text().splitlines()) - 1 for path in home.glob("tables/*.jsonl"))
    stages = json.loads((folder / "outcome.json").read_text())["stages"]
    seconds = sum(each["seconds"] for each in stages if each["name"].startswith(MEASURING))
    return f"{rows} operators, measuring {seconds:.0f} s"


def main() -> None:
    """Print a line a search; as a child, be the command on a slow board."""
    if "AUTOML_SLOW_TIMES" in os.environ and "--times" not in sys.argv:
        with patch.object(runner, "Pipe", slow):
            run()
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["resnet20"])
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--by", choices=("repeats", "pauses"), default="repeats")
    parser.add_argument("--budget", default="50%")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for network in options.networks:
        for times in options.times:
            with tempfile.TemporaryDirectory() as made:
                folder, home = Path(made) / "run", Path(made) / "home"
                os.environ |= {
                    "AUTOML_SLOW_TIMES": str(times),
                    "AUTOML_SLOW_BY": options.by,
                    "AUTOML_HOME": str(home),
                }
                program = (str(HERE / "bench_slow.py"),)
                row = search(network, "cpu", options.budget, options.seed, [], program, folder)
                told = measured(home, folder)
            print(f"{network}, {times} times as slow: {told}; {described(row)}", flush=True)


if __name__ == "__main__":
    main()
