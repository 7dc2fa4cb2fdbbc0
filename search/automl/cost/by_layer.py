"""What each layer of one policy's network adds to its latency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from automl.cost.factors import INTEGER, Overhead
from automl.cost.operators import layer_operators
from automl.latency import MISSING, SOURCES, Pricer
from automl.network import Network
from automl.policy import Policy, Precisions, plain_precision

_UNKNOWN: Final = "unknown"
#: From what most is known of to what least is.
_SOURCES: Final = (*SOURCES, _UNKNOWN)


@dataclass(frozen=True, slots=True)
class LayerTime:
    """What one layer adds to a network's latency.

    Attributes:
        seconds: Cycles where the target is a simulator; None where an operator of the layer has no
            price.
        source: Of the operator that least is known of: "measured", "interpolated", "fitted", or
            "unknown".
    """

    seconds: float | None
    source: str


def time_layers(
    network: Network, policy: Policy, pricer: Pricer, overhead: Overhead, precisions: Precisions
) -> Mapping[str, LayerTime]:
    """Times of the layers that run, in network order, and of conversions (`CONVERSIONS`).

    Each operator is asked for by itself: a cost model that interpolates between channel counts
    may differ. The overhead's constant belongs to no layer.

    Args:
        network: What was traced.
        policy: What is made of it.
        pricer: Of the target.
        overhead: From the sum of operators to the network.
        precisions: Of the target.

    Raises:
        SpaceError: As `operators_of`.
    """
    operators = layer_operators(network, policy, precisions)
    if not operators:
        return {}
    timings = pricer.lookup([key for _, key in operators])
    found: dict[str, LayerTime] = {}
    rows = zip(operators, timings.seconds.tolist(), timings.source.tolist(), strict=True)
    for (name, key), seconds, source in rows:
        integer = plain_precision(key.precision) == INTEGER
        factor = overhead.scale * (overhead.integers if integer else 1.0)
        known = source != MISSING and not math.isnan(seconds)
        added = LayerTime(
            factor * seconds + overhead.per_operator if known else None,
            SOURCES[source] if known else _UNKNOWN,
        )
        found[name] = _sum(found[name], added) if name in found else added
    return found


def _sum(one: LayerTime, other: LayerTime) -> LayerTime:
    known = one.seconds is not None and other.seconds is not None
    seconds = (one.seconds or 0.0) + (other.seconds or 0.0)
    return LayerTime(seconds if known else None, max(one.source, other.source, key=_SOURCES.index))
