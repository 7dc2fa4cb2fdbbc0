"""What forms compute with: members of a set that are nearest in the metric of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

Tensor = torch.Tensor
#: Added to a metric's diagonal, relative to its mean: directions that no input took stay in view.
DAMPING: Final = 1e-3


def damped(metric: Tensor) -> Tensor:
    """A metric [runs, columns, columns] that is positive in all directions."""
    diagonal = metric.diagonal(dim1=1, dim2=2)
    mean = diagonal.mean(1, keepdim=True).clamp_min(1e-30)
    return metric + torch.diag_embed(DAMPING * mean.expand_as(diagonal))


def leading(matrix: Tensor, metric: Tensor | None, rank: int) -> Tensor:
    """Orthonormal columns [runs, rows, rank] that hold most of a matrix [runs, rows, columns]."""
    measured = matrix if metric is None else matrix @ metric
    return _strongest(measured @ matrix.transpose(1, 2), rank)


def basis(matrix: Tensor, metric: Tensor | None, rank: int) -> Tensor:
    """Orthonormal rows [runs, rank, columns]: those of the nearest matrix of that rank.

    Source: Eckart and Young, 1936, in the metric of the columns. The smaller side is decomposed.

    Args:
        matrix: [runs, rows, columns].
        metric: [runs, columns, columns], positive in all directions; None for that of the weights.
        rank: At most the columns.
    """
    if matrix.shape[1] < matrix.shape[2] and rank <= matrix.shape[1]:
        rows = matrix.transpose(1, 2) @ leading(matrix, metric, rank)
    elif metric is None:
        rows = _strongest(matrix.transpose(1, 2) @ matrix, rank)
    else:
        root = torch.linalg.cholesky(metric)
        measured = matrix @ root
        rows = torch.linalg.solve_triangular(
            root.transpose(1, 2),
            _strongest(measured.transpose(1, 2) @ measured, rank),
            upper=True,
        )
    orthonormal: Tensor = torch.linalg.qr(rows)[0]
    return orthonormal.transpose(1, 2)


def _strongest(product: Tensor, rank: int) -> Tensor:
    """Eigenvectors [runs, side, rank] of the largest eigenvalues of [runs, side, side]."""
    vectors: Tensor = torch.linalg.eigh((product + product.transpose(1, 2)) / 2)[1]
    return vectors[:, :, -rank:]


def solved(weights: Tensor, rows: Tensor, metric: Tensor | None) -> Tensor:
    """The coefficients [runs, outputs, rank] on orthonormal rows that are nearest to weights.

    Args:
        weights: [runs, outputs, columns].
        rows: [runs, rank, columns].
        metric: [runs, columns, columns]; None for that of the weights.
    """
    if metric is None:
        return weights @ rows.transpose(1, 2)
    measured = metric @ rows.transpose(1, 2)
    found: Tensor = torch.linalg.solve(rows @ measured, weights @ measured, left=False)
    return found


def chained(factors: Sequence[Tensor]) -> Tensor:
    """One kernel of several that follow each other: along each axis one alone has taps."""
    whole = factors[0]
    for after in factors[1:]:
        runs, outputs, _, *taps = after.shape
        inputs, *before = whole.shape[2:]
        made = torch.einsum("gorYX,grcyx->gocYyXx", after, whole)
        height, width = (a * b for a, b in zip(taps, before, strict=True))
        whole = made.reshape(runs, outputs, inputs, height, width)
    return whole


def taken(metric: Tensor | None, kernel: Tensor, equation: str) -> Tensor | None:
    """A metric summed over some of the kernel's axes, which pairs of columns share.

    Args:
        metric: [runs, columns, columns]; None for that of the weights.
        kernel: [runs, outputs, inputs, height, width].
        equation: Of `torch.einsum`, from [runs, inputs, height, width, inputs, height, width].
    """
    if metric is None:
        return None
    columns = kernel.shape[2:]
    summed = torch.einsum(equation, metric.view(len(metric), *columns, *columns))
    half = summed.ndim // 2
    return summed.flatten(half + 1).flatten(1, half)
