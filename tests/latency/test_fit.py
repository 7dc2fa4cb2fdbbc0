"""The fit of one unit, and an error where it does not end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from automl.errors import MeasureError
from automl.latency import OpKey, fit, roofline


def convolutions(width: int) -> list[OpKey]:
    return [
        OpKey(
            "conv2d", 3 if not place else width, width, (3, 3), (1, 1), (1, 1),
            in_size=(28, 28), out_size=(28, 28),
        )
        for place in range(4)
    ]  # fmt: skip


WIDTHS = (8, 16, 24, 32, 48, 64)
MEAN = np.zeros(roofline.PARAMETERS) + np.log(1e-9)
PRIOR = np.eye(roofline.PARAMETERS)


def timed(parameters: np.ndarray) -> fit.Networks:
    chosen = [convolutions(width) for width in WIDTHS]
    blank = fit.networks(chosen, [1.0] * len(chosen), (1, 1))
    return fit.networks(chosen, fit.network_seconds(parameters, blank).tolist(), (1, 1))


def test_a_unit_is_found_again_from_its_own_times() -> None:
    truth = MEAN + 0.5
    data = timed(truth)
    found = fit.fit_unit(data, fit.Prior(MEAN, PRIOR), noise=0.01)
    assert fit.network_seconds(found, data) == pytest.approx(data.seconds, rel=0.02)


def test_a_fit_that_does_not_converge_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def unfinished(*_: object, **__: object) -> OptimizeResult:
        return OptimizeResult(x=MEAN, success=False, status=0, message="evaluations exceeded")

    monkeypatch.setattr(fit, "least_squares", unfinished)
    with pytest.raises(MeasureError, match="no fit of 6 networks' times was found: evaluations"):
        fit.fit_unit(timed(MEAN), fit.Prior(MEAN, PRIOR), noise=0.01)


def test_what_a_source_adds_is_told_from_the_device() -> None:
    """Two sources: one as the device is, one with a call and every operator dearer."""
    truth = MEAN + 0.5
    data = timed(truth)
    operators = np.bincount(data.network)
    added = data.seconds * 1.2 + 1e-4 + 2e-5 * operators
    both = fit.networks(
        [convolutions(width) for width in WIDTHS] * 2,
        [*data.seconds.tolist(), *added.tolist()],
        (1, 1),
    )
    sources = (
        fit.SourceBelief(factor=0.01),
        fit.SourceBelief(factor=0.3, call_seconds=1e-4, operator_seconds=1e-5),
    )
    told = replace(both, source=np.repeat([0, 1], len(WIDTHS)), sources=sources)
    found = fit.fit_unit(told, fit.Prior(MEAN, PRIOR), noise=0.01)
    mixed = fit.fit_unit(both, fit.Prior(MEAN, PRIOR), noise=0.01)
    assert fit.network_seconds(found, data) == pytest.approx(data.seconds, rel=0.05)
    assert np.abs(fit.network_seconds(mixed, data) / data.seconds - 1).max() > 0.08


def test_no_coefficient_comes_below_its_least() -> None:
    truth, least = MEAN - 1.0, np.zeros(roofline.PARAMETERS)
    least[roofline.RATE] = np.exp(MEAN[roofline.RATE])
    found = fit.fit_unit(timed(truth), fit.Prior(MEAN, PRIOR, least), noise=0.01)
    assert (found[roofline.RATE] >= MEAN[roofline.RATE]).all()
    free = fit.fit_unit(timed(truth), fit.Prior(MEAN, PRIOR), noise=0.01)
    assert free[roofline.RATE].min() < MEAN[roofline.RATE].min()
