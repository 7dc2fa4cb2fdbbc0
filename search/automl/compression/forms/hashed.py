"""Weights that a hash function ties together."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from automl.compression.forms.shared import TiedForm, up
from automl.network import Layer

if TYPE_CHECKING:
    from torch import Tensor


class Hashed(TiedForm):
    """A hash of a weight's place says which of few numbers it is, and another its sign.

    Source: Chen et al. 2015 (Compressing Neural Networks with the Hashing Trick). Differs: the
    numbers are those of least squares in the metric of the inputs' moments, not trained.
    """

    name = "hash"

    def count(self, parameter: int, layer: Layer) -> Any:
        """One for so many weights."""
        weights = layer.out_channels * layer.in_channels * layer.kernel[0] * layer.kernel[1]
        return up(weights, parameter)

    def places(self, parameter: int, shape: Sequence[int]) -> tuple[Tensor, Tensor, int]:
        """By a hash."""
        count = up(prod(shape), parameter)
        places, signs = hashed(prod(shape), count)
        return places.view(1, shape[1], -1), signs.view(1, shape[1], -1), count


def hashed(weights: int, count: int) -> tuple[Tensor, Tensor]:
    """The number that each weight is, by its place, and its sign: the same on every machine."""
    import torch

    mixed = torch.arange(1, weights + 1, dtype=torch.int64)
    for factor in (0x45D9F3B, 0x45D9F3B):  # a 32-bit finaliser of multiplications and shifts
        mixed = ((mixed >> 16) ^ mixed) * factor % (1 << 32)
    mixed = (mixed >> 16) ^ mixed
    return (mixed >> 1) % count, 1 - 2 * (mixed & 1)
