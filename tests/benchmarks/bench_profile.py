"""Profiling ResNet-18 at 224 pixels for this machine: how long it takes, and how well it repeats.

    python tests/benchmarks/bench_profile.py [--sample 40] [--json out.json]

Into a table of its own, away from the user's. Then a second run over the same table, which should
measure nothing, and a sample of its operators measured once more into another table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from latency_networks import resnet18, with_random_weights

from automl.latency.table import LatencyTable
from automl.latency.targets import CPU
from automl.pipeline import profile
from automl.pipeline.requests import ProfileRequest, ProfileResult
from automl.profiling.device import conditions, others_load
from automl.profiling.measuring import profile as measure
from automl.profiling.runner import LocalRunner
from automl.profiling.runtimes import find_runtime


@dataclass(frozen=True, slots=True)
class Repeated:
    """Operators that were measured once more.

    Attributes:
        operators: How many.
        median_difference, ninth_decile: Of the relative differences' sizes.
        common_ratio: Median of new over old: another clock shifts all alike.
        median_around_common: Median difference that is left when that is divided out.
        doubtful: How many were measured while the machine was slower than for the first table.
        stolen: Largest share of the time in which others took the core.
    """

    operators: int
    median_difference: float
    ninth_decile: float
    common_ratio: float
    median_around_common: float
    doubtful: int
    stolen: float


def main() -> None:
    """Profile, profile again, repeat a sample; print and write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage")
    parser.add_argument(
        "--round-to", type=int, default=8, help="channels; 8 offers eight levels of 64"
    )
    parser.add_argument("--sample", type=int, default=40, help="operators that are repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    state = f"{conditions()}; others keep {others_load(0.5):.1f} cores busy"
    print(state, flush=True)
    request = ProfileRequest(
        target=CPU,
        model=with_random_weights(resnet18(options.width), options.seed),
        input_shape=(1, 3, options.pixels, options.pixels),
        round_to=options.round_to,
        resolutions=(),
        seed=options.seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUTOML_HOME"] = folder
        first, seconds = timed(request)
        again, seconds_again = timed(request)
        repeated = repeat(first.table_path, options.sample, options.seed)
    print(
        f"second run: {again.measured} operators measured, {again.known} known,"
        f" in {seconds_again:.1f} s\n"
        f"repeated {repeated.operators} operators: median relative difference"
        f" {repeated.median_difference:.2%}, nine tenths below {repeated.ninth_decile:.2%};"
        f" all by a factor of {repeated.common_ratio:.3f}, around it"
        f" {repeated.median_around_common:.2%}; {repeated.doubtful} measured while the machine"
        f" was slower, others took {repeated.stolen:.0%} of the core at worst"
    )
    if options.json:
        content = {
            "conditions": state,
            "seconds": seconds,
            "operators": first.measured,
            "network_error": first.error,
            "second_run": {"operators": again.measured, "seconds": seconds_again},
            "repeat": asdict(repeated),
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def timed(request: ProfileRequest) -> tuple[ProfileResult, float]:
    """A profile and the seconds that it took, whole networks included."""
    start = time.perf_counter()
    result = profile(request)
    seconds = time.perf_counter() - start
    error = "" if result.error is None else f", whole networks predicted to {result.error:.1%}"
    print(f"{result.measured} of {result.asked} operators in {seconds:.1f} s{error}", flush=True)
    for line in (*result.refused, *result.notes):
        print(f"  {line}")
    return result, seconds


def repeat(path: Path, count: int, seed: int) -> Repeated:
    """Measure operators drawn from a table once more, into a second table.

    Of the first table's rows the second holds the anchor alone: what tells whether the machine
    is slower than it was, so that rows measured then are counted as doubtful.
    """
    table = LatencyTable.read(path)
    reference = find_runtime("onnxruntime").anchor
    keys = [row.key for row in table.rows if row.key != reference]
    drawn = np.random.default_rng(seed).choice(len(keys), min(count, len(keys)), replace=False)
    sample = [keys[index] for index in drawn]
    start = [row for row in table.rows if row.key == reference]
    second = LatencyTable.create(path.with_name("again.jsonl"), table.header, start)
    with LocalRunner() as runner:
        report = measure(second, sample, runner)
    ratios = second.lookup(sample).seconds / table.lookup(sample).seconds
    common = float(np.median(ratios))
    return Repeated(
        operators=len(sample),
        median_difference=float(np.median(np.abs(ratios - 1.0))),
        ninth_decile=float(np.quantile(np.abs(ratios - 1.0), 0.9)),
        common_ratio=common,
        median_around_common=float(np.median(np.abs(ratios / common - 1.0))),
        doubtful=report.doubtful,
        stolen=report.stolen,
    )


if __name__ == "__main__":
    sys.exit(main())
