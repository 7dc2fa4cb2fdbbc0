"""Whether a device is as quick as when it began: an operator that is timed again and again."""

from __future__ import annotations

import math
import time
from typing import Final

from automl.errors import MeasureError
from automl.latency import LatencyTable, OpKey, Row
from automl.profiling.boards import Boards, Keyed
from automl.profiling.runner import Limits, Measurement

_LIMITS: Final = Limits(spread=0.01, seconds=0.2, min_passes=5, max_passes=15)
_TRIES: Final = 4
_TOLERANCE: Final = 0.05  # how much slower the anchor may be


class Drift:
    """The anchor's time on each board, and what it was at first.

    One board is held to the table's row of the anchor. Each of several is held to itself, and all
    of them together to that row: how they differ from each other is no drift.

    Args:
        table: Gains the anchor's row where it has none.
        boards: What measures.
        anchor: The operator, with its models.

    Raises:
        MeasureError: If the device stops answering, or its runtime refuses the anchor.
    """

    def __init__(self, table: LatencyTable, boards: Boards, anchor: Keyed) -> None:
        self._boards, self._keyed = boards, anchor
        self._lag = 0.0
        key, _ = anchor
        row = table.row(key)
        if row is not None and not boards.several:
            self._references = {"": row.seconds}
            return
        best = self._best()
        self._references = {board: measured.seconds for board, measured in best.items()}
        if row is None:
            first = next(iter(best.values()))
            table.append([row_of(key, first, 0.0)])
            row = table.row(key)
        if row is not None and not boards.several:
            self._references = {"": row.seconds}  # another process was faster
        elif row is not None:
            lag = min(self._references.values()) / row.seconds - 1.0
            self._lag = lag if lag > _TOLERANCE else 0.0

    def slower(self) -> dict[str, float]:
        """How much slower than at first each board stays, waiting a little; 0 if tolerable."""
        least: dict[str, float] = {}
        for attempt in range(_TRIES):
            time.sleep(0.2 * attempt)
            for board, measured in self._times().items():
                slower = measured.seconds / self._references.get(board, math.inf) - 1.0
                least[board] = min(slower, least.get(board, math.inf))
            if max(least.values(), default=0.0) <= _TOLERANCE:
                break
        return {
            board: self._lag + (slower if slower > _TOLERANCE else 0.0)
            for board, slower in least.items()
        }

    def _best(self) -> dict[str, Measurement]:
        found: dict[str, Measurement] = {}
        for _ in range(_TRIES):
            for board, measured in self._times().items():
                if board not in found or measured.seconds < found[board].seconds:
                    found[board] = measured
        return found

    def _times(self) -> dict[str, Measurement]:
        (times,) = self._boards.on_each([self._keyed], _LIMITS).values()
        for board, measured in times.items():
            if measured.error:
                where = f"{board}: " if board else ""
                raise MeasureError(
                    f"{where}the runtime refuses a plain convolution: {measured.error}"
                )
        return times


def row_of(key: OpKey, measured: Measurement, slower: float) -> Row:
    """The row of a measurement on a board that was so much slower than at first."""
    spread = measured.spread + slower
    return Row(key, measured.seconds, spread, measured.runs, board=measured.board, slower=slower)
