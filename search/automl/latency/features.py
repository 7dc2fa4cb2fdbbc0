"""Operators as arrays: the work, the traffic and the shape that a time is predicted from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2, prod

import numpy as np
from numpy.typing import NDArray

from automl.latency.keys import OpKey
from automl.network import CONVOLUTIONS, RECURRENT

Floats = NDArray[np.float64]

#: What operators are grouped into: one class has one overhead, one rate and one bandwidth.
CLASSES = (
    "pointwise",
    "spatial3",
    "spatial",
    "grouped",
    "depthwise",
    "depthwise_large",
    "linear",
    "matmul",
    "pool",
    "global_pool",
    "add",
    "elementwise",
    "activation",
    "movement",
)
#: What the classes that tables did not always tell apart were part of.
PARENTS: Mapping[str, str] = {"depthwise_large": "depthwise", "activation": "elementwise"}
#: Classes of depthwise convolutions, which have half sizes of their own.
DEPTHWISE = ("depthwise", "depthwise_large")
_SMALL = 3
#: Classes whose rate falls for short reductions, few outputs or small maps.
SHAPED = frozenset({"pointwise", "spatial3", "spatial", "grouped", "matmul", *DEPTHWISE})
#: Passes over the map that an operator makes: one read and one write unless it says otherwise.
_READS = {"add": 2.0, "mul": 2.0, "softmax": 3.0, "norm": 2.0}
_SIMPLE = {
    "linear": "linear",
    "matmul": "matmul",
    "max_pool": "pool",
    "avg_pool": "pool",
    "global_avg_pool": "global_pool",
    "add": "add",
    "activation": "activation",
    "reduce": "global_pool",
    "lstm": "linear",
    "gru": "linear",
    "rnn": "linear",
    "concat": "movement",
    "gather": "movement",
    "shuffle": "movement",
    "resize": "movement",
}


def op_class(key: OpKey) -> str:
    """The class that `key` is priced with.

    Stride-1 3x3 convolutions stand alone because runtimes use Winograd's algorithm for them.
    Depthwise convolutions have kernels of their own for 3x3, and others for what is larger.
    """
    depthwise = DEPTHWISE[max(key.kernel) > _SMALL]
    if key.op in ("depthwise_conv2d", "depthwise_conv3d"):
        return depthwise
    if key.op in ("conv2d", "conv3d"):
        if key.groups > 1:
            return depthwise if key.groups == key.in_channels else "grouped"
        if max(key.kernel) == 1:
            return "pointwise"
        return "spatial3" if key.kernel == (3, 3) and key.stride == (1, 1) else "spatial"
    if key.op in CONVOLUTIONS:
        return "grouped" if key.groups > 1 else "spatial"
    return _SIMPLE.get(key.op, "elementwise")


@dataclass(frozen=True, slots=True)
class Spill:
    """What maps cost that do not fit into the cache.

    Attributes:
        elements: What the cache holds.
        times: How many times more an element beyond those counts.
    """

    elements: float
    times: float


@dataclass(frozen=True, slots=True)
class OperatorFeatures:
    """Operators as arrays of one length.

    Work is `reduction * outputs * space`: multiply-accumulates for convolutions, linear layers and
    matmuls, window taps for pooling, 0 for what only moves data.

    Attributes:
        kind: Index into `CLASSES`.
        reduction: Length of one output's sum, input channels rounded up to the device's step.
        outputs: Output channels (of all groups), rounded up to the device's step.
        space: Output positions.
        shaped: 1 where the class is in `SHAPED`, else 0.
        moved: Elements of the input and output maps that are read and written.
        weights: Elements of the weights.
        unstrided: Output positions of the same convolution at stride 1; 0 where it is at 1.
        narrower: Share of the taps that a 3x3 kernel has of a larger one; 0 for others.
        copied: Elements that are moved before, by a padding that runs as an operator.
        spilled: Elements that count besides those moved, as the maps do not fit into the cache.
    """

    kind: NDArray[np.intp]
    reduction: Floats
    outputs: Floats
    space: Floats
    shaped: Floats
    moved: Floats
    weights: Floats
    unstrided: Floats
    narrower: Floats
    copied: Floats
    spilled: Floats

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def size(self) -> Floats:
        """Work of each operator, or the elements that it moves where it does no work."""
        work: Floats = self.reduction * self.outputs * self.space
        return np.where(work > 0, work, self.moved)


def smallest(ops: OperatorFeatures) -> Floats:
    """(classes,) least `size` of each class; 0 for a class without operators."""
    least = np.full(len(CLASSES), np.inf)
    np.minimum.at(least, ops.kind, ops.size)
    return np.where(np.isfinite(least), least, 0.0)


def _ceil(channels: int, step: int) -> int:
    return -(-channels // step) * step


def _unstrided(key: OpKey, kind: str) -> int:
    """Output positions that a strided convolution would have at stride 1."""
    strided = kind == "spatial" and key.op == "conv2d" and min(key.kernel) >= _SMALL
    if not strided or max(key.stride) == 1:
        return 0
    sizes = zip(key.in_size, key.padding, key.dilation, key.kernel, strict=True)
    whole = (size + 2 * pad - apart * (taps - 1) for size, pad, apart, taps in sizes)
    return prod(max(size, 1) for size in whole) * key.batch


def _narrower(key: OpKey, kind: str) -> float:
    """Share of a larger kernel's taps that a 3x3 one has; 0 for others."""
    convolution = key.op in ("conv2d", "depthwise_conv2d") and kind in ("spatial", DEPTHWISE[1])
    if not convolution or min(key.kernel) < _SMALL or max(key.kernel) == _SMALL:
        return 0.0
    return _SMALL**2 / prod(key.kernel)


