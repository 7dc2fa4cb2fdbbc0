"""Each weight is at the grid point or codebook entry next to it."""

from __future__ import annotations

import torch

from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.nearest import Nearest
from automl.compression.quantization.qparams import QParams
from automl.policy.policy import Bits
from automl.testing.quantizers import QuantizerContract


class TestNearest(QuantizerContract):
    name = "nearest"


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    weights = torch.randn(1, 3, 20, generator=torch.Generator().manual_seed(0))
    return weights, torch.eye(21, dtype=torch.float64)[None]


def test_no_integer_is_nearer() -> None:
    weights, moments = drawn()
    found, qparams = Nearest().round(weights, moments, Bits(3, 8))
    assert isinstance(qparams, QParams)
    levels = torch.arange(-3, 4)  # symmetric
    grid = qparams.scale.unsqueeze(-1) * levels
    nearest = (weights.unsqueeze(-1) - grid).abs().amin(-1)
    assert torch.allclose((weights - found).abs(), nearest, atol=1e-6)


def test_no_entry_of_the_codebook_is_nearer() -> None:
    weights, moments = drawn()
    found, book = Nearest().round(weights, moments, Bits(2, 32))
    assert isinstance(book, Codebook)
    nearest = (weights.unsqueeze(-1) - book.entries).abs().amin(-1)
    assert torch.allclose((weights - found).abs(), nearest, atol=1e-6)
