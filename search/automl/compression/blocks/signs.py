"""Weights as signs with a scale an output, through which gradients go."""

from __future__ import annotations

import torch
from torch import nn

Tensor = torch.Tensor


class SignsWithScale(nn.Module):
    """Each weight's sign times the mean magnitude of its output's weights.

    Rastegari et al. 2016 (XNOR-Net), equation 6. Gradients go straight through the sign where
    magnitudes are below 1, and through the mean. Of what it gives it gives the same.
    """

    def forward(self, weights: Tensor) -> Tensor:
        """[outputs, ...]."""
        scales = weights.abs().flatten(1).mean(1).view(-1, *[1] * (weights.dim() - 1))
        held = weights.clamp(-1, 1)
        signs = torch.where(weights < 0, -1.0, 1.0) + (held - held.detach())
        return scales * signs
