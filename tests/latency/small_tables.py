"""Operators and a small table for the tests of tables."""

from __future__ import annotations

from automl.latency.header import TableHeader
from automl.latency.keys import OpKey
from automl.latency.rows import Row
from automl.latency.table import LatencyTable

HEADER = TableHeader(name="board", device="Board", runtime="onnxruntime", threads=1)


def conv(read: int, written: int, size: int = 8) -> OpKey:
    return OpKey(
        "conv2d", read, written, (3, 3), padding=(1, 1), in_size=(size, size), out_size=(size, size)
    )


def depthwise(channels: int) -> OpKey:
    shape = (8, 8)
    return OpKey(
        "depthwise_conv2d",
        channels,
        channels,
        (3, 3),
        padding=(1, 1),
        groups=channels,
        in_size=shape,
        out_size=shape,
    )


def grid_table() -> LatencyTable:
    """A bilinear function of the channels on a grid, so that interpolation is exact."""
    rows = [
        Row(conv(read, written), 1e-6 * (1 + read * written), 0.01, 10)
        for read in (8, 16, 32)
        for written in (8, 24, 64)
    ]
    return LatencyTable(HEADER, rows)
