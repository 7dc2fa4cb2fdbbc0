"""The time model: overhead, and the slower of arithmetic and memory, per class of operator.

    seconds = overhead[class] + ((arithmetic)^p + (traffic)^p)^(1/p)
    arithmetic = seconds_per_mac[class] * (reduction + r) * (outputs + o) * (space + s)
    traffic = seconds_per_byte[class] * (moved + spilled) + weight_seconds_per_byte * weights

A strided 3x3 convolution takes at most what it would take at stride 1, and a larger kernel at least
what a 3x3 one does. All coefficients are positive, so a time never falls when
channels, sizes or kernels grow. The half sizes r, o and s make small operators slow, as partly
filled vector units and cores do. Elements beyond a cache count more: they are the spilled ones.
Where padding runs as an operator, its copy is added, at the rate of what only moves data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from automl.latency.features import CLASSES, DEPTHWISE, Floats, OperatorFeatures

#: How sharply the slower of arithmetic and memory hides the other: 1 adds them, infinity is max.
SHARPNESS = 2.0
_COUNT = len(CLASSES)
#: Kinds of coefficients, in the order in which a parameter vector holds them.
OVERHEAD = slice(0, _COUNT)
RATE = slice(_COUNT, 2 * _COUNT)
TRAFFIC = slice(2 * _COUNT, 3 * _COUNT)
WEIGHTS = 3 * _COUNT
HALF = slice(WEIGHTS + 1, WEIGHTS + 4)
HALF_DEPTHWISE = slice(WEIGHTS + 4, WEIGHTS + 7)
CONSTANT = WEIGHTS + 7
#: Length of a parameter vector: logarithms of the coefficients, seconds, MACs and elements.
#: Weights of 3x3 convolutions at stride 1: Winograd's algorithm reads them in a larger form.
WEIGHTS3 = WEIGHTS + 8
PARAMETERS = WEIGHTS + 9
_DEPTHWISE = [CLASSES.index(name) for name in DEPTHWISE]
_SPATIAL3, MOVEMENT = CLASSES.index("spatial3"), CLASSES.index("movement")
_NARROWER = {"spatial": "spatial3", "depthwise_large": "depthwise"}
_OF_3X3 = np.array([CLASSES.index(_NARROWER.get(name, name)) for name in CLASSES])


@dataclass(frozen=True, slots=True)
class Parts:
    """What one evaluation of the model yields per operator: slopes are d seconds / d log.

    Attributes:
        deep: Whether the half sizes are those of depthwise convolutions.
        seconds: Time.
        overhead, rate, traffic, weights, weights3, halves: Slopes; `halves` is (3, operators).
        copies: Slope along the traffic of movement.
    """

    deep: NDArray[np.bool_]
    seconds: Floats
    overhead: Floats
    rate: Floats
    traffic: Floats
    weights: Floats
    weights3: Floats
    halves: Floats
    copies: Floats


def evaluate(parameters: Floats, ops: OperatorFeatures) -> Parts:
    """Seconds of each operator, and the slope along each kind of coefficient's logarithm.

    Args:
        parameters: (PARAMETERS,) logarithms.
        ops: Operators.

    Returns:
        What each takes, and the slopes.
    """
    values = np.exp(parameters)
    overhead = values[OVERHEAD][ops.kind]
    deep = np.isin(ops.kind, _DEPTHWISE)
    halves = (
        np.where(deep[None, :], values[HALF_DEPTHWISE][:, None], values[HALF][:, None]) * ops.shaped
    )
    sides = np.stack([ops.reduction, ops.outputs, ops.space]) + halves
    arithmetic = values[RATE][ops.kind] * sides.prod(axis=0)
    moved = values[TRAFFIC][ops.kind] * (ops.moved + ops.spilled)
    large = ops.kind == _SPATIAL3
    weights = np.where(large, values[WEIGHTS3], values[WEIGHTS]) * ops.weights
    memory = moved + weights
    body = (arithmetic**SHARPNESS + memory**SHARPNESS) ** (1 / SHARPNESS)
    scale = np.maximum(body, 1e-300)
    by_rate = arithmetic * (arithmetic / scale) ** (SHARPNESS - 1)
    by_memory = (memory / scale) ** (SHARPNESS - 1)
    copies = values[TRAFFIC][MOVEMENT] * ops.copied
    return Parts(
        deep,
        overhead + body + copies,
        overhead,
        by_rate,
        by_memory * moved,
        np.where(large, 0.0, by_memory * weights),
        np.where(large, by_memory * weights, 0.0),
        by_rate * halves / np.maximum(sides, 1e-300),
        copies,
    )


def seconds(parameters: Floats, ops: OperatorFeatures) -> Floats:
    """What each operator takes, where what holds between operators is known whatever was fitted.

    A strided 3x3 convolution is at most one at stride 1 of which a part is kept; a larger kernel is
    at least a 3x3 one. A fit goes by `evaluate`, whose slopes have no steps.

    Args:
        parameters: (PARAMETERS,) logarithms.
        ops: Operators.
    """
    large, strided = ops.narrower > 0, ops.unstrided > 0
    share = np.where(large, ops.narrower, 1.0)
    small = replace(ops, reduction=ops.reduction * share, weights=ops.weights * share)
    direct = replace(small, kind=np.where(large & ~strided, _OF_3X3[ops.kind], ops.kind))
    whole = replace(
        small,
        kind=np.where(strided, _SPATIAL3, direct.kind),
        space=np.where(strided, ops.unstrided, ops.space),
    )
    least = np.minimum(*(evaluate(parameters, each).seconds for each in (direct, whole)))
    found: Floats = np.where(large, np.maximum(evaluate(parameters, ops).seconds, least), least)
    return found
