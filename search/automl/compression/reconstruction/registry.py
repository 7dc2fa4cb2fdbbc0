"""The reconstructions by name, ours and those that other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automl.methods import Method, Registry

if TYPE_CHECKING:
    from automl.compression.reconstruction.base import Reconstruction

RECONSTRUCTIONS: Final[Registry[Reconstruction]] = Registry(
    "reconstructions",
    (
        Method(
            "least-squares",
            "Layer by layer, on the compressed network's own inputs towards the dense network's\n"
            "values; a layer before a residual addition corrects the shortcut's error too.",
            "He et al., Channel Pruning, 2017; Zhang et al., 2015 (past a ReLU)",
            "automl.compression.reconstruction.least_squares:LeastSquares",
            frozenset({"data"}),
        ),
    ),
)
