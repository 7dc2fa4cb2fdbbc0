"""A fitted predictor corrected by the rows that were measured beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from automl.latency.keys import SOURCES, OpKey, Timings
from automl.latency.table import LatencyTable

#: Rows of a type of operator from which it has a factor of its own.
FEWEST: Final = 3


class CorrectedPricer:
    """A table whose fitted times are scaled to its measured rows; a `Pricer`.

    A predictor that is a third too slow would otherwise make everything that was measured look
    cheap, and a search would never try anything else. The factor is the median ratio of measured
    to predicted, per type of operator and precision where there are enough rows, else over all.
    """

    def __init__(self, table: LatencyTable) -> None:
        self._table = table
        rows = [row for row in table.rows if row.source == "measured"]
        predicted, _ = table.predict([row.key for row in rows])
        ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row, seconds in zip(rows, predicted.tolist(), strict=True):
            if seconds > 0:  # not where it is not known
                ratios[row.key.op, row.key.precision].append(row.seconds / seconds)
        whole = [ratio for found in ratios.values() for ratio in found]
        self._overall = float(np.median(whole)) if whole else 1.0
        self._factors = {
            kind: float(np.median(found)) for kind, found in ratios.items() if len(found) >= FEWEST
        }

    def factor(self, key: OpKey) -> float:
        """What a fitted time of this operator is multiplied with."""
        return self._factors.get((key.op, key.precision), self._overall)

    def lookup(self, keys: Sequence[OpKey]) -> Timings:
        """As `LatencyTable.lookup`, fitted times corrected."""
        found = self._table.lookup(keys)
        fitted = found.source == SOURCES.index("fitted")
        factors = np.array([self.factor(key) for key in keys])
        return replace(found, seconds=np.where(fitted, found.seconds * factors, found.seconds))
