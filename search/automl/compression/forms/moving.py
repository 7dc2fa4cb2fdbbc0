"""At which tap each channel is read, where it is read at one."""

from __future__ import annotations

from typing import Final

import torch

Tensor = torch.Tensor
#: Rounds in which each channel's tap is chosen given those of the others, at most.
_ROUNDS: Final = 8


def moved(weights: Tensor, metric: Tensor | None) -> tuple[Tensor, Tensor]:
    """The tap of each channel, and the weights [outputs, inputs] on what is read there.

    Each choice is the one of least error with all weights solved again, given the other taps; the
    first ones are those of each channel read alone.

    Args:
        weights: [outputs, inputs, taps].
        metric: [columns, columns], positive in all directions; None for that of the weights.
    """
    inputs, taps = weights.shape[1:]
    own = torch.arange(inputs)
    if metric is None:
        places = weights.square().sum(0).argmax(1)
        return places, weights[:, own, places]
    wanted = (weights.flatten(1) @ metric).view(-1, inputs, taps)
    blocks = metric.view(inputs, taps, inputs, taps)
    alone = torch.einsum("oct,cts->ocs", weights, blocks[own, :, own])
    places = (alone.square().sum(0) / metric.diagonal().view(inputs, taps)).argmax(1)
    for _ in range(_ROUNDS):
        before = places.clone()
        _swept(places, wanted, blocks)
        if torch.equal(places, before):
            break
    columns = own * taps + places
    root = torch.linalg.cholesky(metric[columns][:, columns])
    return places, torch.cholesky_solve(wanted[:, own, places].T, root).T


def _swept(places: Tensor, wanted: Tensor, blocks: Tensor) -> None:
    """Choose each channel's tap once, given the others'; `places` is changed."""
    own = torch.arange(len(places))
    chosen = blocks[own, places][:, own, places]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(chosen))
    right = wanted[:, own, places]  # [outputs, inputs]
    for channel in own.tolist():
        others = own != channel
        pivot = inverse[channel, channel].clone()
        side = inverse[others, channel]
        left = inverse[others][:, others] - side[:, None] * side / pivot
        across = blocks[channel][:, own[others], places[others]]  # [taps, others]
        held = across @ left
        spread = blocks[channel, :, channel].diagonal() - (held * across).sum(1)
        gap = wanted[:, channel] - right[:, others] @ held.T
        tap = int((gap.square().sum(0) / spread.clamp_min(1e-30)).argmax())
        if tap == int(places[channel]):
            continue
        places[channel], right[:, channel] = tap, wanted[:, channel, tap]
        pivot, side = 1 / spread[tap], -held[tap] / spread[tap]
        inverse[channel, channel] = pivot
        inverse[channel, others] = inverse[others, channel] = side
        inverse[others.nonzero(), others.nonzero()[:, 0]] = left + side[:, None] * side / pivot
