"""One scale for each channel that a layer still reads: the least that can be compensated.

Source: Luo et al. 2017 (ThiNet), section 3.2.3. Differs: as `least_squares` it goes through the
network once, on the compressed network's own inputs and with the shortcut's error in a residual
block's aim; scales that are no better on images held out are left at one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from automl.compression.layer_matrix import columns
from automl.compression.quantization.base import Quantizer
from automl.compression.reconstruction.base import FULL_REFIT, Candidate, RefitSettings
from automl.compression.reconstruction.refitting import refitted
from automl.compression.reconstruction.solving import Solver, Span

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class ThinetScale:
    """Multiplies what a layer reads by a number for each channel, by least squares.

    Biases stay as they are. Where a policy has bits, the scaled weights are rounded as
    `LeastSquares` rounds those that it found.

    Attributes:
        ridge: Pull of the scales towards one, relative to their mean second moment.
    """

    ridge: float = 1e-4

    def finish(
        self, candidate: Candidate, quantizer: Quantizer, settings: RefitSettings = FULL_REFIT
    ) -> nn.Module:
        """As `Reconstruction.finish`: in place, rounded on the way where the plan has bits."""

        def solve(name: str, module: nn.Module, before: Tensor, solver: Solver) -> Tensor | None:
            some, held = solver.spans
            if some[0] == some[1] or not torch.isfinite(solver.rows.wide).all():
                return None
            taps, rows = columns(module), solver.rows
            found = self._scaled(before, taps, solver, some)
            if rows.error(found, held) < rows.error(before, held):
                return self._scaled(before, taps, solver, (some[0], held[1]))
            return None

        return refitted(candidate, quantizer, settings, solve)

    def _scaled(self, before: Tensor, taps: int, solver: Solver, span: Span) -> Tensor:
        """Weights [runs, columns + 1, outputs] whose scales fit the rows of a span best."""
        moments = solver.rows.moments(span).double()
        cross = solver.rows.cross([span])
        weights, bias = before[:, :-1], before[:, -1:]
        runs, extent, _ = weights.shape
        channels = extent // taps
        together = moments[:, :-1, :-1] * (weights @ weights.mT)
        normal = together.view(runs, channels, taps, channels, taps).sum((2, 4))
        aimed = weights * (cross[:, :-1] - moments[:, :-1, -1:] @ bias)
        right = aimed.sum(2).view(runs, channels, taps).sum(2)
        mean = normal.diagonal(dim1=1, dim2=2).mean(1, keepdim=True).clamp_min(1e-30)
        pull = self.ridge * mean
        normal = normal + torch.diag_embed(pull.expand(-1, channels))
        scales = torch.linalg.solve(normal, right + pull)
        scaled = weights * scales.repeat_interleave(taps, 1).unsqueeze(2)
        return torch.cat([scaled, bias], 1)
