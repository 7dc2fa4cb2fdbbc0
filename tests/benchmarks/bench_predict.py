"""Leave-family-out error of the fitted predictor beside both baselines, and its speed.

PYTHONPATH=search python tests/benchmarks/bench_predict.py --data ../shared/device_data
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "search" / "recipes"))

from fitted_units import fit_all  # noqa: E402

from automl.latency.keys import OpKey  # noqa: E402
from automl.latency.table import LatencyTable  # noqa: E402


def errors(folder: Path) -> None:
    """Prints one line a unit."""
    print("mean absolute relative error (rank correlation) on families left out of the fit")
    for unit, one in fit_all(folder).items():
        macs, linear = one.baselines
        cells = (
            f"{name} {found.error:6.1%} ({found.rank_correlation:5.2f})"
            for name, found in (("fitted", one.held_out), ("MACs", macs), ("linear", linear))
        )
        name = f"{unit.device} {unit.runtime} {unit.cores} {unit.precision}"
        print(f"{name:44s} {len(one.timed):4d} timings  {'  '.join(cells)}")


def speed() -> None:
    """Prints seconds to load each kind of table, and to price 20,000 operators."""
    generator = np.random.default_rng(0)
    keys = [
        OpKey("conv2d", a, b, (3, 3), in_size=(s, s), out_size=(s, s), precision="fp16")
        for a, b, s in generator.integers(8, 512, (20_000, 3)).tolist()
    ]
    for name in ("jetson-orin-nano", "rk3399", "bitfusion"):
        start = time.perf_counter()
        table = LatencyTable.read(ROOT / "latency_tables" / f"{name}.jsonl")
        print(f"load {name}: {time.perf_counter() - start:.4f} s, {len(table)} rows")
    table = LatencyTable.read(ROOT / "latency_tables" / "jetson-orin-nano.jsonl")
    table.lookup(keys[:1])
    start = time.perf_counter()
    table.lookup(keys)
    print(f"price {len(keys)} operators that have no row: {time.perf_counter() - start:.3f} s")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Error and speed of the fitted predictor.")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "device_data")
    parser.add_argument("--speed-only", action="store_true")
    options = parser.parse_args()
    speed()
    if not options.speed_only:
        errors(options.data)


if __name__ == "__main__":
    main()
