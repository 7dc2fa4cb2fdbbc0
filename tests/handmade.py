"""A network made by hand that has one of each: a block, a depthwise layer, a concatenation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from automl.latency.keys import MISSING, OpKey, Timings
from automl.network.layers import Block, ChannelGroup, Layer, LayerPlan, Network, Width

RESOLUTIONS = (16, 32)
STEM = Width(0, (("stem", 1),))
INNER = Width(0, (("inner", 1),))
LEFT = Width(0, (("left", 1),))
BOTH = Width(4, (("inner_free", 1), ("left", 1)))


class Formula:
    """Prices that jump with odd channel counts, so that nothing is linear or monotone."""

    def __init__(self, source: int = 0, unknown: str = "") -> None:
        self.source = source
        self.unknown = unknown
        self.asked: list[OpKey] = []

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        self.asked += keys
        seconds = np.array([self.price(key) for key in keys])
        source = np.full(len(keys), self.source, dtype=np.int8)
        gone = np.array([key.op == self.unknown for key in keys])
        source[gone], seconds[gone] = MISSING, np.nan
        return Timings(seconds, np.zeros(len(keys)), source)

    @staticmethod
    def price(key: OpKey) -> float:
        uneven = 1.34 if key.in_channels % 4 or key.out_channels % 4 else 1.0
        area = key.out_size[0] * key.out_size[1]
        return 1e-6 + 1e-9 * uneven * (key.macs + area * (key.in_channels + key.out_channels))


def plan(
    name: str,
    op: str,
    inputs: Width,
    outputs: Width,
    kernel: int = 1,
    block: str = "",
    depthwise: bool = False,
    single: bool = False,
    owner: str = "",
) -> LayerPlan:
    """One layer at both resolutions, "same" padding; `single` for what follows the global pool."""
    dense = {"stem": 16, "inner": 24, "inner_free": 8, "left": 16}
    sides = (1, 1) if single else RESOLUTIONS
    sizes = tuple(((side, side), (side, side)) for side in sides)
    layer = Layer(
        name,
        op,
        inputs.at(dense),
        outputs.at(dense),
        (kernel, kernel),
        padding=(kernel // 2, kernel // 2),
        groups=inputs.at(dense) if depthwise else 1,
        in_size=sizes[-1][0],
        out_size=sizes[-1][1],
    )
    return LayerPlan(layer, inputs, outputs, sizes, block, depthwise, owner=owner)


def network() -> Network:
    """stem, an inverted residual block, two branches that are concatenated, a linear layer."""
    free = Width(0, (("inner_free", 1),))
    return Network(
        plans=(
            plan("stem", "conv2d", Width(3), STEM, 3),
            plan("expand", "conv2d", STEM, INNER, 1, "block"),
            plan("depthwise", "depthwise_conv2d", INNER, INNER, 3, "block", depthwise=True),
            plan("project", "conv2d", INNER, STEM, 1, "block"),
            plan("add", "add", STEM, STEM, 1, "block"),
            plan("free", "conv2d", STEM, free, 3),
            plan("left", "conv2d", STEM, LEFT),
            plan("fixed", "conv2d", STEM, Width(4)),
            plan("cat", "concat", BOTH, BOTH),
            plan("mix", "conv2d", BOTH, STEM, 3, owner="mix"),
            plan("pool", "global_avg_pool", STEM, STEM),
            plan("head", "linear", STEM, Width(10), single=True),
        ),
        groups=(
            ChannelGroup("stem", 16, (), ()),
            ChannelGroup("inner", 24, (), (), partition=2),
            ChannelGroup("inner_free", 8, (), ()),
            ChannelGroup("left", 16, (), ()),
        ),
        blocks=(Block("block", ("expand", "depthwise", "project", "add"), ("inner",)),),
        input_shape=(1, 3, 32, 32),
        resolutions=RESOLUTIONS,
    )
