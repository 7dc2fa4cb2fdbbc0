"""The finishing step: weights refitted layer by layer on the compressed network's own inputs.

In network order, each layer is solved by least squares towards the dense network's value at the
same place. A layer that ends in a residual addition aims at the dense sum minus the compressed
network's own shortcut, so each block also corrects the error that it inherited. One forward pass
of the compressed network over the calibration images, in parts that wait for each other at each
layer; no labels, no gradients.

Where a policy has bits, a layer is rounded as soon as it is solved, with the moments of the inputs
that it was solved on, and the next layers see its rounded values: what they read is rounded with
ranges found on this pass, so that each layer corrects the rounding that came before it as it does
the pruning.

Source: the sequential reconstruction of He et al. 2017 (Channel Pruning), with its correction of
the shortcut, and the reconstruction past a ReLU of Zhang et al. 2015 (Accelerating Very Deep
Convolutional Networks). Differs: biases and depthwise layers are refitted too, weights are held to
where the elimination left them as much as rows held out say (`solving`), and a ReLU only forgives
what both networks have below zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from automl.compression.quantization.base import Quantizer
from automl.compression.reconstruction.base import FULL_REFIT, Candidate, RefitSettings
from automl.compression.reconstruction.refitting import Solve, refitted
from automl.compression.reconstruction.solving import Solver

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class LeastSquares:
    """Refits each layer on the compressed network's own inputs towards the dense network's values.

    Attributes:
        ridge: Weakest pull towards the weights before, relative to the mean second moment of the
            inputs.
        rounded_ridge: The same of networks with bits: the noise of rounded inputs shrinks what
            least squares finds, all outputs alike, and the pull holds against it.
    """

    ridge: float = 3e-3
    rounded_ridge: float = 3e-2

    def finish(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings = FULL_REFIT
    ) -> nn.Module:
        """As `Reconstruction.finish`: in place, rounded on the way where the plan has bits."""
        return refitted(candidate, quantizer, settings, self.solving(candidate))

    def solving(self, candidate: Candidate) -> Solve:
        """How a candidate's layers are solved."""
        ridge = self.rounded_ridge if candidate.plan.bits else self.ridge

        def solve(name: str, module: nn.Module, before: Tensor, solver: Solver) -> Tensor | None:
            return solver.solve(before, ridge)

        return solve
