"""Soft filter pruning: what is zeroed may come back."""

from __future__ import annotations

from typing import Any

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


class SoftMask(WatchingHook):
    """Zero the smallest filters after each epoch, and train them on (He et al., 2018, algorithm 1).

    Differs: filters are measured with the norms behind them folded, as those of norms that were put
    back have one length, and times the length of what reads them; channels that go together are
    zeroed together, so that they can be cut out; in the last part of the training what is zero
    stays so, and no biases are left of it. A filter of zeros behind a batch norm has a gradient
    some hundred times as long as others (one over the root of the norm's epsilon): where all
    gradients are held to one length together, nothing else would learn. What comes back is held to
    the mean length of the gradients of the filters that stayed.

    Args:
        share: Of each group's channels that are zeroed.
        hard: Share of the training, its last, in which zeroed channels stay zero.
    """

    leaves = "channels"
    acts_on = "channels"

    def __init__(self, share: float = 0.3, hard: float = 0.3) -> None:
        super().__init__()
        self._share = checked_share("share of soft-mask", share)
        self._hard = checked_share("hard of soft-mask", hard)
        self._groups: tuple[CoupledChannels, ...] = ()
        self._gone: list[Tensor] = []
        self._fixed, self._returned = False, 0

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Find the groups of channels, and watch their filters' gradients."""
        self._groups = planned_channels("soft-mask", model, plan)
        self.watch_channels(model, self._groups, self._held)

    def before_batch(self, model: nn.Module, moment: Moment) -> None:
        """Choose for good when the last part begins."""
        if not self._fixed and moment.share >= 1 - self._hard:
            self._choose(model)
            self._fix(model)

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """What is zero for good stays so."""
        if self._fixed:
            self._fix(model)

    def after_epoch(self, model: nn.Module, moment: Moment) -> None:
        """Zero the smallest filters, and leave what comes after them."""
        if self._fixed:
            return
        self._choose(model)
        for group, gone in zip(self._groups, self._gone, strict=True):
            group.multiply(model, group.weights, (~gone).float())

    def finish(self, model: nn.Module) -> str:
        """Zero for good."""
        if not self._fixed:
            self._choose(model)
        self._fix(model)
        gone = sum(int(each.sum()) for each in self._gone)
        of = sum(group.count for group in self._groups)
        back = f", {self._returned} came back on the way" if self._returned else ""
        return f"soft-mask: {gone} of {of} channels are zero{back}"

    def state(self) -> dict[str, Any]:
        """What is zeroed."""
        return {"gone": self._gone, "fixed": self._fixed, "returned": self._returned}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""
        self._gone, self._fixed = state["gone"], state["fixed"]
        self._returned = state["returned"]

    def _held(self, number: int, part: ChannelPart, gradient: Tensor) -> Tensor | None:
        """None of what is zero for good; of what comes back no more than the others' mean."""
        if not self._gone or not self._gone[number].any():
            return None
        if self._fixed:
            return part.without(gradient, self._gone[number])
        if part not in self._groups[number].weights:
            return None
        gone = self._gone[number].to(gradient.device)
        made = gradient.clone()
        view, at = made.movedim(part.dim, 0), part.positions.flatten()
        rows = view[at].reshape(len(part.positions), -1)
        lengths = rows.norm(dim=1)
        factors = (lengths[~gone].mean() / lengths.clamp_min(1e-30)).clamp(max=1.0)
        rows = torch.where(gone[:, None], rows * factors[:, None], rows)
        view[at] = rows.reshape(len(at), *view.shape[1:])
        return made

    def _choose(self, model: nn.Module) -> None:
        found = [chosen(group.length(model), self._share) for group in self._groups]
        before = self._gone or found
        self._returned += sum(
            int((was & ~now).sum()) for was, now in zip(before, found, strict=True)
        )
        self._gone = found

    def _fix(self, model: nn.Module) -> None:
        self._fixed = True
        for group, gone in zip(self._groups, self._gone, strict=True):
            group.zero(model, gone)
