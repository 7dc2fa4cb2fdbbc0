"""Non-negative least squares, and what its solver does not solve."""

from __future__ import annotations

import numpy as np
import pytest

from automl.errors import MeasureError
from automl.latency import fit_nonnegative


def test_coefficients_are_those_that_made_the_values() -> None:
    design = np.random.default_rng(0).random((20, 3))
    truth = np.array([0.5, 0.0, 2.0])
    assert fit_nonnegative(design, design @ truth) == pytest.approx(truth, abs=1e-9)


def test_none_is_negative() -> None:
    design = np.random.default_rng(1).random((20, 2))
    found = fit_nonnegative(design, design @ np.array([1.0, -0.3]))
    assert (found >= 0.0).all()
    assert found[1] == 0.0


def test_what_cannot_be_fitted_is_one_of_our_errors() -> None:
    with pytest.raises(MeasureError, match="no fit of 3 times was found: ValueError"):
        fit_nonnegative(np.full((3, 2), np.nan), np.ones(3))


def test_a_solver_that_gives_up_is_one_of_our_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(*_: object) -> None:
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr("automl.latency.nonnegative.nnls", gives_up)
    with pytest.raises(MeasureError, match=r"no fit of 3 times.*Maximum number of iterations"):
        fit_nonnegative(np.ones((3, 2)), np.ones(3))
