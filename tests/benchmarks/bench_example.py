"""The embedded example's default search on several targets: what it found, and what that cost.

Seeds draw the sampled positions and what the agents draw. Accuracies are on the shipped test
images, each of a final model. With --write the first seed's policies go into policies/, where a
test prices them again from the shipped tables.

    python tests/benchmarks/bench_example.py --targets cpu jetson-orin-nano rpi4-1t pixel4-large
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from automl.api import make_task
from automl.example.data import loaders
from automl.example.model import pretrained
from automl.pipeline import search
from automl.pipeline.requests import SearchRequest, SearchResult, Task, ignore

POLICIES = Path(__file__).resolve().parents[2] / "policies"


def task() -> Task:
    """The example under the names that the command gives it."""
    made = make_task(pretrained(), loaders(), data_name="automl.example.data:loaders")
    return replace(made, model_name="automl.example.model:pretrained")


def run(target: str, budget: str, agent: str, seed: int, out: Path) -> tuple[SearchResult, float]:
    """One search and its wall seconds."""
    start = time.monotonic()
    request = SearchRequest(
        task=task(),
        target=target,
        budget=(budget,),
        out=out,
        agent=agent,
        seed=seed,
        precisions=("float",),
    )
    return search(request, ignore), time.monotonic() - start


def milliseconds(seconds: float | None) -> str:
    """For the table."""
    return f"{'-':>9}" if seconds is None else f"{1e3 * seconds:9.3f}"


def main() -> None:
    """Print one line a search, then means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", nargs="+", default=["cpu"])
    parser.add_argument("--agents", nargs="+", default=["lagrangian", "uniform"])
    parser.add_argument("--budget", default="50%")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    print(
        f"{'target':18}{'agent':12}{'seed':>4}{'dense':>8}{'found':>8}"
        f"{'predicted':>10}{'measured':>9}{'wall s':>8}"
    )
    for target in options.targets:
        for agent in options.agents:
            drops = []
            for seed in range(options.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    found, wall = run(target, options.budget, agent, seed, Path(folder))
                    if options.write and seed == 0 and agent == "lagrangian":
                        name = f"example-{target}-{options.budget.replace('%', 'pct')}.json"
                        shutil.copy(found.policy_path, POLICIES / name)
                before, after = found.dense.score or 0.0, found.compressed.score or 0.0
                drops.append(100 * (before - after))
                predicted = milliseconds(found.compressed.predicted_seconds)
                measured = milliseconds(found.compressed.measured_seconds)
                print(
                    f"{target:18}{agent:12}{seed:4}{100 * before:8.2f}{100 * after:8.2f}"
                    f" {predicted}{measured}{wall:8.0f}",
                    flush=True,
                )
            spread = f" +- {stdev(drops):.2f}" if len(drops) > 1 else ""
            print(f"{target:18}{agent:12} mean drop {mean(drops):.2f}{spread} points", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"largest memory of this process: {peak / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
