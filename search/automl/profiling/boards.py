"""One board or several: what each of them measures, and how they compare.

Of several boards each times an anchor before every batch, and one operator in sixteen is timed by
all of them. The ratios of those times say whether rows of the boards may stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final

import numpy as np

from automl.latency import BoardComparison, OpKey
from automl.profiling.device import disturbed, slowed
from automl.profiling.pool import PooledRunner
from automl.profiling.runner import Limits, Measurement, Probe, Runner

Keyed = tuple[OpKey, Probe]

#: Of so many operators one is measured on every board.
EVERY: Final = 16
#: Operators that a profile measures on every board at least, where it measures so many.
FEWEST: Final = 3
_NOTHING: Final = 1e-9  # seconds that stand for "lost in the noise"
_NORMAL: Final = 1.4826  # from a median absolute deviation to a standard deviation
_MEDIAN: Final = 1.2533  # how much wider a median's error is than a mean's


class Boards:
    """A runner as the boards that it is made of; one that is a single device has the name ""."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._pool = runner if isinstance(runner, PooledRunner) else None
        self._names = [""] if self._pool is None else list(self._pool.boards)
        self._rounds = {} if self._pool is None else self._pool.rounds
        self._turn = 0

    @property
    def several(self) -> bool:
        """Whether there are several."""
        return self._pool is not None

    @property
    def left(self) -> Mapping[str, Runner]:
        """Those that are left, by name."""
        return {"": self._runner} if self._pool is None else self._pool.boards

    def on_each(
        self, keyed: Sequence[Keyed], limits: Limits
    ) -> dict[OpKey, dict[str, Measurement]]:
        """What each board says of each operator, all boards at once; kept for the comparison."""
        probes = [models for _, models in keyed]
        pool = self._pool
        said = (
            self._runner.run(probes, limits) if pool is None else pool.run_on_each(probes, limits)
        )
        found: dict[OpKey, dict[str, Measurement]] = {key: {} for key, _ in keyed}
        for measured in said:
            found[keyed[measured.probe][0]][measured.board] = measured
        for key, times in found.items():
            usable = {board: one for board, one in times.items() if _counts(one)}
            self._rounds.setdefault(key, []).append(usable)
        return found

    def split(self, batch: Sequence[Keyed], wanted: int) -> tuple[list[Keyed], list[Keyed]]:
        """What of a batch every board measures, and what one of them does.

        Args:
            batch: Operators.
            wanted: How many the whole profile measures.
        """
        if self._pool is None:
            return [], list(batch)
        every = min(EVERY, max(1, wanted // FEWEST))
        groups = [batch[first : first + every] for first in range(0, len(batch), every)]
        shared = [max(group, key=lambda each: each[0].macs) for group in groups]
        chosen = {key for key, _ in shared}
        return shared, [each for each in batch if each[0] not in chosen]

    def measure(
        self, keyed: Sequence[Keyed], limits: Limits
    ) -> Iterator[tuple[OpKey, Measurement]]:
        """Measure each on some board."""
        for measured in self._runner.run([models for _, models in keyed], limits):
            yield keyed[measured.probe][0], measured

    def measure_by_all(
        self, keyed: Sequence[Keyed], limits: Limits
    ) -> Iterator[tuple[OpKey, Measurement]]:
        """Measure each on every board; the time that is given out is of each board in turn."""
        for key, times in self.on_each(keyed, limits).items():
            found = [one for one in times.values() if not one.error] or list(times.values())
            if found:
                yield key, found[self._turn % len(found)]
                self._turn += 1

    def disturbed(self) -> list[str]:
        """What makes the timings of each board doubtful from the start."""
        found = []
        for name, runner in self.left.items():
            info = runner.info
            if info.conditions is not None:
                found.append(_of(name, disturbed(info.threads, info.load, info.conditions)))
        return [*filter(None, found), *self._together()]

    def slowed(self) -> list[str]:
        """How each board slowed down since."""
        found = [
            _of(name, slowed(runner.info.conditions, runner.state))
            for name, runner in self.left.items()
            if runner.info.conditions is not None and runner.state is not None
        ]
        return [text for text in found if text]

    def lost(self) -> list[str]:
        """Which boards were lost, and why."""
        others = ", ".join(self.left)
        return [
            f"{name} was lost, what was left of its share was measured by {others}: {why}"
            for name, why in ({} if self._pool is None else self._pool.lost).items()
        ]

    def _together(self) -> list[str]:
        """Boards that are one machine under two names."""
        return [
            f"{one} and {other} are one machine: they time each other's work as well"
            for (one, first), (other, second) in combinations(self.left.items(), 2)
            if first.info.boot and first.info.boot == second.info.boot
        ]

    def comparisons(self) -> tuple[BoardComparison, ...]:
        """Each board beside the first one, on the operators that both have measured."""
        if self._pool is None:
            return ()
        first, *others = self._names
        found = (self._compared(first, other) for other in others)
        return tuple(one for one in found if one is not None)

    def _compared(self, beside: str, board: str) -> BoardComparison | None:
        ratios, noises = [], []
        for rounds in self._rounds.values():
            pairs = [
                (times[beside], times[board]) for times in rounds if {beside, board} <= {*times}
            ]
            if not pairs:
                continue
            logs = np.log([other.seconds / one.seconds for one, other in pairs])
            spreads = [math.hypot(one.spread, other.spread) for one, other in pairs]
            ratios.append(float(np.median(logs)))
            noises.append(max(float(np.median(spreads)), _deviation(logs)))
        if not ratios:
            return None
        one_ratio = max(float(np.median(noises)), _deviation(np.array(ratios)))
        wider = _MEDIAN if len(ratios) > 1 else 1.0
        return BoardComparison(
            board=board,
            beside=beside,
            ratio=round(math.exp(float(np.median(ratios))), 4),
            spread=round(wider * one_ratio / math.sqrt(len(ratios)), 4),
            operators=len(ratios),
        )


def _counts(measured: Measurement) -> bool:
    """Whether a time says something of its board."""
    return not measured.error and measured.seconds > _NOTHING


def _deviation(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    return _NORMAL * float(np.median(np.abs(values - np.median(values))))


def _of(board: str, said: str) -> str:
    return f"{board}: {said}" if board and said else said
