"""What a layer's weights weigh in a packed file: the price of a choice, and the file's own size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automl.network import WEIGHTED, Layer
from automl.policy.policy import Bits
from automl.policy.precisions import FLOAT_BITS, is_weight_only

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def packed_bytes(
    weights: Floats | Integers | float,
    outputs: Integers | int,
    biases: Integers | int,
    bits: Bits,
) -> Floats:
    """Bytes of a layer in a packed file without entropy coding, the file's header aside.

    Floats take their bits, biases too. Integers take their bits, rounded up to a whole byte a
    layer, and a scale of 4 bytes an output; indices of weights that are rounded alone take theirs
    and a codebook of 4 bytes an entry, of which there are no more than weights. Their biases stay
    in 4 bytes.

    Args:
        weights: How many there are.
        outputs: Output channels.
        biases: How many there are.
        bits: Of the layer.
    """
    count = np.asarray(weights, dtype=np.float64)
    if bits.weights >= FLOAT_BITS:
        return (count + biases) * (bits.weights / 8)
    codes = np.ceil(count * bits.weights / 8)
    entries = np.minimum(1 << bits.weights, count) if is_weight_only(bits) else outputs
    return codes + 4.0 * entries + 4.0 * np.asarray(biases)


def operators_bytes(operators: Iterable[Layer], bits: Bits) -> Any:
    """Bytes of the weights of operators in a packed file, biases aside.

    Args:
        operators: Those without weights take none. Channels may be arrays; then the bytes are one.
        bits: Of all of them.
    """
    size: Any = 0.0
    for each in operators:
        if each.op in WEIGHTED:
            pairs = each.in_channels * each.out_channels // each.groups
            weights = pairs * math.prod(each.kernel)
            size = size + packed_bytes(weights, each.out_channels, 0, bits)
    return size
