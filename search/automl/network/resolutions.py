"""Which input sizes are worth offering: steps of the network's own stride."""

from __future__ import annotations

from automl.network.recorded import Trace

#: Sizes below the dense one that are offered at least, where the stride allows, and at most.
_FEWEST, _MOST = 3, 8
_LEAST_STEP = 4
_LEAST_SIZE = 8


def input_sizes(dense: int, trace: Trace) -> tuple[int, ...]:
    """Square input sizes below the dense one to try, down to its half.

    They are multiples of the network's stride: a size between two of them is computed with padding
    at the edge of each smaller map, which costs time and accuracy. Where these are few, multiples
    of half the stride are offered too.
    """
    step = stride_of(dense, trace)
    while step > _LEAST_STEP and len(_multiples(dense, step)) < _FEWEST:
        step //= 2
    step = max(step, min(_LEAST_STEP, dense))
    while len(_multiples(dense, step)) > _MOST:
        step *= 2
    return _multiples(dense, step)


def stride_of(dense: int, trace: Trace) -> int:
    """Input pixels a side for one of the smallest map, a power of two where that can be."""
    sides = {
        shape[1 if call.out_dims == (3,) else 2]
        for call in trace.calls
        for shape in call.out_shapes
        if len(shape) == 4
    }
    smallest = min((side for side in sides if 1 < side <= dense), default=dense)
    least, most = -(-dense // smallest), -(-dense // (smallest - 1)) - 1 if smallest > 1 else dense
    power = 1 << (least - 1).bit_length()
    return power if power <= most else least


def _multiples(dense: int, step: int) -> tuple[int, ...]:
    least = max(dense / 2, _LEAST_SIZE)
    return tuple(size for size in range(step, dense, step) if size >= least)
