"""An analytic table of a bit-scalable accelerator for our own networks, in the form of HAQ's.

HAQ's table (MobileNetV2, simulated by its authors after Sharma et al., "Bit Fusion: Bit-Level
Dynamically Composable Architecture for Accelerating Deep Neural Networks", ISCA 2018) has no rows
for other networks. Its cycles follow a weight-stationary systolic array through which activations
stream bit by bit. For a batch, with K weights an output (input channels x kernel), C outputs, w and
a bits, and P output positions:

    passes  ceil(K / rows)                 the weights of an output that the array holds at a time
    blocks  C * w / columns                bits of weights side by side
    cycles  passes * max(P * a, max(P' * a, least) * blocks)

P' is P of one image (of the batch for a linear layer) rounded up to whole tiles; `least` is what
it takes to load the weights of a pass. A depthwise convolution streams one pixel a channel:
P * a * C / lanes. The constants are fitted to the table's rows: `fit` prints how well.

    python tests/benchmarks/bitfusion.py --write bitfusion-resnet.jsonl

What this cannot tell: the table's only dense convolution of more than one pixel has K = 27 and
memory-bound cycles, so that K counts the kernel is an extrapolation (it is consistent with K = 27
and not with 3). Every value is "fitted", none measured, and cycles are no time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np
from cifar import load_resnet

from automl.latency.header import KnownError
from automl.latency.keys import OpKey, op_key
from automl.latency.rows import Row
from automl.latency.table import LatencyTable
from automl.network.layers import Network
from automl.network.traced_model import trace_network

SHIPPED = Path(__file__).resolve().parents[2] / "latency_tables" / "bitfusion.jsonl"
NAME = "bitfusion-resnet"
SHAPE = (1, 3, 32, 32)
BATCH = 16
BITS = range(2, 9)
TILES = (1, 8, 16, 32, 64)
SIZES = (64, 128, 192, 256, 320, 512)
LANES = (4, 8, 12, 16, 20, 24, 32)


@dataclass(frozen=True, slots=True)
class Array:
    """The accelerator.

    Attributes:
        rows: Weights of an output that it holds at a time.
        columns: Bits of weights side by side.
        least: Cycles that a pass takes at least.
        tile: Output positions are rounded up to multiples of this.
        lanes: Channels of a depthwise convolution at a time.
    """

    rows: int = 256
    columns: int = 256
    least: int = 256
    tile: int = 32
    lanes: int = 16

    def cycles(self, key: OpKey) -> float:
        """Cycles an image, in batches of 16; the key's precision is "w4a6" and the like."""
        weights, activations = map(int, key.precision[1:].split("a"))
        positions = key.out_size[0] * key.out_size[1]
        if key.op == "depthwise_conv2d":
            return positions * activations * key.out_channels / self.lanes
        images = 1 if key.op == "conv2d" else BATCH
        positions *= images
        reduced = key.in_channels // key.groups * key.kernel[0] * key.kernel[1]
        passes = -(-reduced // self.rows)
        blocks = key.out_channels * weights / self.columns
        tiled = -(-positions // self.tile) * self.tile
        streamed = max(positions * activations, max(tiled * activations, self.least) * blocks)
        return passes * streamed / images


def error(array: Array, rows: Iterable[Row]) -> float:
    """Mean absolute relative error over rows."""
    return float(np.mean([abs(array.cycles(row.key) / row.seconds - 1.0) for row in rows]))


def fit(rows: Sequence[Row]) -> Array:
    """The array of least mean absolute relative error, over grids of all constants."""
    depthwise = [row for row in rows if row.key.op == "depthwise_conv2d"]
    others = [row for row in rows if row.key.op != "depthwise_conv2d"]
    best = min((Array(lanes=each) for each in LANES), key=lambda each: error(each, depthwise))
    arrays = (
        replace(best, rows=held, columns=beside, least=least, tile=tile)
        for held, beside, least, tile in product(SIZES, SIZES, SIZES, TILES)
    )
    return min(arrays, key=lambda each: error(each, others))


def network_errors(array: Array, rows: Iterable[Row]) -> list[float]:
    """Relative error of the sum over MobileNetV2's distinct layers, for each precision."""
    sums: dict[str, tuple[float, float]] = {}
    for row in rows:
        ours, theirs = sums.get(row.key.precision, (0.0, 0.0))
        ours += array.cycles(row.key)
        sums[row.key.precision] = (ours, theirs + row.seconds)
    return [ours / theirs - 1.0 for ours, theirs in sums.values()]


def build_table(networks: Iterable[Network], array: Array, name: str = NAME) -> LatencyTable:
    """Cycles of every convolution and linear layer of the networks, at all 49 precisions."""
    layers = [plan.layer for network in networks for plan in network.plans]
    keys = [
        op_key(layer, f"w{weights}a{activations}")
        for layer in layers
        if layer.op in ("conv2d", "depthwise_conv2d", "linear")
        for weights in BITS
        for activations in BITS
    ]
    rows = [Row(key, array.cycles(key), source="fitted") for key in dict.fromkeys(keys)]
    shipped = LatencyTable.read(SHIPPED)
    wrong = mean(map(abs, network_errors(Array(), shipped.rows)))
    known = KnownError(
        relative=wrong,
        on="MobileNetV2's layers at 49 precisions, against HAQ's simulated cycles",
    )
    header = shipped.header.model_copy(
        update={
            "name": name,
            "aliases": (),
            "conditions": f"Fitted to HAQ's simulated cycles, not measured: {array}.",
            "known_error": known if array == Array() else None,
        }
    )
    return LatencyTable(header, rows)


def main() -> None:
    """Fit, say how well, and write the table of ResNet-20 and ResNet-56 on CIFAR-10."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--write", type=Path, default=None)
    options = parser.parse_args()
    rows = LatencyTable.read(SHIPPED).rows
    shapes = list(dict.fromkeys(replace(row.key, precision="") for row in rows))
    halves = [
        [row for row in rows if shapes.index(replace(row.key, precision="")) % 2 == half]
        for half in (0, 1)
    ]
    array = fit(rows)
    print(f"fitted to {len(rows)} rows of {len(shapes)} layers: {array}")
    for op in dict.fromkeys(row.key.op for row in rows):
        part = [row for row in rows if row.key.op == op]
        print(f"  {op}: mean absolute error {error(array, part):.1%} of {len(part)} rows")
    totals = [abs(each) for each in network_errors(array, rows)]
    print(f"  sums over all layers: {mean(totals):.1%}, the worst {max(totals):.1%}")
    for half in (0, 1):
        found = fit(halves[half])
        print(f"  fitted to half of the layers: {error(found, halves[1 - half]):.1%} on the others")
    if array != Array():
        print(f"the fit is not what the code holds: {Array()}")
    if options.write:
        models = (load_resnet(options.shared, depth) for depth in (20, 56))
        networks = [trace_network(model, SHAPE, resolutions=()).network for model in models]
        table = build_table(networks, array)
        LatencyTable.create(options.write, table.header, table.rows)
        print(f"wrote {len(table)} rows to {options.write}")


if __name__ == "__main__":
    main()
