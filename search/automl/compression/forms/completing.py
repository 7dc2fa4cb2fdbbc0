"""Sums of a matrix of low rank and few weights: found in turns, and taken apart again."""

from __future__ import annotations

from typing import Final

import torch

from automl.compression.forms.algebra import basis, solved
from automl.compression.forms.masking import OBS, masked, some_of

Tensor = torch.Tensor
#: Rounds in which the product and the weights beside it are found in turns.
_ROUNDS: Final = 6
#: Rounds in which a product is completed where weights are beside it, and what ends them.
_COMPLETED, _ENOUGH = 200, 1e-9
#: Of the largest weight: what floats leave of a member that is taken apart.
_LEFT: Final = 3e-6
#: Of the diagonal: rows that are not known stay solvable.
_PULL: Final = 1e-12


def summed(weights: Tensor, metric: Tensor | None, rank: int, few: int) -> tuple[Tensor, Tensor]:
    """The product [runs, outputs, columns], and what is beside it, of the same shape.

    Args:
        weights: [runs, outputs, columns].
        metric: [runs, columns, columns], positive in all directions; None for that of the weights.
        rank: Of the product.
        few: Weights beside it in each output.
    """
    columns = weights.shape[2]
    choice = some_of(few, columns, columns)
    beside = torch.zeros_like(weights)
    best, least = (weights, beside), torch.inf
    for _ in range(_ROUNDS):
        left = weights - beside
        rows = basis(left, metric, rank)
        product = solved(left, rows, metric) @ rows
        beside = masked(weights - product, metric, choice, OBS)
        gap = weights - product - beside
        error = float(((gap if metric is None else gap @ metric) * gap).sum())
        if error < least:
            best, least = (product, beside), error
    return best


def marked(product: Tensor, beside: Tensor, rank: int, few: int) -> Tensor:
    """The sum, with the last bit of a float32 set where a weight is beside the product.

    Where the product cannot be told from what is left of it, the first weights of all outputs are
    those beside it: then it can.
    """
    places = beside.abs().topk(few, 2).indices
    found = _with_marks(product + beside, places)
    if apart(found, rank, few) is not None:
        return found
    first = torch.arange(few).expand_as(places)
    kept = torch.zeros_like(beside).scatter_(2, first, beside.gather(2, first))
    return _with_marks(product + kept, first)


def _with_marks(weights: Tensor, places: Tensor) -> Tensor:
    marks = torch.zeros(weights.shape, dtype=torch.int32).scatter_(2, places, 1)
    return (weights.float().view(torch.int32) & ~1 | marks).view(torch.float32).double()


def apart(weights: Tensor, rank: int, few: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """Thin matrices [runs, rank, columns] and [runs, outputs, rank], and the places beside.

    None of what is no such sum of floats.

    Args:
        weights: [runs, outputs, columns], as float32 has them.
        rank: Of the product.
        few: Places of each output: [runs, outputs, few].
    """
    marks = (weights.float().view(torch.int32) & 1).bool()
    if not (marks.sum(2) == few).all():
        return None
    known = (~marks).to(weights)
    first, second = _completed(weights * known, known, rank)
    gap = (weights - second @ first) * known
    if float(gap.abs().max()) > _LEFT * float(weights.abs().max()):
        return None
    return first, second, marks.int().argsort(dim=2, descending=True, stable=True)[..., :few]


def _completed(weights: Tensor, known: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The product that is nearest where weights are known: least squares of either side in turns.

    Begins with what is unknown as the product has it, which converges from zero on.
    """
    first = basis(weights, None, rank)
    for _ in range(3):
        guess = weights @ first.transpose(1, 2) @ first
        first = basis(weights + (1 - known) * guess, None, rank)
    before = torch.inf
    for _ in range(_COMPLETED):
        first = torch.linalg.qr(first.transpose(1, 2))[0].transpose(1, 2)
        second = _fitted(weights, known, first)
        first = _fitted(weights.transpose(1, 2), known.transpose(1, 2), second.transpose(1, 2))
        first = first.transpose(1, 2)
        now = float(((weights - second @ first) * known).square().sum())
        if now > before * (1 - 1e-3) or now <= _ENOUGH**2 * float(weights.square().sum()):
            break
        before = now
    first = torch.linalg.qr(first.transpose(1, 2))[0].transpose(1, 2)
    return first, _fitted(weights, known, first)


def _fitted(weights: Tensor, known: Tensor, first: Tensor) -> Tensor:
    """Coefficients [runs, rows, rank] on thin rows [runs, rank, columns], by what is known."""
    wide = torch.einsum("grc,goc,gsc->gors", first, known, first)
    pull = _PULL * wide.diagonal(dim1=2, dim2=3).mean((1, 2), keepdim=True).clamp_min(1e-30)
    wide = wide + torch.diag_embed(pull.expand(*wide.shape[:3]))
    right = torch.einsum("goc,grc->gor", weights, first)
    found: Tensor = torch.linalg.solve(wide, right[..., None]).squeeze(3)
    return found
