"""How wrong fits are on what was left out of them, and the error that is stated of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from device_data import Timed, UnitKey
from device_fits import ROWS_OF_A_FAMILY, LeftOut, Units
from scipy.optimize import nnls
from scipy.stats import rankdata

from automl.latency.features import CLASSES, Floats
from automl.latency.predict import UNSEEN_ERROR

#: Relative difference between sources of one runtime where no device has two. ncnn's boards of one
#: chip (four pairs) differ by 5 to 15 % beside a factor, 9 % on the mean, and by factors of up to
#: 1.8, of which a table knows its own board's alone. 12 % was taken of 5, 10, 12, 15 and 20 as the
#: least at which no precision's left-out timings lie within the stated error less often.
_BETWEEN_SOURCES = {"ncnn": 0.12}
_BETWEEN_SOURCES_ELSE = 0.05


@dataclass(frozen=True, slots=True)
class FitAccuracy:
    """How predictions compare with measurements: `error` is the mean absolute relative one."""

    error: float
    rank_correlation: float


def _rank_correlation(predicted: Floats, measured: Floats) -> float:
    return float(np.corrcoef(rankdata(predicted), rankdata(measured))[0, 1])


def accuracy(predicted: Floats, measured: Floats) -> FitAccuracy:
    """Mean absolute relative error, and Spearman's rank correlation (NaN below three timings).

    Timings that are not predicted are left out.
    """
    known = np.isfinite(predicted)
    predicted, measured = predicted[known], measured[known]
    if not known.any():
        return FitAccuracy(float("nan"), float("nan"))
    error = float(np.mean(np.abs(predicted / measured - 1)))
    if len(measured) < 3:
        return FitAccuracy(error, float("nan"))
    return FitAccuracy(error, _rank_correlation(predicted, measured))


def between_sources(units: Units, held: Mapping[UnitKey, LeftOut]) -> float:
    """What sources differ by: the median over units of the error with a source left out.

    Where no unit has two sources, a belief about the runtime.
    """
    found = []
    for unit, one in held.items():
        measured = np.array([timed.seconds for timed in units[unit]])
        several = np.isfinite(one.by_source)
        if several.any():
            found.append(float(np.abs(one.by_source / measured - 1)[several].mean()))
    runtime = next(iter(units)).runtime
    between = _BETWEEN_SOURCES.get(runtime, _BETWEEN_SOURCES_ELSE)
    return float(np.median(found)) if found else between


def stated_error(timed: Sequence[Timed], held: LeftOut, between: float) -> float:
    """The relative error that is stated of a unit: one that covers.

    At least two thirds of the left-out timings lie within it and nineteen of twenty within twice,
    each family counting alike, each source alike; with few families it is widened as much as the
    spread of a mean over so many is. Where there is one source only, what sources differ by on
    other devices (`between`) is added in squares.
    """
    measured = np.array([one.seconds for one in timed])
    families = [one.families[0] for one in timed]
    by_family = _covering(np.abs(held.by_family / measured - 1), families)
    by_family *= 1 + 1 / len(set(families))
    several = np.isfinite(held.by_source)
    if not several.any():
        return float(np.hypot(by_family, between))
    sources = [one.citation.repository for one in timed]
    chosen = np.flatnonzero(several)
    relative = np.abs(held.by_source[chosen] / measured[chosen] - 1)
    by_source = _covering(relative, [sources[place] for place in chosen])
    return float(max(by_family, by_source))


def _covering(relative: Floats, kinds: Sequence[str]) -> float:
    """What covers two thirds of errors, and nineteen of twenty if doubled, kinds weighed alike."""
    rows = Counter(kinds)
    weight = np.array([min(1.0, ROWS_OF_A_FAMILY / rows[kind]) for kind in kinds])
    order = np.argsort(relative)
    reached = np.cumsum(weight[order]) / weight.sum()
    last = len(relative) - 1
    two_thirds, most = (
        float(relative[order[min(int(np.searchsorted(reached, share)), last)]])
        for share in (2 / 3, 0.95)
    )
    return max(two_thirds, most / 2)


def class_errors(relative: Floats, shares: Floats, stated: float) -> Floats:
    """(classes,) errors which, weighted by shares of time, are `stated` for whole networks.

    Classes in no network get `UNSEEN_ERROR` or twice the stated one, whichever is more; none gets
    less than two thirds of it.
    """
    present = shares.max(axis=0) > 0
    mean = float(relative.mean())
    ridge = 0.3 * np.sqrt(len(relative) / present.sum()) * np.eye(int(present.sum()))
    matrix = np.vstack([shares[:, present], ridge])
    extra, _ = nnls(
        matrix,
        np.concatenate([relative, ridge.sum(axis=1) * mean]) - matrix.sum(axis=1) * mean * 2 / 3,
    )
    found = np.full(len(CLASSES), max(2 * stated, UNSEEN_ERROR))
    pattern = mean * 2 / 3 + extra
    found[present] = pattern * stated / max(float((shares[:, present] @ pattern).mean()), 1e-12)
    return found
