"""Weight tensors as packed files hold them, and exactly the numbers that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from automl.export.formed import FormedWeights

Tensor = torch.Tensor
#: Numbers that a codebook may have.
_MOST_SHARED: Final = 256


@dataclass(frozen=True, slots=True)
class IntegerWeights:
    """A weight tensor as integers of few bits.

    Attributes:
        integers: int8, of the weight's shape, output channels first: from -2^(bits-1) to
            2^(bits-1) - 1; at 1 bit -1 and 1.
        scale: float32, one an output channel.
        bits: 1 to 8.
        odd: Whether the integers are the odd ones from -(2^bits - 1) to 2^bits - 1, of at most 7
            bits.
    """

    integers: Tensor
    scale: Tensor
    bits: int
    odd: bool = False

    def values(self) -> Tensor:
        """The weights, float32."""
        return self.integers.float() * self.scale.view(-1, *[1] * (self.integers.dim() - 1))


@dataclass(frozen=True, slots=True)
class SharedWeights:
    """A weight tensor as indices into a codebook.

    Attributes:
        entries: float32, at most 2^bits.
        indices: uint8, of the weight's shape.
        bits: 1 to 8.
    """

    entries: Tensor
    indices: Tensor
    bits: int

    def values(self) -> Tensor:
        """The weights, float32."""
        return self.entries[self.indices.long()]


@dataclass(frozen=True, slots=True)
class SparseWeights:
    """A weight tensor most of which is zeros; the others are numbers, or indices into a codebook.

    Attributes:
        mask: bool, of the weight's shape: where the others are.
        numbers: float32: those that are not zero, row by row; or the codebook, at most 2^bits.
        indices: uint8, one a number that is not zero; empty where `numbers` are they themselves.
        bits: 1 to 8; 32 where there is no codebook.
    """

    mask: Tensor
    numbers: Tensor
    indices: Tensor
    bits: int

    def values(self) -> Tensor:
        """The weights, float32."""
        result = torch.zeros(self.mask.shape)
        result[self.mask] = self.numbers if self.bits > 8 else self.numbers[self.indices.long()]
        return result


Stored = Tensor | IntegerWeights | SharedWeights | SparseWeights | FormedWeights


def found_sparse(weights: Tensor) -> SparseWeights | None:
    """A tensor with many zeros as what takes fewer bytes; None where nothing does.

    Where those that are not zero have few values, as those of a codebook; equal numbers in
    either case.

    Args:
        weights: Of two dimensions or more, float32; None comes of others.
    """
    if weights.dtype != torch.float32 or weights.dim() < 2:
        return None
    mask = weights != 0
    numbers = weights[mask]
    empty = torch.empty(0, dtype=torch.uint8)
    found = SparseWeights(mask, numbers, empty, 32)
    where, least = -(-mask.numel() // 8), 4 * weights.numel()
    if where + 4 * len(numbers) >= least:
        return None
    entries, indices = numbers.unique(return_inverse=True)
    bits = max(1, (len(entries) - 1).bit_length())
    if len(entries) > _MOST_SHARED or len(numbers) <= 4 * len(entries):
        return found
    return SparseWeights(mask, entries, indices.to(torch.uint8), bits)


def found_stored(weights: Tensor) -> SparseWeights | SharedWeights | None:
    """A tensor of many zeros, or of few values, as what takes fewer bytes; None where nothing does.

    Args:
        weights: Of two dimensions or more, float32; None comes of others.
    """
    sparse = found_sparse(weights)
    if weights.dtype != torch.float32 or weights.dim() < 2 or not weights.numel():
        return sparse
    entries, indices = weights.unique(return_inverse=True)
    bits = max(1, (len(entries) - 1).bit_length())
    if len(entries) > _MOST_SHARED:
        return sparse
    size = -(-weights.numel() * bits // 8) + 4 * min(1 << bits, weights.numel())
    if sparse is None:
        fewer = size < 4 * weights.numel()
    else:
        codes = sparse.indices.numel() * sparse.bits
        numbers = min(1 << sparse.bits, codes) if codes else len(sparse.numbers)
        fewer = size < -(-weights.numel() // 8) + -(-codes // 8) + 4 * numbers
    return SharedWeights(entries, indices.to(torch.uint8), bits) if fewer else sparse
