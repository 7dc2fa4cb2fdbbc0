"""Zeros that stay: a pruned network retrained without what was pruned."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from automl.errors import UsageError
from automl.recovery.base import HookPlan, Moment
from automl.recovery.layer_weights import (
    listed,
    masked,
    planned_weights,
    told_zeros,
)
from automl.recovery.watching import WatchingHook

Tensor = torch.Tensor


class KeepZeros(WatchingHook):
    """Weights that are zero at the start stay zero (Han et al., 2015, section 3.1)."""

    leaves = "weights"

    def __init__(self) -> None:
        super().__init__()
        self._weights: dict[str, nn.Parameter] = {}
        self._kept: dict[str, Tensor] = {}

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """Find the zeros.

        Raises:
            UsageError: There are none.
        """
        self._weights = planned_weights("keep-zeros", model, plan)
        self._kept = {name: each.detach() != 0 for name, each in self._weights.items()}
        if all(bool(each.all()) for each in self._kept.values()):
            form = f"; zeros of {listed(plan.made)} stay without it" if plan.made else ""
            raise UsageError(f"no weight of the network is zero, and keep-zeros keeps such{form}")
        self.watch_gradients(self._weights, self._masked)

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """Zero them again."""
        masked(self._weights, self._kept)

    def finish(self, model: nn.Module) -> str:
        """Zero them in what is kept."""
        masked(self._weights, self._kept)
        return told_zeros("keep-zeros", self._weights)

    def state(self) -> dict[str, Any]:
        """Which are not zero."""
        return {"kept": self._kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""
        self._kept = state["kept"]

    def _masked(self, name: str, gradient: Tensor) -> Tensor:
        """None where a weight stays zero."""
        return gradient * self._kept[name].to(gradient.device)
