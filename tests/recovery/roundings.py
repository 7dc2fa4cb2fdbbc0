"""Weights and activations whose rounding is trained, drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from automl.compression.quantization.activation_ranges import ActivationQParams
from automl.compression.quantization.codebook import codebook
from automl.compression.quantization.qparams import round_to, values, weight_qparams
from automl.policy.policy import Bits
from automl.recovery.base import GivenActivations, GivenWeights


def drawn(runs: int = 1, outputs: int = 4, columns: int = 24, seed: int = 0) -> Tensor:
    """Normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(runs, outputs, columns, generator=generator)


def given(dense: Tensor, bits: int, activations: int = 32, *, shared: bool = False) -> GivenWeights:
    """Weights rounded as a policy's network has them, and the dense ones."""
    if activations >= 32:
        book = codebook(dense, bits)
        return GivenWeights(book.values(), book, Bits(bits, 32), shared, dense)
    qparams = weight_qparams(dense, bits, per_tensor=shared)
    rounded = values(round_to(dense, qparams), qparams)
    return GivenWeights(rounded, qparams, Bits(bits, activations), shared, dense)


def seen(values: Tensor, scale: float = 0.5, high: int = 3, low: int = 0) -> GivenActivations:
    """Activations of integers from 0, or around it."""
    return GivenActivations(ActivationQParams(scale, 0, low, high), values)
