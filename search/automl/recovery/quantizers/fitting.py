"""Weights on the values that a quantizer has, of least error in what their layer writes.

A network of few bits that is made without training depends on second-order rounding: the same
values with each weight rounded to the nearest have the accuracy of chance. So what trains on other
values than calibration chose begins with a rounding of that kind too.
"""

from __future__ import annotations

from typing import Final

import torch

from automl.compression import centred, output_error, rounded_among
from automl.recovery.base import GivenWeights
from automl.recovery.quantizers.steps import LEAST

Tensor = torch.Tensor
#: Shares of the largest weight among which a scale is looked for.
_SHARES: Final = torch.linspace(1.0, 0.1, 37)
#: How often scales are fitted to the rounded weights, and these rounded anew.
_ROUNDS: Final = 2
#: Of the mean magnitude: below it a weight is zero before its layer's sizes are fitted.
_THRESHOLDS: Final = (0.5, 0.7, 1.0)


def nearest_among(given: GivenWeights, grids: Tensor) -> Tensor:
    """The wanted weights on few values: by second-order rounding, without moments the nearest.

    Args:
        given: The layer.
        grids: Values of each output, [runs, outputs, values].
    """
    wanted = given.wanted
    if given.moments is not None:
        return rounded_among(wanted, given.moments, grids).float().contiguous()
    apart = (wanted.unsqueeze(3) - grids.unsqueeze(2)).abs()
    return grids.gather(2, apart.argmin(3))


def scaled_codes(given: GivenWeights, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Integers of some levels, and the scales that fit them: one an output, or one that all share.

    Args:
        given: The layer.
        levels: The integers that there are.

    Returns:
        Codes [runs, outputs, columns] and scales [runs, outputs, 1], or [1, 1, 1].
    """
    levels = levels.to(given.wanted)

    def codes(scale: Tensor) -> Tensor:
        grids = (levels * scale).expand(*given.wanted.shape[:2], -1)
        return (nearest_among(given, grids.contiguous()) / scale).round()

    scale = _first_scale(given, levels)
    for _ in range(_ROUNDS - 1 if given.moments is not None else 0):
        scale = _fitted(given, codes(scale), scale)
    found = codes(scale)
    return found, _fitted(given, found, scale)


def two_sizes(given: GivenWeights) -> tuple[Tensor, Tensor, Tensor]:
    """Signs, 0 among them, and the sizes of those above and below that all of a layer share.

    Returns:
        Signs [runs, outputs, columns] and two sizes, positive scalars.
    """
    best: tuple[Tensor, Tensor] | None = None
    least = torch.inf
    for share in _THRESHOLDS:
        wanted = given.wanted
        signs = wanted.sign() * (wanted.abs() > share * wanted.abs().mean())
        sizes = _sizes(given, signs)
        for _ in range(_ROUNDS if given.moments is not None else 0):
            grid = torch.stack([-sizes[1], torch.zeros(()), sizes[0]])
            grids = grid.expand(*wanted.shape[:2], 3).contiguous()
            signs = nearest_among(given, grids).sign()
            sizes = _sizes(given, signs)
        values = torch.where(signs > 0, sizes[0], torch.where(signs < 0, -sizes[1], 0.0))
        error = error_of(given, values)
        if error < least:
            best, least = (signs, sizes), error
    assert best is not None
    return best[0], best[1][0], best[1][1]


def error_of(given: GivenWeights, values: Tensor) -> float:
    """Squared error of what the layer writes, where moments are known, else of its weights."""
    if given.moments is None:
        return float((given.wanted - values).square().sum())
    return float(output_error(given.wanted, values, given.moments).sum())


def _first_scale(given: GivenWeights, levels: Tensor) -> Tensor:
    """The scale of least squared error for rounding to the nearest."""
    wanted, dims = given.wanted, (0, 1, 2) if given.shared else (2,)
    largest = wanted.abs().amax(dims, keepdim=True).clamp_min(LEAST)
    weight = _importance(given)
    best, least = largest / levels.max(), torch.full_like(largest, torch.inf)
    middles = (levels[1:] + levels[:-1]) / 2
    for share in _SHARES.tolist():
        scale = share * largest / levels.max()
        near = levels[torch.bucketize(wanted / scale, middles)] * scale
        error = ((near - wanted).square() * weight).sum(dims, keepdim=True)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best


def _importance(given: GivenWeights) -> Tensor:
    """Of each column's squared error, [runs, 1, columns]."""
    columns = given.wanted.shape[2]
    if given.moments is None:
        return torch.ones(1, 1, columns)
    diagonal = _spread(given).diagonal(dim1=1, dim2=2).clamp_min(0)
    return (diagonal / diagonal.amax().clamp_min(1e-30)).clamp_min(1e-6).float().unsqueeze(1)


def _fitted(given: GivenWeights, codes: Tensor, scale: Tensor) -> Tensor:
    """The scales of least error for codes that are there; where none is positive, those before."""
    dims, across = (0, 1, 2) if given.shared else (2,), codes.double()
    if given.moments is not None:
        across = across @ _spread(given)
    above, below = ((across * each).sum(dims, True) for each in (given.wanted, codes))
    found = above / below
    usable = torch.isfinite(found) & (found > LEAST)
    return torch.where(usable, found, scale.double()).float()


def _sizes(given: GivenWeights, signs: Tensor) -> Tensor:
    """The two sizes of least error for signs that are there, [2]."""
    sides = torch.stack([(signs > 0).double(), -(signs < 0).double()])
    across = sides if given.moments is None else sides @ _spread(given)
    square = torch.einsum("aroc,broc->ab", across, sides) + 1e-9 * torch.eye(2)
    found = torch.linalg.solve(square, (across * given.wanted).sum((1, 2, 3))).float()
    plain = float(given.wanted.abs().mean())
    usable = torch.isfinite(found) & (found > 0.1 * plain)
    return torch.where(usable, found, max(plain, LEAST))


def _spread(given: GivenWeights) -> Tensor:
    """Moments as errors meet them: about the mean, where they have the ones."""
    assert given.moments is not None
    return centred(given.moments, given.wanted.shape[2])
