"""Prices as low as they may well be: optimism in the face of uncertainty.

A search by these prices finds what could be better than a search by the expected ones has found,
if luck would have it (Auer, 2002, Using Confidence Bounds for Exploitation-Exploration Trade-offs).
What it finds is worth measuring; where both find the same there is nothing left to measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from automl.latency.keys import SOURCES, OpKey, Pricer, Timings

#: Standard deviations. A time is below the lowered one with a probability of 5 %.
DEVIATIONS: Final = 1.645


class LoweredPricer:
    """Prices of another pricer, those that were not measured lowered; a `Pricer`."""

    def __init__(self, pricer: Pricer, deviations: float = DEVIATIONS) -> None:
        self._pricer = pricer
        self._deviations = deviations

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        """As the other's; spreads count as standard deviations of logarithms."""
        found = self._pricer.lookup(keys)
        uncertain = (found.source != SOURCES.index("measured")) & np.isfinite(found.spread)
        factors = np.exp(-self._deviations * np.where(uncertain, found.spread, 0.0))
        return replace(found, seconds=found.seconds * factors)
