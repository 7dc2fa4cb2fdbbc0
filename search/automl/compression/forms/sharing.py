"""Weights that are one number in several places: the nearest matrix of those that share so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

Tensor = torch.Tensor
#: Steps of conjugate gradients, and the share of the first slope's square that ends them.
_STEPS: Final = 60
_ENOUGH: Final = 1e-14
#: Rounds in which vectors are told which line they are on and lines are drawn through them.
_ROUNDS: Final = 20


def nearest_in(
    weights: Tensor, metric: Tensor | None, project: Callable[[Tensor], Tensor]
) -> Tensor:
    """The matrix of a linear subspace whose outputs differ least: [runs, outputs, columns].

    By conjugate gradients in the subspace, from the matrix that is nearest by its weights.

    Args:
        weights: [runs, outputs, columns].
        metric: [runs, columns, columns]; None for that of the weights.
        project: The nearest matrix of the subspace by the weights.
    """
    found = project(weights)
    if metric is None:
        return found
    left = project((weights - found) @ metric)
    direction, size = left, float(left.square().sum())
    enough = _ENOUGH * float(project(weights @ metric).square().sum())
    for _ in range(_STEPS):
        if size <= enough:
            break
        across = project(direction @ metric)
        step = size / float((direction * across).sum())
        found, left = found + step * direction, left - step * across
        before, size = size, float(left.square().sum())
        direction = left + size / before * direction
    return found


def tied(places: Tensor, signs: Tensor, count: int) -> Callable[[Tensor], Tensor]:
    """Brings matrices to those that have one number, up to its sign, at places of one index.

    Args:
        places: Index of each weight, of the matrices' shape; below `count`, or -1 for 0.
        signs: 1 or -1 of each weight.
        count: How many numbers there are.
    """

    def project(matrices: Tensor) -> Tensor:
        return spread(shared(matrices, places, signs, count), places, signs)

    return project


def shared(matrices: Tensor, places: Tensor, signs: Tensor, count: int) -> Tensor:
    """The mean of what stands at each index: [count]."""
    flat = places.flatten() + 1
    sums = torch.zeros(count + 1, dtype=matrices.dtype)
    sums.index_add_(0, flat, (matrices * signs).flatten())
    numbers = torch.bincount(flat, minlength=count + 1).clamp_min(1)
    return (sums / numbers)[1:]


def spread(numbers: Tensor, places: Tensor, signs: Tensor) -> Tensor:
    """The numbers at their places, with their signs."""
    padded = torch.cat([numbers.new_zeros(1), numbers])
    return padded[places + 1] * signs


def lines(vectors: Tensor, metric: Tensor | None, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Few vectors of which each of many is a multiple: k-means up to scale.

    The first are those that are farthest from all lines before them, so that vectors on so few
    lines are told apart exactly.

    Args:
        vectors: [vectors, columns].
        metric: [columns, columns]; None for that of the vectors.
        count: How many lines, at most as many as vectors.

    Returns:
        The lines [count, columns], which each vector is on, and by how much.
    """
    measured = vectors if metric is None else vectors @ metric
    own = (vectors * measured).sum(1)
    chosen = [int(own.argmax())]
    left = own - _explained(vectors[chosen], metric, measured).amax(1)
    while len(chosen) < count:
        chosen.append(int(left.argmax()))
        left = torch.minimum(left, own - _explained(vectors[chosen[-1:]], metric, measured)[:, 0])
    drawn, which = vectors[chosen].clone(), torch.full((len(vectors),), -1)
    for _ in range(_ROUNDS):
        found = _explained(drawn, metric, measured).argmax(1)
        if torch.equal(found, which):
            break
        which = found
        for line in range(count):
            on = vectors[which == line]
            if len(on) > 1:
                drawn[line] = _through(on, metric)
    along = drawn if metric is None else drawn @ metric
    lengths = (along * drawn).sum(1).clamp_min(1e-30)
    return drawn, which, (vectors * along[which]).sum(1) / lengths[which]


def _explained(drawn: Tensor, metric: Tensor | None, measured: Tensor) -> Tensor:
    """How much of each vector's square lies along each line: [vectors, lines]."""
    along = drawn if metric is None else drawn @ metric
    return (measured @ drawn.T).square() / (along * drawn).sum(1).clamp_min(1e-30)


def _through(vectors: Tensor, metric: Tensor | None) -> Tensor:
    """The line that is nearest to some vectors: the first singular one, in the metric."""
    grams = vectors @ vectors.T if metric is None else vectors @ metric @ vectors.T
    weights: Tensor = torch.linalg.eigh((grams + grams.T) / 2)[1][:, -1]
    line = weights @ vectors
    return line / line.square().sum().sqrt().clamp_min(1e-30)
