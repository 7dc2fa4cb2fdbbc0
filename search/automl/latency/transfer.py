"""A new device from a few whole-network timings and a known device's shape.

Three things are worth believing, each only as far as the timings bear it out: that the new device
is like the known one; that it is so but for one factor; that its balance differs too. The factor is
shrunk towards 1 by how many timings there are and how far it lies from 1 (the positive part of
James and Stein's estimator, 1961). The balance, a factor on each kind of coefficient (calls,
arithmetic, memory) and a smaller one on each class of operators, is taken where it predicts timings
that were left out clearly better than the factor alone does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from automl.errors import TableError
from automl.latency import fit, roofline
from automl.latency.features import Floats, smallest
from automl.latency.keys import OpKey
from automl.latency.predict import Roofline, Unit

#: How far a device may lie from the one it is likened to, the factor between them set aside.
AROUND_KNOWN = fit.Spread(scale=0.2, kind=0.4, own=0.15, start=0.15, half=0.1, noise=0.1)
#: Timings from which the balance may be told, and parts that are left out in turn to judge it. Its
#: left-out error must be lower by a share of two over the number of timings.
_FEWEST: Final = 5
_FOLDS: Final = 5
#: Squares of its uncertainty that a factor is shrunk by, and timings that the known device's stated
#: error counts for beside what the timings themselves differ by. Two devices err alike in part.
_SHRUNK: Final = 1.5
_COUNTED: Final = 2.0
_APART: Final = 0.7
#: Least relative error that one prediction is taken to have.
_LEAST_ERROR: Final = 0.05


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
        [keys for keys, _ in group],
        [seconds for _, seconds in group],
        known.channel_steps,
        pads=known.pads,
        spill=known.spill,
    )
    usual = _usual(data, known)
    parameters = _calibrated(data, known)
    if len(group) == 1:
        error = 2 * usual
    else:
        misses = []
        for left_out in np.eye(len(group), dtype=bool):
            rest = _calibrated(data.take(~left_out), known)
            misses.append(_miss(rest, data.take(left_out)))
        error = float(np.mean(misses))
    # Few timings cannot tell one class's error from another's: keep the known device's pattern.
    factor = error / usual if usual > 0 else 1.0
    seen = known.seen | {key.op for keys, _ in group for key in keys}
    least = np.where(known.least_size > 0, known.least_size, smallest(data.ops))
    unit = replace(
        known, parameters=parameters, errors=known.errors * factor, least_size=least, seen=seen
    )
    return unit, error


def _usual(data: fit.Networks, known: Unit) -> float:
    """What the known device states for such networks."""
    return float((fit.class_shares(known.parameters, data) @ known.errors).mean())


def _calibrated(data: fit.Networks, known: Unit) -> Floats:
    """(PARAMETERS,) logarithms: the known device's times a factor, or balanced anew."""
    scaled = _scaled(data, known)
    count = len(data.seconds)
    if count < _FEWEST:
        return scaled
    fold = np.arange(count) % min(_FOLDS, count)
    factor_misses, balance_misses = [], []
    for place in range(int(fold.max()) + 1):
        rest, held = data.take(fold != place), data.take(fold == place)
        alone = _scaled(rest, known)
        factor_misses.append(_miss(alone, held))
        balance_misses.append(_miss(_balanced(rest, alone), held))
    better = np.mean(balance_misses) < (1 - 2 / count) * np.mean(factor_misses)
    return _balanced(data, scaled) if better else scaled


def _scaled(data: fit.Networks, known: Unit) -> Floats:
    """The known device's coefficients times a factor, shrunk towards 1."""
    ratios = np.log(data.seconds / fit.network_seconds(known.parameters, data))
    level = float(np.median(ratios))
    variance = (
        _COUNTED * max(_APART * _usual(data, known), _LEAST_ERROR) ** 2
        + np.square(ratios - level).sum()
    )
    variance /= _COUNTED + len(ratios) - 1
    kept = max(0.0, 1 - _SHRUNK * variance / (len(ratios) * level**2)) if level else 0.0
    moved = np.zeros(roofline.PARAMETERS)
    moved[: roofline.HALF.start] = kept * level
    moved[[roofline.WEIGHTS3, roofline.CONSTANT]] = kept * level
    found: Floats = known.parameters + moved
    return found


def _balanced(data: fit.Networks, around: Floats) -> Floats:
    prior = fit.Prior(around, fit.covariance(AROUND_KNOWN))
    return fit.fit_unit(data, prior, AROUND_KNOWN.noise)


def _miss(parameters: Floats, held: fit.Networks) -> float:
    return float(np.mean(np.abs(fit.network_seconds(parameters, held) / held.seconds - 1)))
