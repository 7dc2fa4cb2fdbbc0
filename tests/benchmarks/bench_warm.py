"""What operators take whose models come back to cold caches in each pass, and when they are warm.

Operators of EfficientNet-Lite1 at 240 pixels are timed in one batch, as a profile times them, with
one run that must be made a pass and with `WARM_RUNS`, interleaved; and each alone, so that nothing
puts its buffers out of the caches.

    python tests/benchmarks/bench_warm.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import base64
import statistics
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from automl.latency import OpKey
from automl.profiling import probe, worker

Probes = Sequence[dict[str, Any]]


def depthwise(channels: int, size: int, kernel: int = 3, stride: int = 1) -> OpKey:
    """A depthwise convolution that keeps the size but for its stride."""
    pads, small = (kernel // 2, kernel // 2), size // stride
    return OpKey(
        *("depthwise_conv2d", channels, channels),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=pads,
        groups=channels,
        in_size=(size, size),
        out_size=(small, small),
    )


def pointwise(read: int, written: int, size: int) -> OpKey:
    """A 1x1 convolution."""
    return OpKey("conv2d", read, written, kernel=(1, 1), in_size=(size,) * 2, out_size=(size,) * 2)


KEYS = (
    *(depthwise(32, 120), depthwise(96, 120, stride=2), depthwise(144, 60)),
    *(depthwise(240, 30, kernel=5), depthwise(672, 15, kernel=5)),
    *(pointwise(16, 96, 120), pointwise(24, 144, 60), pointwise(112, 672, 15)),
)


def packed(key: OpKey) -> dict[str, Any]:
    """An operator's probe as the worker reads it."""
    made = probe(key)
    models = [base64.b64encode(zlib.compress(model)).decode() for model in made.models]
    return {"models": models, "weights": made.weights}


def timed(probes: Probes, runs: int) -> dict[int, float]:
    """Microseconds of each probe, with at least so many runs a pass."""
    worker.WARM_RUNS = runs
    found: list[dict[str, Any]] = []
    limits = {"spread": 0.03, "seconds": 0.25 * len(probes), "pass_seconds": 0.003}
    passes = {"min_passes": 7, "max_passes": 60}
    asked = {"runtime": "onnxruntime", "threads": 1, "probes": probes, **limits, **passes}
    worker.measure(asked, found.append)
    return {line["probe"]: 1e6 * line["seconds"] for line in found if "seconds" in line}


def main() -> None:
    """Print a row an operator: medians of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    sys.path.append(str(Path(worker.__file__).parent))  # its files find each other, as on a board
    probes, warm = [packed(key) for key in KEYS], worker.WARM_RUNS
    ways: dict[str, list[dict[int, float]]] = {"one": [], "warm": [], "alone": []}
    for _ in range(rounds):
        ways["one"].append(timed(probes, 1))
        ways["warm"].append(timed(probes, warm))
        alone = [timed([each], warm)[0] for each in probes]
        ways["alone"].append(dict(enumerate(alone)))
    print("| operator | at least one run, µs | at least 5, µs | alone, µs |\n|---|---|---|---|")
    for number, key in enumerate(KEYS):
        cells = [statistics.median(each[number] for each in ways[way]) for way in ways]
        name = f"{key.op} {key.in_channels}->{key.out_channels}, {key.kernel[0]}x{key.kernel[1]}"
        print(f"| {name}, {key.in_size[0]} px | " + " | ".join(f"{c:.0f}" for c in cells) + " |")


if __name__ == "__main__":
    main()
