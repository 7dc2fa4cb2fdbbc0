"""Each layer by itself: least squares on what the dense network feeds it.

What the layers before got wrong is not seen, and not corrected: the control for `least_squares`,
which goes through the network in order.

Source: He et al. 2017 (Channel Pruning), section 3.1, a layer alone; so does Frantar and Alistarh
2022 (Optimal Brain Compression). Differs: from the inputs' moments, so that no outputs are held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.layer_matrix import matrix, runs_of
from automl.compression.quantization.base import Quantizer
from automl.compression.reconstruction.base import FULL_REFIT, Candidate, Read, RefitSettings
from automl.compression.reconstruction.refitting import refitted
from automl.compression.reconstruction.solving import Solver

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Independent:
    """Fits each layer's remaining weights to its own dense outputs, on the dense inputs.

    After an importance that compensates as it removes this finds what is there already; after one
    that does not, it is the whole of what a layer can compensate by itself. At any resolution the
    inputs are those of the dense one. Where a policy has bits, layers are rounded as `LeastSquares`
    rounds those that it solved.

    Attributes:
        ridge: Pull towards the weights before, relative to the mean second moment of the inputs.
    """

    ridge: float = 1e-4

    def finish(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings = FULL_REFIT
    ) -> nn.Module:
        """As `Reconstruction.finish`: in place, rounded on the way where the plan has bits."""
        dense = candidate.made_from

        def solve(name: str, module: nn.Module, before: Tensor, solver: Solver) -> Tensor | None:
            if name in candidate.merged:
                return None  # solved so already
            read = dense.read(name)
            if read.columns.shape[1] + 1 == read.moments.shape[2]:
                return None  # it reads all that it did
            whole = _wide(dense.model.get_submodule(name))
            kept, flat = candidate.kept_outputs.get(name), whole.flatten(0, 1)
            flat = flat if kept is None else flat[kept]
            return self._solved(flat.view(runs_of(module), -1, whole.shape[2]), before, read)

        return refitted(candidate, quantizer, settings, solve)

    def _solved(self, aim: Tensor, before: Tensor, read: Read) -> Tensor | None:
        """The weights of least error on the columns that stay, [runs, wide, outputs]."""
        left = read.left.double()
        pull = self.ridge * left.diagonal(dim1=1, dim2=2)[:, :-1].mean(1).clamp_min(1e-9)
        normal = left + torch.diag_embed(pull.unsqueeze(1).expand(-1, left.shape[1]))
        factor, failed = torch.linalg.cholesky_ex(normal)
        if failed.any() or not torch.isfinite(factor).all():
            return None
        cross = (aim @ read.beside.double()).transpose(1, 2)
        return torch.cholesky_solve(cross + pull.view(-1, 1, 1) * before, factor)


def _wide(module: Any) -> Tensor:
    """A layer's matrix with its bias as the last column, float64."""
    weights = matrix(module)
    bias = module.bias.detach().view(weights.shape[0], -1, 1)
    return torch.cat([weights, bias], 2).double()
