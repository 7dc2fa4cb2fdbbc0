"""HAQ's simulated cycles of MobileNetV2 on BitFusion, as rows: one a layer shape and bit pair.

The source's array holds batches of 16; rows hold a sixteenth. Pairs with 1-bit operands are left
out: HAQ's policies start at 2 bits. No formula is fitted: a roofline with bit-proportional terms
was 24 % off on dense convolutions, because the simulator's tiles show. (An array with tiles is
fitted to these rows, 4.6 % off, in tests/benchmarks/bitfusion.py, to price other networks.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from automl.errors import TableError
from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row

_FILE = "haq/qmobilenetv2_imagenet100_batch16_latency_table.npy"
_SOURCE = f"mit-han-lab/haq lib/simulator/lookup_tables/{_FILE.removeprefix('haq/')}"
_COMMIT = "8228d126c800446fdc1cc263555d1e5aed7d9dfd"
_BATCH = 16
BITS = range(2, 9)
#: MobileNetV2 (Sandler et al. 2018, table 2): expansion, channels, blocks, stride.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _pointwise(inputs: int, outputs: int, size: int) -> OpKey:
    return OpKey("conv2d", inputs, outputs, in_size=(size, size), out_size=(size, size))


def mobilenet_v2() -> Iterator[OpKey]:
    """The 53 layers with weights at 224 pixels, in network order."""
    yield OpKey("conv2d", 3, 32, (3, 3), (2, 2), (1, 1), in_size=(224, 224), out_size=(112, 112))
    channels, size = 32, 112
    for expansion, outputs, blocks, first_stride in _STAGES:
        for block in range(blocks):
            stride = 1 if block else first_stride
            hidden = channels * expansion
            if expansion > 1:
                yield _pointwise(channels, hidden, size)
            yield OpKey(
                "depthwise_conv2d",
                hidden,
                hidden,
                (3, 3),
                (stride, stride),
                (1, 1),
                groups=hidden,
                in_size=(size, size),
                out_size=(size // stride, size // stride),
            )
            size //= stride
            yield _pointwise(hidden, outputs, size)
            channels = outputs
    yield _pointwise(channels, 1280, size)
    yield OpKey("linear", 1280, 1000)


def rows(folder: Path) -> list[Row]:
    """Cycles an image per distinct layer shape and bit pair (weights, activations).

    Raises:
        TableError: The array does not belong to these layers.
    """
    cycles = np.load(folder / _FILE, allow_pickle=False)
    layers = list(mobilenet_v2())
    if cycles.shape != (len(layers), 8, 8):
        raise TableError(f"{_FILE}: shape {cycles.shape} is not ({len(layers)}, 8, 8)")
    found: dict[OpKey, Row] = {}
    for index, layer in enumerate(layers):
        for weights in BITS:
            for activations in BITS:
                key = replace(layer, precision=f"w{weights}a{activations}")
                value = float(cycles[index, weights - 1, activations - 1]) / _BATCH
                if found.setdefault(key, Row(key, value, source="fitted")).seconds != value:
                    raise TableError(f"{_FILE}: layer {index}: two values for one shape")
    return list(found.values())


def header() -> TableHeader:
    """What the table says of itself."""
    return TableHeader(
        name="bitfusion",
        aliases=("haq",),
        device="bitfusion",
        soc="bit-scalable accelerator, simulated",
        runtime="simulator",
        precisions=tuple(f"w{w}a{a}" for w in BITS for a in BITS),
        unit="cycles",
        conditions=(
            "Simulated, not measured; the unit is not stated by the source and read as cycles;"
            f" batch {_BATCH}, divided by {_BATCH}. Only MobileNetV2's layers at 224 pixels."
        ),
        provenance=f"{_SOURCE} @{_COMMIT} (licence: MIT)",
    )
