"""Nothing is solved: the weights as the choice of channels, forms and bits has left them.

No paper's: the control for all others, and what a search delivers whose refit made things worse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from automl.compression.quantization.base import Quantizer
from automl.compression.reconstruction.base import FULL_REFIT, Candidate, RefitSettings
from automl.compression.reconstruction.least_squares import LeastSquares


@dataclass(frozen=True, slots=True)
class Raw:
    """Rounds where a policy has bits, each part of a layer for what it reads; leaves all else."""

    def finish(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings = FULL_REFIT
    ) -> nn.Module:
        """As `Reconstruction.finish`."""
        return LeastSquares().finish(candidate, quantizer, replace(settings, rounds=0))
