"""Networks whose times a known roofline makes up."""

from __future__ import annotations

import numpy as np

from automl.latency import fit, roofline
from automl.latency.features import CLASSES
from automl.latency.keys import OpKey
from automl.latency.predict import Roofline, Unit


def conv(inputs: int, outputs: int, size: int, kernel: int = 3, stride: int = 1, **more) -> OpKey:
    half = kernel // 2
    out = (size + stride - 1) // stride
    return OpKey(
        more.pop("op", "conv2d"), inputs, outputs, (kernel, kernel), (stride, stride),
        (half, half), in_size=(size, size), out_size=(out, out), **more,
    )  # fmt: skip


def network(width: int, depth: int, size: int, depthwise: bool) -> list[OpKey]:
    keys = [conv(3, width, size, stride=2)]
    size = (size + 1) // 2
    for _ in range(depth):
        if depthwise:
            keys.append(conv(width, width, size, op="depthwise_conv2d", groups=width))
            keys.append(conv(width, 2 * width, size, kernel=1))
        else:
            keys.append(conv(width, 2 * width, size, stride=2))
        size, width = max(size // 2, 1), 2 * width
    pooled = OpKey("global_avg_pool", width, width, (size, size), in_size=(size, size))
    return [*keys, pooled, OpKey("linear", width, 100)]


NETWORKS = [
    network(width, depth, size, depthwise)
    for width in (8, 16, 48)
    for depth in (2, 4)
    for size in (64, 160)
    for depthwise in (False, True)
]


#: Size of the smallest operator that the predictor's source networks are said to hold.
LEAST = 1e4


def parameters(macs_per_second: float = 5e9, overhead: float = 1e-5) -> np.ndarray:
    values = np.empty(roofline.PARAMETERS)
    values[roofline.OVERHEAD] = overhead
    values[roofline.RATE] = 1 / macs_per_second
    values[roofline.TRAFFIC] = values[roofline.WEIGHTS] = values[roofline.WEIGHTS3] = 1e-9
    values[roofline.HALF] = values[roofline.HALF_DEPTHWISE] = 4.0
    values[roofline.CONSTANT] = 5e-5
    return np.log(values)


def predictor(values: np.ndarray | None = None, steps: tuple[int, int] = (1, 8)) -> Roofline:
    ops = frozenset({"conv2d", "depthwise_conv2d", "linear", "global_avg_pool"})
    known = parameters() if values is None else values
    return Roofline(
        {"fp32": Unit(known, steps, np.full(len(CLASSES), 0.1), np.full(len(CLASSES), LEAST), ops)}
    )


def timed(values: np.ndarray, chosen: list[list[OpKey]]) -> list[float]:
    data = fit.networks(chosen, [1.0] * len(chosen), (1, 8))
    return fit.network_seconds(values, data).tolist()