def _copied(key: OpKey) -> int:
    """Elements that are read and written to pad a map before a convolution without padding.

    Exporters of networks with symmetric padding to a runtime that knows only its own write the
    padding as an operator; the convolution then reads a larger map.
    """
    window = key.op in ("conv2d", "depthwise_conv2d") and max(key.kernel) > 1
    if not window or max(key.padding) > 0 or max(key.in_size) <= max(key.kernel):
        return 0
    return 2 * key.in_channels * prod(key.in_size) * key.batch


def _row(key: OpKey, step_in: int, step_out: int) -> tuple[float, ...]:
    """kind, reduction, outputs, space, moved, weights and what is known of the like of one."""
    kind = op_class(key)
    in_space = prod(key.in_size) * key.batch
    out_space = prod(key.out_size) * key.batch
    taps = prod(key.kernel)
    moved = float(key.in_channels * in_space + key.out_channels * out_space)
    reduction, outputs, space, weights = 0, 0, 0, 0
    if key.op == "matmul":
        reduction = _ceil(key.in_channels, step_in)
        rows = key.in_size[0] * key.batch
        outputs, space = _ceil(key.out_channels, step_out) * key.groups, rows
        moved = float(key.groups * (rows * (key.in_channels + key.out_channels)))
        weights = key.groups * key.in_channels * key.out_channels
    elif key.op in RECURRENT:
        reduction, outputs, space, weights = _recurrent(key, step_in, step_out)
    elif kind in ("pointwise", "spatial3", "spatial", "grouped", "linear"):
        per_group = key.in_channels // key.groups
        reduction = _ceil(per_group, step_in) * taps
        outputs = _ceil(key.out_channels // key.groups, step_out) * key.groups
        space = in_space if "transpose" in key.op else out_space
        weights = per_group * key.out_channels * taps
    elif kind in DEPTHWISE:
        reduction, outputs = taps, _ceil(key.out_channels, step_out)
        space, weights = out_space, key.out_channels * taps
    elif kind == "pool":
        reduction, outputs, space = taps, _ceil(key.out_channels, step_out), out_space
    else:
        moved += (_passes(key) - 1.0) * key.in_channels * in_space
    again = _unstrided(key, kind), _narrower(key, kind), _copied(key)
    return (CLASSES.index(kind), reduction, outputs, space, moved, weights, *again)


def _recurrent(key: OpKey, step_in: int, step_out: int) -> tuple[int, int, int, int]:
    """reduction, outputs, space, weights: what is multiplied with the state is read each step."""
    steps, hidden = key.in_size[0], int(key.detail or key.out_channels)
    gates = RECURRENT[key.op] * hidden * key.groups
    reduction = _ceil(key.in_channels + key.out_channels, step_in)
    weights = gates * (key.in_channels + key.out_channels * steps)
    return reduction, _ceil(gates, step_out), steps * key.batch, weights


def _passes(key: OpKey) -> float:
    """How often an operator that does no products reads its map."""
    if key.detail == "channel":
        return 1.0
    if key.op == "elementwise":
        return float(key.groups)
    if key.op == "sort":  # merges runs of twice the length each time
        return max(1.0, log2(key.in_channels))
    return _READS.get(key.op, 1.0)


def operator_features(
    keys: Sequence[OpKey],
    channel_steps: tuple[int, int],
    pads: bool = False,
    spill: Spill | None = None,
) -> OperatorFeatures:
    """Arrays of `keys`, their channels rounded up to multiples of (input, output) steps.

    `pads` says that padding runs as an operator of its own; without `spill` all maps cost alike.
    """
    rows = np.array([_row(key, *channel_steps) for key in keys], dtype=np.float64).reshape(-1, 9)
    kind = rows[:, 0].astype(np.intp)
    beyond = np.maximum(rows[:, 4] - (spill.elements if spill else 0.0), 0.0)
    spilled = beyond * (spill.times if spill else 0.0)
    in_shaped = np.array([name in SHAPED for name in CLASSES], dtype=np.float64)
    return OperatorFeatures(
        kind, rows[:, 1], rows[:, 2], rows[:, 3], in_shaped[kind], rows[:, 4], rows[:, 5],
        rows[:, 6], rows[:, 7], rows[:, 8] * pads, spilled,
    )  # fmt: skip
