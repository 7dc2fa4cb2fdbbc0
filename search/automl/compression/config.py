"""By what the weights of a compressed network are made; a policy file holds all of it."""

from __future__ import annotations

from dataclasses import dataclass

from automl.compression.importance.registry import IMPORTANCES
from automl.compression.quantization.registry import QUANTIZERS
from automl.compression.reconstruction.registry import RECONSTRUCTIONS
from automl.errors import UsageError
from automl.options import CALIBRATION, MEMORY


@dataclass(frozen=True, slots=True)
class CompressionConfig:
    """By what a compressor makes weights: the same config and inputs give the same weights.

    Methods are names, with options where they are not the usual ones: "second-order" or
    "second-order:ranges=percentile,correct_bias=false".

    Attributes:
        importance: Which channels go first; one of `IMPORTANCES`.
        compensation: Whether the weights that stay make up for the channels that go, before the
            finished network's are found.
        reconstruction: How the finished network's weights are found; one of `RECONSTRUCTIONS`.
        quantization: How weights are rounded; one of `QUANTIZERS`.
        calibration: At most so many calibration inputs are read.
        seed: Of the order in which a shuffling loader gives them, and of the places sampled.
        memory: Bytes that may be held; how many images wait at a layer, and how many rows are
            sampled, depends on it.

    Raises:
        UsageError: No such method or option (the nearest is named), or no inputs.
    """

    importance: str = "obs"
    compensation: bool = True
    reconstruction: str = "least-squares"
    quantization: str = "second-order"
    calibration: int = CALIBRATION
    seed: int = 0
    memory: int = MEMORY

    def __post_init__(self) -> None:
        IMPORTANCES.check(self.importance)
        RECONSTRUCTIONS.check(self.reconstruction)
        QUANTIZERS.check(self.quantization)
        if self.calibration < 1:
            raise UsageError(f"calibration takes at least 1 input, not {self.calibration}")
