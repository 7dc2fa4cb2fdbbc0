"""Sets of few values that weights are brought to."""

from __future__ import annotations

import torch

from automl.errors import UsageError

Tensor = torch.Tensor


def powers_of_two(weights: Tensor, bits: int) -> Tensor:
    """The nearest of zero and the powers of two that INQ has for so many bits, by their sizes.

    Incremental Network Quantization (Zhou et al., 2017, equations 2 to 4): the largest exponent is
    floor(log2(4/3 of the largest magnitude)), and there are 2^(bits-2) exponents beside the sign
    and the zero.

    Args:
        weights: Of one layer.
        bits: 3 and more.
    """
    top = torch.floor(torch.log2(weights.abs().max().clamp_min(1e-30) * 4 / 3))
    bottom = top - 2 ** (bits - 2) + 1
    exponents = torch.log2(weights.abs().clamp_min(1e-30) / 1.5).ceil()  # halves by their size
    sizes = torch.exp2(torch.minimum(exponents, top).clamp_min(float(bottom)))
    zero = weights.abs() < 0.5 * torch.exp2(bottom)
    return torch.where(zero, 0.0, weights.sign() * sizes)


def ternary(weights: Tensor) -> Tensor:
    """Nearest of -s, 0 and s for the s of the least error: [outputs, ...], an s an output.

    Ternary Weight Networks (Li et al., 2016), with their threshold of 0.7 times the mean magnitude.
    """
    rows = weights.flatten(1)
    kept = rows.abs() > 0.7 * rows.abs().mean(1, keepdim=True)
    scale = (rows.abs() * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_min(1)
    return (rows.sign() * kept * scale).view_as(weights)


def checked_bits(what: str, bits: int, least: int, most: int) -> int:
    """A whole number in a range.

    Raises:
        UsageError: It is another.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not least <= bits <= most:
        raise UsageError(f"{what} is a whole number from {least} to {most}, found {bits}")
    return bits
