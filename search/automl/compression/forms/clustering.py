"""Weights that go, and values that those that stay share, in the metric of the inputs."""

from __future__ import annotations

import torch

from automl.compression.quantization.codebook import shared_values

Tensor = torch.Tensor


def pruned(weights: Tensor, metric: Tensor, kept: int, steps: int) -> tuple[Tensor, Tensor]:
    """Weights of which so many are not zero, and where those are.

    In each step those of the smallest saliency go, w^2 / [H^-1], and each output's others are
    solved again.

    Args:
        weights: [runs, outputs, columns], float64.
        metric: [runs, columns, columns], positive in all directions.
        kept: How many stay, of all runs and outputs.
        steps: In which the others go.
    """
    mask = torch.ones_like(weights, dtype=torch.bool)
    found, total = weights, weights.numel()
    for step in range(1, steps + 1):
        stay = round(total - (total - kept) * step / steps)
        saliency = _saliency(found, mask, metric)
        order = saliency.masked_fill(~mask, -1).flatten().argsort(descending=True, stable=True)
        mask = torch.zeros_like(mask)
        mask.view(-1)[order[:stay]] = True
        found = solved_on(weights, mask, metric)
    return found, mask


def solved_on(weights: Tensor, mask: Tensor, metric: Tensor) -> Tensor:
    """The weights that are nearest in a metric, zero where a mask says so: as `pruned` has them."""
    found = torch.zeros_like(weights)
    for run, own in enumerate(metric):
        for output, stays in enumerate(mask[run]):
            here = stays.nonzero().flatten()
            if len(here):
                across = weights[run, output] @ own[:, here]
                found[run, output, here] = torch.linalg.solve(own[here][:, here], across)
    return found


def _saliency(weights: Tensor, mask: Tensor, metric: Tensor) -> Tensor:
    """What each weight costs if it goes and the others of its output compensate for it."""
    found = torch.zeros_like(weights)
    for run, own in enumerate(metric):
        whole = torch.linalg.inv(own).diagonal() if mask[run].all() else None
        for output, stays in enumerate(mask[run]):
            here = stays.nonzero().flatten()
            if len(here):
                inverse = (
                    torch.linalg.inv(own[here][:, here]).diagonal() if whole is None else whole
                )
                found[run, output, here] = weights[run, output, here].square() / inverse
    return found


def clustered(start: Tensor, weights: Tensor, mask: Tensor, metric: Tensor, size: int) -> Tensor:
    """Weights of so many values at most, zero where a mask says so; values as float32 has them.

    Args:
        start: What k-means is of: [runs, outputs, columns].
        weights: What is to be near: of the same shape.
        mask: Where weights are.
        metric: [runs, columns, columns].
        size: How many values there are beside zero.
    """
    if not mask.any():
        return torch.zeros_like(weights)
    importance = metric.diagonal(dim1=1, dim2=2).unsqueeze(1).expand_as(start)[mask]
    values = shared_values(start[mask], importance, size).double()
    index = assigned(start, mask, metric, values)
    values = _fitted(weights, mask, index, metric, values)
    index = assigned(start, mask, metric, values)
    values = _fitted(weights, mask, index, metric, values).float().double()
    return torch.where(mask, values[index], 0.0)


def assigned(weights: Tensor, mask: Tensor, metric: Tensor, values: Tensor) -> Tensor:
    """Which value each weight takes, column by column, with the errors before it compensated.

    An output for which the nearest values have the smaller error takes these.
    """
    order = metric.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True, stable=True)
    middles = (values[1:] + values[:-1]) / 2
    index = torch.zeros_like(weights, dtype=torch.long)
    for run, own in enumerate(metric):
        along = order[run]
        lower = torch.linalg.cholesky(own[along][:, along].flip(0, 1))
        upper = lower.flip(0, 1)
        ratios = (upper / upper.diagonal()).T
        target, stays = weights[run][:, along], mask[run][:, along]
        error, chosen = torch.zeros_like(target), torch.zeros_like(target, dtype=torch.long)
        for column in range(target.shape[1]):
            aim = target[:, column] + error[:, :column] @ ratios[column, :column]
            found = torch.bucketize(aim, middles)
            chosen[:, column] = found
            rounded = torch.where(stays[:, column], values[found], 0.0)
            error[:, column] = target[:, column] - rounded
        index[run][:, along] = chosen
    nearest = torch.bucketize(weights, middles)
    second, first = (_error(weights, mask, metric, values[each]) for each in (index, nearest))
    return torch.where((second < first).unsqueeze(2), index, nearest)


def _error(weights: Tensor, mask: Tensor, metric: Tensor, values: Tensor) -> Tensor:
    """Of each output: [runs, outputs]."""
    gap = weights - torch.where(mask, values, 0.0)
    return ((gap @ metric) * gap).sum(2)


def _fitted(weights: Tensor, mask: Tensor, index: Tensor, metric: Tensor, values: Tensor) -> Tensor:
    """The values of least error for who has which, ascending."""
    normal = torch.zeros(len(values), len(values), dtype=torch.float64)
    right = torch.zeros(len(values), dtype=torch.float64)
    for run, own in enumerate(metric):
        who = torch.nn.functional.one_hot(index[run], len(values)).double()
        who = (who * mask[run].unsqueeze(2)).movedim(2, 0)  # [values, outputs, columns]
        across = who @ own
        normal += torch.einsum("koc,loc->kl", across, who)
        right += torch.einsum("koc,oc->k", across, weights[run])
    pull = 1e-6 * normal.diagonal().mean().clamp_min(1e-30)
    normal.diagonal().add_(pull)
    found = torch.linalg.solve(normal, right + pull * values)
    ascending: Tensor = found.sort().values
    return ascending
