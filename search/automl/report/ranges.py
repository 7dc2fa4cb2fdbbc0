"""What of the scores an axis shows, so that one bad trial does not flatten all others."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

#: How far below the median scores are shown, in distances from the median to the best.
_REACH: Final = 3.0
#: An axis is not cut for less: all scores would take so many times its length.
_WORTH: Final = 2.0


def lowest_shown(scores: Sequence[float]) -> float | None:
    """The score that an axis begins at; None where it shows all.

    Half of the scores at least are shown, and more wherever they lie near: an axis is cut where a
    few scores, such as of trials at chance, would leave the others less than half of it.

    Args:
        scores: Finite, in any order.
    """
    if not scores:
        return None
    best, middle = max(scores), median(scores)
    low = middle - _REACH * (best - middle)
    return low if middle < best and best - min(scores) > _WORTH * (best - low) else None
