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
        Method(
            "independent",
            "Each layer by itself, on what the dense network feeds it: what the layers before got\n"
            "wrong is not corrected.",
            "He et al., Channel Pruning, 2017 (one layer)",
            "automl.compression.reconstruction.independent:Independent",
            frozenset({"data"}),
        ),
        Method(
            "thinet-scale",
            "One scale for each channel that is left, by least squares on the compressed\n"
            "network's own inputs.",
            "Luo et al., ThiNet, 2017",
            "automl.compression.reconstruction.thinet_scale:ThinetScale",
            frozenset({"data"}),
        ),
        Method(
            "block-rounding",
            "Least squares; which weights of 4 bits or fewer had better go the other way is\n"
            "learned block by block, towards the dense network's block.",
            "Li et al., BRECQ, 2021; Nagel et al., AdaRound, 2020; Wei et al., QDrop, 2022",
            "automl.compression.reconstruction.block_rounding:BlockRounding",
            frozenset({"data"}),
        ),
        Method(
            "raw",
            "Nothing is solved: the weights as the choice of channels, forms and bits has left\n"
            "them. Policies say so whose refit made things worse on the validation data.",
            "none: the control for all others",
            "automl.compression.reconstruction.raw:Raw",
        ),
    ),
)
