"""Values along a curve, of which as few are measured as it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: A value between two others that differs from what they say by less shows that those beside it
#: need not be measured.
TOLERANCE: Final = 0.2
#: Fewer are all measured: each is a large step then.
MANY: Final = 10
_LEAST: Final = 1e-12


def curve(measure: Callable[[int], float], places: Sequence[float]) -> Floats:
    """Values at places, some measured, the others between them on a straight line of logarithms.

    The ends are measured, then the middle. Where it lies as the ends say, what is left is taken to
    do so too; else both halves are looked at in the same way.

    Args:
        measure: The value at a place by its index: 0 or more.
        places: Ascending; at least one.
    """
    found = dict[int, float]()

    def look(first: int, last: int) -> None:
        middle = (first + last) // 2
        if middle in found:
            return
        found[middle] = measure(middle)
        expected = _between(places, {each: found[each] for each in (first, last)})[middle]
        if abs(np.log(max(found[middle], _LEAST) / expected)) > np.log1p(TOLERANCE):
            look(first, middle)
            look(middle, last)

    if len(places) < MANY:
        return np.array([measure(index) for index in range(len(places))])
    for end in (0, len(places) - 1):
        found[end] = measure(end)
    look(0, len(places) - 1)
    return _between(places, found)


def shares(counts: Sequence[int], whole: int) -> list[float]:
    """Places of numbers of channels that stay: what they do falls about evenly along these.

    Args:
        counts: Ascending, each less than the whole.
        whole: How many channels there are.
    """
    return [math.log(count / (whole - count)) for count in counts]


def _between(places: Sequence[float], found: Mapping[int, float]) -> Floats:
    at = sorted(found)
    logarithms = np.log([max(found[each], _LEAST) for each in at])
    values: Floats = np.exp(np.interp(places, [places[each] for each in at], logarithms))
    values[at] = [found[each] for each in at]
    return values
