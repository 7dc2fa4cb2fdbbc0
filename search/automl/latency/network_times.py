"""Timed networks as arrays, and what is believed of the sources that timed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from automl.latency.features import Floats, OperatorFeatures, Spill, operator_features
from automl.latency.keys import OpKey


@dataclass(frozen=True, slots=True)
class SourceBelief:
    """How a source's times may differ from those of the device by itself.

    It times them by a factor around 1, and adds what its own program takes for a call and for each
    operator. Levels are in seconds; spreads are standard deviations of logarithms.
    """

    factor: float = 0.1
    call_seconds: float = 1e-6
    operator_seconds: float = 1e-9
    around: float = 1.0

    @property
    def levels(self) -> tuple[float, float, float]:
        """Logarithms that are expected."""
        return 0.0, float(np.log(self.call_seconds)), float(np.log(self.operator_seconds))

    @property
    def spreads(self) -> tuple[float, float, float]:
        """Standard deviations of them."""
        return self.factor, self.around, self.around


@dataclass(frozen=True, slots=True)
class Networks:
    """Timed networks: their operators one after the other, and one time each.

    Attributes:
        ops: Operators of all networks.
        network: Which network each operator belongs to, ascending.
        seconds: Measured time per network.
        constant: 1 where the time holds the cost of a whole call, 0 for operators timed alone.
        weight: What each counts, 1 for one that stands for itself.
        source: Which of `sources` timed each.
        sources: What is believed of each source; none where all timed alike.
    """

    ops: OperatorFeatures
    network: NDArray[np.intp]
    seconds: Floats
    constant: Floats
    weight: Floats
    source: NDArray[np.intp]
    sources: tuple[SourceBelief, ...] = ()

    def take(self, chosen: NDArray[np.bool_]) -> Networks:
        """The networks where `chosen` is true."""
        kept = chosen[self.network]
        ops = OperatorFeatures(
            *(getattr(self.ops, field.name)[kept] for field in fields(OperatorFeatures))
        )
        renumbered = (np.cumsum(chosen) - 1)[self.network[kept]]
        return Networks(
            ops,
            renumbered,
            self.seconds[chosen],
            self.constant[chosen],
            self.weight[chosen],
            self.source[chosen],
            self.sources,
        )


def networks(
    keys: Sequence[Sequence[OpKey]],
    seconds: Sequence[float],
    channel_steps: tuple[int, int],
    whole: bool = True,
    pads: bool = False,
    spill: Spill | None = None,
) -> Networks:
    """Timed networks of one source from their operators.

    `whole` says that a call's constant is in the times, `pads` that padding runs as an operator,
    `spill` what maps beyond a cache cost.
    """
    lengths = [len(one) for one in keys]
    return Networks(
        operator_features([key for one in keys for key in one], channel_steps, pads, spill),
        np.repeat(np.arange(len(keys)), lengths),
        np.asarray(seconds, dtype=np.float64),
        np.full(len(keys), float(whole)),
        np.ones(len(keys)),
        np.zeros(len(keys), dtype=np.intp),
    )
