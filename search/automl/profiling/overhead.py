"""From the sum of operators to the network: a robust, non-negative fit on whole networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from automl.errors import MeasureError
from automl.latency import FittedOverhead, fit_nonnegative

Floats = NDArray[np.float64]

#: Fewer networks say nothing of an overhead.
FEWEST_NETWORKS: Final = 3
_FEW: Final = 6  # below that many networks a factor alone is fitted
_ALIKE: Final = 0.2  # sums that differ by less tell no scale from a constant beside noise
_REWEIGHTINGS: Final = 5
_APART: Final = 2.0  # the scale of integers may be so many times another than that of floats
_CUTOFF: Final = 1.345  # Huber's, in robust standard deviations


@dataclass(frozen=True, slots=True)
class Sums:
    """Seconds of networks' operators, added up.

    Attributes:
        whole: Of all operators, a network each.
        integers: Of those that compute integers, which are in `whole` too; None for none.
    """

    whole: Floats
    integers: Floats | None = None


def fit_overhead(sums: Sums, operators: Sequence[int], measured: Sequence[float]) -> FittedOverhead:
    """Fit seconds = scale * sum + per operator * count + per call, with relative errors weighed.

    Huber weights (iteratively reweighted) keep single disturbed measurements from deciding; the
    error is that of each network predicted from a fit without it. With fewer than six networks
    only the scale is fitted, and where they are so much alike that the rest takes its place.
    Operators that compute integers have a scale of their own where this makes that error less.

    Args:
        sums: Seconds of each network's operators, added up.
        operators: How many operators each has.
        measured: Seconds of each network as it was measured.

    Raises:
        MeasureError: If there are fewer than three networks, or no fit is found.
    """
    truth, design = _best_design(sums, operators, measured)
    errors = np.abs(_held_out(design, truth) / truth - 1.0)
    scale, per_operator, per_call, integers = _fit(design, truth)
    if scale <= 0.0:
        raise MeasureError("the networks' times do not follow the sums of their operators")
    apart = bool(design[:, 3].any())
    return FittedOverhead(
        scale=float(scale),
        integers=float(integers / scale) if apart else 1.0,
        seconds_per_operator=float(per_operator),
        seconds_per_call=float(per_call),
        networks=len(truth),
        error=float(np.mean(errors)),
    )


def held_out_seconds(
    sums: Sums, operators: Sequence[int], measured: Sequence[float]
) -> list[float]:
    """Seconds of each network as a fit on the others predicts it; arguments as `fit_overhead`.

    Raises:
        MeasureError: If there are fewer than three networks, or no fit is found.
    """
    truth, design = _best_design(sums, operators, measured)
    found: list[float] = _held_out(design, truth).tolist()
    return found


def network_seconds(overhead: FittedOverhead | None, total: float, operators: int) -> float:
    """Seconds of a network of floats from the sum over its operators and their number."""
    if overhead is None:
        return total
    per_operator = overhead.seconds_per_operator * operators
    return overhead.scale * total + per_operator + overhead.seconds_per_call


def _best_design(
    sums: Sums, operators: Sequence[int], measured: Sequence[float]
) -> tuple[Floats, Floats]:
    """Times, and what they are fitted from: sums, counts, ones, and sums of integers if apart."""
    truth, design = _design(sums, operators, measured)
    if sums.integers is None or len(truth) < _FEW or not sums.integers.any():
        return truth, design
    apart = design.copy()
    apart[:, 0], apart[:, 3] = sums.whole - sums.integers, sums.integers
    scale, _, _, integers = _fit(apart, truth)
    if not scale / _APART <= integers <= scale * _APART:
        return truth, design
    errors = [np.abs(_held_out(each, truth) / truth - 1.0).mean() for each in (apart, design)]
    return truth, apart if errors[0] < errors[1] else design


def _design(
    sums: Sums, operators: Sequence[int], measured: Sequence[float]
) -> tuple[Floats, Floats]:
    truth = np.asarray(measured, dtype=np.float64)
    ones = np.ones(len(truth))
    design = np.stack([sums.whole, operators, ones, 0.0 * ones], axis=1).astype(np.float64)
    if len(truth) < FEWEST_NETWORKS:
        raise MeasureError(
            f"an overhead is fitted on at least {FEWEST_NETWORKS} networks, not {len(truth)}"
        )
    alike = np.ptp(design[:, 0]) <= _ALIKE * design[:, 0].max()
    if len(truth) < _FEW or (alike and _fit(design, truth)[0] <= 0.0):
        design[:, 1:] = 0.0
    return truth, design


def _held_out(design: Floats, truth: Floats) -> Floats:
    """Each network's time from a fit on the others."""
    found = np.empty(len(truth))
    for left_out in range(len(truth)):
        rest = np.arange(len(truth)) != left_out
        found[left_out] = design[left_out] @ _fit(design[rest], truth[rest])
    return found


def _fit(design: Floats, truth: Floats) -> Floats:
    relative = design / truth[:, None]
    size = np.linalg.norm(relative, axis=0)
    used = size > 0.0
    columns = relative[:, used] / size[used]
    weights = np.ones(len(truth))
    found = np.zeros(columns.shape[1])
    for _ in range(_REWEIGHTINGS):
        found = fit_nonnegative(columns * weights[:, None], weights)
        residual = np.abs(columns @ found - 1.0)
        deviation = 1.4826 * np.median(residual) + 1e-9
        weights = np.sqrt(np.minimum(1.0, _CUTOFF * deviation / np.maximum(residual, 1e-12)))
    solution = np.zeros(design.shape[1])
    solution[used] = found / size[used]
    return solution
