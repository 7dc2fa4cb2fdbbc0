"""The time model: overhead, and the slower of arithmetic and memory, per class of operator.

    seconds = overhead[class] + ((arithmetic)^p + (traffic)^p)^(1/p)
    arithmetic = seconds_per_mac[class] * (reduction + r) * (outputs + o) * (space + s)
    traffic = seconds_per_byte[class] * moved + weight_seconds_per_byte * weights

All coefficients are positive, so a time never falls when channels, sizes or kernels grow. The half
sizes r, o and s make small operators slow, as partly filled vector units and cores do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from automl.latency.features import CLASSES, Floats, OperatorFeatures

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
PARAMETERS = WEIGHTS + 8
_DEPTHWISE = CLASSES.index("depthwise")


@dataclass(frozen=True, slots=True)
class Parts:
    """What one evaluation of the model yields per operator; `log_slopes` are d seconds / d log."""

    seconds: Floats
    overhead: Floats
    rate: Floats
    traffic: Floats
    weights: Floats
    halves: Floats


def evaluate(parameters: Floats, ops: OperatorFeatures) -> Parts:
    """Seconds of each operator, and the slope along each kind of coefficient's logarithm.

    Args:
        parameters: (PARAMETERS,) logarithms.
        ops: Operators.

    Returns:
        `Parts`; `halves` has shape (3, operators), the other slopes (operators,).
    """
    values = np.exp(parameters)
    overhead = values[OVERHEAD][ops.kind]
    deep = (ops.kind == _DEPTHWISE)[None, :]
    halves = np.where(deep, values[HALF_DEPTHWISE][:, None], values[HALF][:, None]) * ops.shaped
    sides = np.stack([ops.reduction, ops.outputs, ops.space]) + halves
    arithmetic = values[RATE][ops.kind] * sides.prod(axis=0)
    moved = values[TRAFFIC][ops.kind] * ops.moved
    weights = values[WEIGHTS] * ops.weights
    memory = moved + weights
    body = (arithmetic**SHARPNESS + memory**SHARPNESS) ** (1 / SHARPNESS)
    scale = np.maximum(body, 1e-300)
    by_rate = arithmetic * (arithmetic / scale) ** (SHARPNESS - 1)
    by_memory = (memory / scale) ** (SHARPNESS - 1)
    return Parts(
        overhead + body,
        overhead,
        by_rate,
        by_memory * moved,
        by_memory * weights,
        by_rate * halves / np.maximum(sides, 1e-300),
    )
