"""A new device from a few whole-network timings and a known device's shape.

The known device's coefficients are the prior's mean. One common factor is nearly free. A factor on
each kind of coefficient (calls, arithmetic, memory) is held loosely, one on each class of operators
tightly. So three timings move the scale, and ten also the balance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from automl.errors import TableError
from automl.latency import fit
from automl.latency.features import smallest
from automl.latency.keys import OpKey
from automl.latency.predict import Roofline, Unit

#: How far a device may lie from the one it is likened to.
AROUND_KNOWN = fit.Spread(scale=3.0, kind=0.4, own=0.15, half=0.1, noise=0.1)


@dataclass(frozen=True, slots=True)
class FewShot:
    """A predictor fitted to few timings.

    Attributes:
        predictor: Prices the precisions of the timings.
        errors: Mean absolute relative error per precision, each timing predicted from the others;
            with one timing, the known device's own error, doubled.
        timings: Number of timings per precision.
    """

    predictor: Roofline
    errors: Mapping[str, float]
    timings: Mapping[str, int]


def few_shot(timings: Sequence[tuple[Sequence[OpKey], float]], like: Roofline) -> FewShot:
    """Fit a new device.

    Args:
        timings: Whole networks: their operators, all of one precision, and seconds for one call.
        like: Predictor of a known device. A precision that it lacks is taken from its first one,
            whose scale then adapts.

    Raises:
        TableError: No timings, a time that is not positive, or a network of two precisions.
    """
    if not timings:
        raise TableError("calibration needs at least one timed network")
    groups: dict[str, list[tuple[Sequence[OpKey], float]]] = {}
    for number, (keys, seconds) in enumerate(timings, start=1):
        groups.setdefault(_precision(keys, seconds, number), []).append((keys, seconds))
    units: dict[str, Unit] = {}
    errors: dict[str, float] = {}
    for precision, group in groups.items():
        known = like.units.get(precision, next(iter(like.units.values())))
        units[precision], errors[precision] = _fit(group, known)
    counts = {precision: len(group) for precision, group in groups.items()}
    return FewShot(
        Roofline(MappingProxyType(units)), MappingProxyType(errors), MappingProxyType(counts)
    )


def _precision(keys: Sequence[OpKey], seconds: float, number: int) -> str:
    found = sorted({key.precision for key in keys})
    if len(found) != 1:
        held = " and ".join(found) or "no operators"
        raise TableError(f"timing {number}: a network of one precision is needed, this has {held}")
    if not (np.isfinite(seconds) and seconds > 0):
        raise TableError(f"timing {number}: {seconds} s is not a positive time")
    return found[0]


def _fit(group: Sequence[tuple[Sequence[OpKey], float]], known: Unit) -> tuple[Unit, float]:
    data = fit.networks(
        [keys for keys, _ in group], [seconds for _, seconds in group], known.channel_steps
    )
    prior = fit.covariance(AROUND_KNOWN)

    def fitted(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        return fit.fit_unit(data.take(chosen), known.parameters, prior, AROUND_KNOWN.noise)

    parameters = fitted(np.ones(len(group), dtype=bool))
    shares = fit.class_shares(parameters, data)
    usual = float((shares @ known.errors).mean())
    if len(group) == 1:
        error = 2 * usual
    else:
        misses = []
        for left_out in np.eye(len(group), dtype=bool):
            held = data.take(left_out)
            predicted = fit.network_seconds(fitted(~left_out), held)
            misses.append(abs(float(predicted[0]) / float(held.seconds[0]) - 1))
        error = float(np.mean(misses))
    # Few timings cannot tell one class's error from another's: keep the known device's pattern.
    factor = error / usual if usual > 0 else 1.0
    seen = known.seen | {key.op for keys, _ in group for key in keys}
    least = np.where(known.least_size > 0, known.least_size, smallest(data.ops))
    unit = Unit(parameters, known.channel_steps, known.errors * factor, least, seen)
    return unit, error
