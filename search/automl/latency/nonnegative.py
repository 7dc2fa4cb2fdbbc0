"""Least squares whose coefficients are not negative: times are sums of parts, never less."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from automl.errors import MeasureError, Raised, attempt

Floats = NDArray[np.float64]


def fit_nonnegative(design: Floats, values: Floats) -> Floats:
    """The non-negative coefficients [columns] of least squared error.

    Args:
        design: [rows, columns].
        values: [rows].

    Raises:
        MeasureError: The solver gives none; says what it says.
    """
    found = attempt(lambda: nnls(design, values))
    if isinstance(found, Raised):
        raise MeasureError(f"no fit of {len(values)} times was found: {found}") from found.error
    coefficients: Floats = found[0]
    return coefficients
