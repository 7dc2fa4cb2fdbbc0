"""Few combinations of channels, on one of which each output has its taps."""

from __future__ import annotations

from typing import Final

import torch

Tensor = torch.Tensor
#: Rounds in which outputs are told which combination they read, and these are fitted to them.
_ROUNDS: Final = 20
#: Rounds in which taps and combinations are solved in turns, in the full metric.
_SOLVED: Final = 4


def pointwise(kernel: Tensor, metric: Tensor | None, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Combinations [count, inputs], which each output reads, and its taps [outputs, h, w].

    Outputs are told apart as if taps read nothing in common: k-means of the kernels as rank-one
    matrices. Taps and combinations are then solved in turns in the full metric.

    Args:
        kernel: [outputs, inputs, height, width].
        metric: [columns, columns], positive in all directions; None for that of the weights.
        count: How many combinations, at most as many as outputs.
    """
    outputs, inputs, height, width = kernel.shape
    rows = kernel.flatten(2).transpose(1, 2)  # [outputs, taps, inputs]
    shared = None
    if metric is not None:
        wide = metric.view(inputs, height * width, inputs, height * width)
        shared = wide.diagonal(dim1=1, dim2=3).sum(-1)
    drawn, which = _told(rows, shared, count)
    taps = _taps(kernel, metric, drawn, which)
    if metric is not None:
        for _ in range(_SOLVED):
            drawn = _combinations(kernel, metric, drawn, which, taps)
            taps = _taps(kernel, metric, drawn, which)
    return drawn, which, taps.view(outputs, height, width)


def _told(rows: Tensor, metric: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Directions [count, inputs], and which one explains most of each output's rows.

    The first are those of the outputs that are explained least by the ones before them.
    """
    measured = rows if metric is None else rows @ metric
    own = (rows * measured).sum((1, 2))
    drawn = rows.new_zeros(count, rows.shape[2])
    left = own.clone()
    for number in range(count):
        drawn[number] = _direction(rows[int(left.argmax())], metric)
        explained = _explained(drawn[number : number + 1], metric, measured)[:, 0]
        left = torch.minimum(left, own - explained)
    which = torch.full((len(rows),), -1)
    for _ in range(_ROUNDS):
        found = _explained(drawn, metric, measured).argmax(1)
        if torch.equal(found, which):
            break
        which = found
        for number in range(count):
            near = rows[which == number]
            if len(near):
                drawn[number] = _direction(near.flatten(0, 1), metric)
    return drawn, which


def _explained(drawn: Tensor, metric: Tensor | None, measured: Tensor) -> Tensor:
    """How much of each output's squares lies along each direction: [outputs, directions]."""
    along = drawn if metric is None else drawn @ metric
    squares = (measured @ drawn.T).square().sum(1)
    return squares / (along * drawn).sum(1).clamp_min(1e-30)


def _direction(rows: Tensor, metric: Tensor | None) -> Tensor:
    """The direction [inputs] along which rows [rows, inputs] have most."""
    from automl.compression.forms.algebra import basis

    found = basis(rows[None], None if metric is None else metric[None], 1)
    return found[0, 0]


def _taps(kernel: Tensor, metric: Tensor | None, drawn: Tensor, which: Tensor) -> Tensor:
    """The best taps of each output on its combination: [outputs, taps]."""
    weights = kernel.flatten(2)
    if metric is None:
        lengths = drawn.square().sum(1).clamp_min(1e-30)[which, None]
        return torch.einsum("oct,oc->ot", weights, drawn[which]) / lengths
    taps = weights.shape[2]
    wide = metric.view(len(drawn[0]), taps, -1)
    own = torch.einsum("kc,ctn->ktn", drawn, wide).view(len(drawn), taps, -1, taps)
    grams = torch.einsum("ktcs,kc->kts", own, drawn)
    wanted = torch.einsum("otn,on->ot", own.flatten(2)[which], weights.flatten(1))
    grams = grams + torch.diag_embed((grams.diagonal(dim1=1, dim2=2) <= 0.0).to(grams))
    found: Tensor = torch.linalg.solve(grams[which], wanted[..., None]).squeeze(2)
    return found


def _combinations(
    kernel: Tensor, metric: Tensor, drawn: Tensor, which: Tensor, taps: Tensor
) -> Tensor:
    """The best combination for the outputs that read it, given their taps."""
    inputs, outputs = kernel.shape[1], len(kernel)
    count = taps.shape[1]
    wide = metric.view(inputs, count, inputs, count)
    wanted = (kernel.flatten(1) @ metric).view(outputs, inputs, count)
    found = drawn.clone()
    for number in range(len(drawn)):
        own = taps[which == number]
        if not len(own) or not own.any():
            continue
        grams = torch.einsum("ctds,ts->cd", wide, own.T @ own)
        right = torch.einsum("oct,ot->c", wanted[which == number], own)
        found[number] = torch.linalg.solve(grams, right)
    return found
