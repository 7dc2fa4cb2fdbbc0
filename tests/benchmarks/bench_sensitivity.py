"""What it saves that passes begin where a choice changes the network: CPU seconds, interleaved.

    python tests/benchmarks/bench_sensitivity.py                      # ResNet-20 and -56, Lite1
    python tests/benchmarks/bench_sensitivity.py --networks lite1 --step 96 --rounds 1

Sensitivities of channels, blocks and int8, on 16 inputs, each twice a round: whole
passes, and passes begun before what is changed. Both have to give the same numbers. Lite1 is had
as efficientnet_lite.py says.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch
from cifar import SHARED, load_cifar, load_resnet, normalised
from efficientnet_lite import lite1, lite1_loaders
from torch import Tensor, nn

from automl.compression import Compressor
from automl.compression.sensitivity import measure_sensitivity
from automl.network import ResumedPasses, trace_network
from automl.policy import Bits
from automl.space import Sensitivity, build_space, channel_counts

#: As many as a search shows (`automl.pipeline`), and to calibrate on.
SHOWN, CALIBRATION = 16, 64


def resnet(depth: int) -> tuple[nn.Module, Tensor]:
    """A ResNet for CIFAR-10 of the shared folder, and training images."""
    return load_resnet(SHARED, depth), normalised(load_cifar(SHARED).train[:CALIBRATION])


def photos() -> tuple[nn.Module, Tensor]:
    """EfficientNet-Lite1, and photos at 240 pixels."""
    return lite1(), lite1_loaders()[0][0][0][:CALIBRATION]


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "resnet20": lambda: resnet(20),
    "resnet56": lambda: resnet(56),
    "lite1": photos,
}


def whole(
    self: ResumedPasses, changed: object, touched: object = (), run: nn.Module | None = None
) -> nn.Module:
    """In the place of `ResumedPasses.since`: each pass from the input."""
    return run or self._model


def compared(name: str, step: int, rounds: int) -> str:
    """A line of the table.

    Raises:
        AssertionError: Passes begun later gave other numbers than whole ones.
    """
    model, images = NETWORKS[name]()
    traced = trace_network(model, (1, *images.shape[1:]), resolutions=())
    space = build_space(traced.network, round_to=step, precisions=(Bits(8, 8), Bits()))
    channels = [each for each in space.variables if each.kind == "channels"]
    counts = {each.name: channel_counts(each) for each in channels}
    made, shown = Compressor(traced, images, counts, scheme="qdq-u8s8"), images[:SHOWN]

    def measure() -> tuple[Sensitivity, float]:
        start = time.process_time()
        found = measure_sensitivity(made.database, space, shown, rounded=made.joint)
        return found, time.process_time() - start

    measure()  # what is rounded is found once
    begun, every = [], []
    for _ in range(rounds):
        found, seconds = measure()
        begun.append(seconds)
        with patch.object(ResumedPasses, "since", whole):
            expected, seconds = measure()
        every.append(seconds)
        pairs = zip(found.single, expected.single, strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)
    before, after = statistics.median(every), statistics.median(begun)
    total = sum(space.sizes)
    return f"| {name} | {total} | {before:.1f} | {after:.1f} | {after / before:.2f} |"


def main() -> None:
    """Print a line a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS], default=[*NETWORKS])
    parser.add_argument("--step", type=int, default=8, help="of channels; fewer choices by larger")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| network | choices | whole, CPU s | begun, CPU s | of it |\n|---|---|---|---|---|")
    for name in options.networks:
        print(compared(name, options.step, options.rounds), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
