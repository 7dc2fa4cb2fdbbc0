"""Dynamic network surgery: connections are cut and spliced back while the network is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from automl.recovery.base import HookPlan, Moment
from automl.recovery.channels import checked_share
from automl.recovery.layer_weights import (
    Exchanged,
    FoldedWeights,
    largest,
    masked,
    planned_weights,
    told_zeros,
)
from automl.recovery.level_sets import checked_bits
from automl.recovery.watching import WatchingHook

Tensor = torch.Tensor


class Surgery(WatchingHook):
    """Masks that are looked at again every some steps (Guo et al., 2016).

    A batch is shown to the masked weights, and all weights learn from it, also those that are cut:
    one that grows above the upper threshold is spliced back, one that falls below the lower is cut,
    one between stays as it is. Differs: thresholds are 0.9 and 1.1 times the magnitude below which
    the share of a layer lies at that moment, where the paper has a mean and a deviation of the
    start; magnitudes are those with norms folded; masks are looked at at even distances, and no
    more in the last part; what is cut learns beside the length that a step's gradients are held to
    (`clip`), by the same factor, for what stays would lose a part of its step to it.

    Args:
        share: Of each layer's weights that are cut, about.
        every: Steps from one look at the masks to the next.
        hard: Share of the training, its last, in which masks stay, of just that share.
    """

    leaves = "weights"

    def __init__(self, share: float = 0.5, every: int = 8, hard: float = 0.3) -> None:
        super().__init__()
        self._share = checked_share("share of surgery", share)
        self._every = checked_bits("every of surgery", every, 1, 10**6)
        self._hard = checked_share("hard of surgery", hard)
        self._weights: dict[str, nn.Parameter] = {}
        self._folded: FoldedWeights | None = None
        self._kept: dict[str, Tensor] = {}
        self._aside: dict[str, tuple[Tensor, Tensor]] = {}
        self._spliced, self._fixed, self._dense = 0, False, Exchanged()

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Cut the smallest weights."""
        self._weights = planned_weights("surgery", model, plan)
        self._folded = FoldedWeights(model, plan.inputs)
        self._kept = self._largest()
        self.watch_gradients(self._weights, self._learning)

    def before_batch(self, model: nn.Module, moment: Moment) -> None:
        """Show the batch to the masked weights."""
        if not self._fixed and moment.share >= 1 - self._hard:
            self._fix()
        elif not self._fixed and moment.step % self._every == 0:
            self._look()
        self._dense.put(
            self._weights,
            {name: each.detach() * self._stays(name) for name, each in self._weights.items()},
        )

    def before_step(self, model: nn.Module, moment: Moment) -> None:
        """All weights are there again, and learn; what is cut as what stays, once it is clipped."""
        self._dense.back(self._weights)
        for name, (stayed, cut) in self._aside.items():
            gradient = self._weights[name].grad
            if gradient is not None:
                length = stayed.norm()
                clipped = gradient.norm() / length if length else 1.0
                gradient.add_(cut * clipped)
        self._aside = {}

    def finish(self, model: nn.Module) -> str:
        """Leave the masked weights."""
        self._dense.forget()
        if not self._fixed:
            self._fix()
        masked(self._weights, self._kept)
        told = told_zeros("surgery", self._weights)
        return f"{told}, {self._spliced:,} were spliced back on the way"

    def detach(self, model: nn.Module) -> None:
        """Put back what a batch that failed has left; watch no longer."""
        super().detach(model)
        self._dense.back(self._weights)
        self._aside = {}

    def state(self) -> dict[str, Any]:
        """The masks."""
        return {"kept": self._kept, "spliced": self._spliced, "fixed": self._fixed}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""
        self._kept, self._spliced = state["kept"], state["spliced"]
        self._fixed = state["fixed"]

    def _learning(self, name: str, gradient: Tensor) -> Tensor:
        """That of what stays; of what is cut it is laid aside until masks stay."""
        found = gradient * self._stays(name)
        if not self._fixed:
            stayed, cut = self._aside.get(name, (0.0, 0.0))
            self._aside[name] = found + stayed, gradient - found + cut
        return found

    def _stays(self, name: str) -> Tensor:
        return self._kept[name].to(self._weights[name].device)

    def _look(self) -> None:
        for name, each in self._weights.items():
            sizes, before = self._sizes(name, each).abs(), self._stays(name)
            middle = sizes.flatten().sort().values[int(self._share * (sizes.numel() - 1))]
            now = (before & (sizes >= 0.9 * middle)) | (sizes > 1.1 * middle)
            self._spliced += int((now & ~before).sum())
            self._kept[name] = now

    def _fix(self) -> None:
        self._fixed = True
        self._kept = self._largest()

    def _sizes(self, name: str, weight: nn.Parameter) -> Tensor:
        assert self._folded is not None
        return self._folded(name, weight)

    def _largest(self) -> dict[str, Tensor]:
        return {
            name: largest(self._sizes(name, each), self._share)
            for name, each in self._weights.items()
        }
