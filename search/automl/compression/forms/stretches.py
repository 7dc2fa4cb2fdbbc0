"""Rows that are put together from few stretches: k-means of vectors, then which goes where."""

from __future__ import annotations

from typing import Final

import torch
from torch.nn.functional import pad

from automl.compression.forms.sharing import nearest_in, shared, tied

Tensor = torch.Tensor
#: Rounds of k-means, and those in which places are told their stretch in the full metric.
_MEANS: Final = 20
_ROUNDS: Final = 2


def shared_stretches(weights: Tensor, metric: Tensor | None, length: int, count: int) -> Tensor:
    """A near matrix of few stretches: [runs, outputs, columns], as float32 has it.

    Args:
        weights: [runs, outputs, columns], float64.
        metric: [runs, columns, columns], positive in all directions; None for that of the weights.
        length: Of a stretch; the last of a row may be shorter.
        count: How many different ones, at most.
    """
    columns = weights.shape[2]
    more = -columns % length
    wide = pad(weights, (0, more))
    if metric is None:
        metric = torch.eye(columns).to(weights).expand(len(weights), -1, -1)
    spread = pad(metric, (0, more, 0, more))
    spread.diagonal(dim1=1, dim2=2)[:, columns:] = 1e-6 * float(
        metric.diagonal(dim1=1, dim2=2).mean()
    )
    entries = _means(wide, spread, length, count)
    best, least = wide, torch.inf
    for _ in range(_ROUNDS):
        index = torch.stack(
            [_placed(own, by, entries) for own, by in zip(wide, spread, strict=True)]
        )
        places = (index[..., None] * length + torch.arange(length)).flatten(2)
        signs = torch.ones_like(places)
        size = len(entries) * length
        solved = nearest_in(wide, spread, tied(places, signs, size))
        numbers = shared(solved, places, signs, size)
        entries = numbers.view(-1, length).float().double()
        found = entries[index].flatten(2)
        error = float((((found - wide) @ spread) * (found - wide)).sum())
        if error < least:
            best, least = found, error
    return best[..., :columns]


def _means(weights: Tensor, metric: Tensor, length: int, count: int) -> Tensor:
    """Stretches [count, length] of k-means, in the mean metric of all places."""
    every = weights.reshape(-1, length)
    blocks = metric.unflatten(2, (-1, length)).unflatten(1, (-1, length))
    mean = blocks.diagonal(dim1=1, dim2=3).mean((0, 3))
    root = torch.linalg.cholesky(mean)
    points = every @ root
    count = min(count, len(points))
    generator = torch.Generator().manual_seed(0)
    drawn = points[:1].clone()
    far = torch.cdist(points, drawn)[:, 0].square()
    for _ in range(count - 1):  # those that are far are likely (k-means++)
        odds = far if float(far.sum()) > 0 else torch.ones_like(far)
        chosen = points[torch.multinomial(odds, 1, generator=generator)]
        drawn = torch.cat([drawn, chosen])
        far = torch.minimum(far, torch.cdist(points, chosen)[:, 0].square())
    for _ in range(_MEANS):
        which = torch.cdist(points, drawn).argmin(1)
        sums = torch.zeros_like(drawn).index_add_(0, which, points)
        numbers = torch.bincount(which, minlength=count)[:, None]
        drawn = torch.where(numbers > 0, sums / numbers.clamp_min(1), drawn)
    found: Tensor = torch.linalg.solve_triangular(root, drawn, upper=False, left=False)
    return found


def _placed(weights: Tensor, metric: Tensor, entries: Tensor) -> Tensor:
    """Which stretch each place of each output takes: [outputs, places].

    Place after place, those that weigh most first, each compensates for the errors of those
    before it: the error is |E R|^2 with the metric R R^T, R upper triangular.
    """
    length = entries.shape[1]
    own = metric.diagonal().view(-1, length).sum(1)
    order = own.argsort(descending=True, stable=True)
    along = (order[:, None] * length + torch.arange(length)).flatten()
    upper = torch.linalg.cholesky(metric[along][:, along].flip(0, 1)).flip(0, 1)
    target, error = weights[:, along], torch.zeros_like(weights)
    index = torch.zeros(len(weights), len(order), dtype=torch.long)
    for number, place in enumerate(order.tolist()):
        here = slice(number * length, (number + 1) * length)
        before = slice(0, number * length)
        root = upper[here, here]
        aim = target[:, here] @ root + error[:, before] @ upper[before, here]
        chosen = torch.cdist(aim, entries @ root).argmin(1)
        index[:, place] = chosen
        error[:, here] = target[:, here] - entries[chosen]
    return index
