"""How rounding is trained, by name: ours and those that other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automl.methods import Method, Registry

if TYPE_CHECKING:
    from automl.recovery.base import TrainedQuantizer

TRAINED_QUANTIZERS: Final[Registry[TrainedQuantizer]] = Registry(
    "trained-quantizers",
    (
        Method(
            "lsq",
            "The steps of weights and activations are trained with the weights, from those that\n"
            "calibration chose; gradients go straight through the rounding.",
            "Esser et al., Learned Step Size Quantization, 2020",
            "automl.recovery.quantizers.lsq:LearnedSteps",
            frozenset({"training-data"}),
        ),
    ),
)
