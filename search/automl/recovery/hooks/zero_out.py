"""Zeroing-out: redundant channels learn nothing more and shrink until they are exactly zero."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.channels import (
    ChannelPart,
    CoupledChannels,
    checked_share,
    chosen,
    planned_channels,
)
from automl.recovery.watching import WatchingHook

Tensor = torch.Tensor
#: Below this share of what they were, channels are zero.
_NOTHING: Final = 1e-3


class ZeroOut(WatchingHook):
    """Channels that get no gradient of the loss and are pulled to zero, the others trained on.

    After Global Sparse Momentum (Ding et al., 2019: no gradient, only decay) and ResRep (Ding et
    al., 2021: a pull of constant length behind the norm). Differs: channels are chosen once, the
    smallest filters with norms folded, times the length of what reads them; the pull has the length
    that ends at `until`; what shrinks is what the norms write, no layer is added for it.

    Args:
        share: Of each group's channels.
        until: Share of the training after which they are zero; the rest trains what is left.
    """

    leaves = "channels"
    acts_on = "channels"

    def __init__(self, share: float = 0.3, until: float = 0.5) -> None:
        super().__init__()
        self._share = checked_share("share of zero-out", share)
        self._until = checked_share("until of zero-out", until)
        self._groups: tuple[CoupledChannels, ...] = ()
        self._gone: list[Tensor] = []
        self._left = 1.0

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Choose; what was chosen gets no gradient."""
        self._groups = planned_channels("zero-out", model, plan)
        self._gone = [chosen(group.length(model), self._share) for group in self._groups]
        self.watch_channels(model, self._groups, self._still)

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """What was chosen shrinks by the same length in each step."""
        left = max(0.0, 1 - moment.share / self._until)
        if left < _NOTHING:
            self._left = 0.0
            self._zero(model)
            return
        factor, self._left = left / self._left, left
        for group, gone in zip(self._groups, self._gone, strict=True):
            factors = torch.where(gone, factor, 1.0)
            group.multiply(model, _written(group), factors)

    def finish(self, model: nn.Module) -> str:
        """All that was chosen is zero."""
        self._zero(model)
        gone, of = sum(int(each.sum()) for each in self._gone), sum(g.count for g in self._groups)
        early = f", {self._left:.0%} of them left when they were zeroed" if self._left else ""
        return f"zero-out: {gone} of {of} channels are zero{early}"

    def state(self) -> dict[str, Any]:
        """What was chosen, and how much is left of it."""
        return {"gone": self._gone, "left": self._left}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""
        self._gone, self._left = state["gone"], state["left"]

    def _still(self, number: int, part: ChannelPart, gradient: Tensor) -> Tensor:
        """None of what was chosen."""
        return part.without(gradient, self._gone[number])

    def _zero(self, model: nn.Module) -> None:
        for group, gone in zip(self._groups, self._gone, strict=True):
            group.zero(model, gone)


def _written(group: CoupledChannels) -> tuple[ChannelPart, ...]:
    """What a channel is written with: where a norm stands behind it, that; else its filter too."""
    normed = len(group.statistics) // 2
    return group.scales if normed >= len(group.weights) else group.written
