"""The two baselines that the fitted predictor is measured against, fitted on the same folds.

Both minimise relative error per unit, each unit on its own, as a first attempt would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from device_data import Timed
from scipy.optimize import nnls

from automl.latency.features import Floats, operator_features
from automl.network.layers import OPERATORS

Design = Callable[[Timed], Floats]


def macs_only(timed: Timed) -> Floats:
    """One column: MACs."""
    return np.array([float(sum(key.macs for key in timed.keys))])


def linear_per_operator(timed: Timed) -> Floats:
    """Per type of operator: MACs, elements moved and weights, count; and one constant."""
    ops = operator_features(timed.keys, (1, 1))
    kind = np.array([OPERATORS.index(key.op) for key in timed.keys])
    macs = np.array([float(key.macs) for key in timed.keys])
    size = len(OPERATORS)
    columns = [np.bincount(kind, weights, size) for weights in (macs, ops.moved + ops.weights)]
    return np.concatenate([*columns, np.bincount(kind, minlength=size), [1.0]])


def left_out(timed: Sequence[Timed], design: Design) -> Floats:
    """Each timing predicted by a non-negative least-squares fit that saw none of its family.

    NaN where there is no other family.
    """
    rows = np.array([design(one) for one in timed])
    seconds = np.array([one.seconds for one in timed])
    predicted = np.full(len(timed), np.nan)
    for family in sorted({one.families[0] for one in timed}):
        seen = np.array([family not in one.families for one in timed])
        test = np.array([family == one.families[0] for one in timed])
        if not seen.any():  # a unit of one family
            continue
        relative = rows[seen] / seconds[seen, None]
        scale = np.maximum(relative.max(axis=0), 1e-300)
        found, _ = nnls(relative / scale, np.ones(int(seen.sum())))
        predicted[test] = rows[test] @ (found / scale)
    return predicted
